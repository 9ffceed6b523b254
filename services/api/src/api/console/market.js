// The price of a symbol with what was sent at it, and where the stops lie.

import { replace, select } from '/console/dom.js';
import { Chart, figure, isEmpty } from '/console/charts.js';
import { empty } from '/console/sections.js';

const SPANS = [['1', '1 hour'], ['6', '6 hours'], ['24', '24 hours'], ['168', '7 days']];

export function market({ api }) {
  const chart = new Chart('Price with signals, exits and stop levels');
  let symbols = [];
  let symbol = null;
  let hours = '6';
  let controls = null;
  let again = () => {};

  function choose() {
    if (!controls) return;
    replace(controls,
      symbols.length ? select('Symbol', symbols.map((each) => [each, each]), symbol, (value) => { symbol = value; again(); }, 'market-symbol') : null,
      select('Back', SPANS, hours, (value) => { hours = value; again(); }, 'market-hours'));
  }

  return {
    id: 'market',
    width: 'two-thirds',
    everyS: 15,
    events: ['signal', 'exit'],
    controls(read) {
      again = read;
      controls = document.createElement('div');
      choose();
      return controls;
    },
    async read() {
      const [{ items }, { items: strategies }] = await Promise.all([api.get('/monitoring/outcomes'), api.get('/strategies')]);
      const known = [...new Set([...items.map((each) => each.symbol), ...strategies.flatMap((each) => each.symbols ?? [])])].sort();
      if (known.join() !== symbols.join()) {
        symbols = known;
        symbol = symbols.includes(symbol) ? symbol : symbols[0] ?? null;
        choose();
      }
      return symbol ? { symbol, drawn: await figure(api, 'price', { symbol, hours }) } : { symbol, drawn: null };
    },
    async show({ drawn }, body) {
      if (!drawn || isEmpty(drawn)) return empty('No price was seen in this time.', 'Inference writes one bar a minute from the features it gets.');
      if (chart.element.parentElement !== body) replace(body, chart.element);
      await chart.draw(drawn, `Price of ${symbol} with signals, exits and stop levels, last ${hours} hours`);
      return null;
    },
  };
}
