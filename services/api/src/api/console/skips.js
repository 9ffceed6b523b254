// Why there was no signal: over time, in sum, and for the newest features of each strategy and symbol.

import { ago, h, replace, select, table } from '/console/dom.js';
import { Chart, figure, isEmpty } from '/console/charts.js';
import { count, percent } from '/console/format.js';
import { meaning, sentence } from '/console/reasons.js';
import { empty } from '/console/sections.js';

const SPANS = [['1', '1 hour'], ['6', '6 hours'], ['24', '24 hours'], ['168', '7 days']];
const SHOWN = 8;

export function skips({ api }) {
  const chart = new Chart('Skipped signals by reason over time', 'low');
  let hours = '6';
  return {
    id: 'skips',
    everyS: 15,
    events: ['skip'],
    controls: (read) => select('Back', SPANS, hours, (value) => { hours = value; read(); }, 'skips-hours'),
    async read() {
      const [drawn, sums, latest] = await Promise.all([
        figure(api, 'skips', { hours }), api.get('/monitoring/signals/skip-metrics', { hours }), api.get('/monitoring/outcomes'),
      ]);
      return { drawn, sums, latest: latest.items };
    },
    async show({ drawn, sums, latest }, body) {
      if (!latest.length && !sums.total_skips) return empty('Nothing was skipped yet.', 'Every vector without a signal is counted here with its reason.');
      const plot = isEmpty(drawn) ? empty('Nothing was skipped in this time.') : chart.element;
      replace(body, h('div', { class: 'pair' }, h('div', {}, plot, reasons(sums)), h('div', {}, outcomes(latest))));
      if (plot === chart.element) await chart.draw(drawn);
      return null;
    },
  };
}

function reasons({ by_reason: byReason, total_skips: total, last_reset: since }) {
  const rows = Object.entries(byReason).slice(0, SHOWN);
  return h('div', { class: 'reasons' }, h('h3', {}, 'In sum', h('span', { class: 'faint' }, ' since ', ago(since))),
    h('ul', {}, rows.map(([reason, skips]) => h('li', {},
      h('meter', { min: 0, max: total, value: skips, 'aria-label': `${percent(skips / total, 0)} of all skips` }),
      h('span', { class: 'figure' }, count(skips)), h('span', {}, h('code', {}, reason), ' ', h('span', { class: 'faint' }, meaning(reason)))))));
}

function outcomes(latest) {
  return [h('h3', {}, 'The newest decision of each'), table('The newest decision of each strategy and symbol', [
    { title: 'Strategy', head: true, cell: (row) => [row.strategy_id, h('span', { class: 'faint line' }, row.symbol)] },
    { title: 'Came to', kind: 'fill', cell: (row) => [h('span', { class: 'reason' }, sentence(row)),
      row.facts ? h('details', { 'data-keep': `facts-${row.strategy_id}-${row.symbol}` }, h('summary', {}, row.reason ? h('code', {}, row.reason) : 'figures'), h('pre', {}, JSON.stringify(row.facts, null, 1))) : null] },
    { title: 'When', cell: (row) => ago(row.decided_at) },
  ], latest)];
}
