// What the strategies earned: sums by strategy, and the way there.

import { h, replace, select, table } from '/console/dom.js';
import { Chart, figure, isEmpty } from '/console/charts.js';
import { count, finite, number, percent, signed } from '/console/format.js';
import { empty } from '/console/sections.js';

const SPANS = [['1', '1 day'], ['7', '7 days'], ['30', '30 days'], ['365', '1 year']];

export function performance({ api }) {
  const chart = new Chart('Realized results over time', 'low');
  let days = '7';
  return {
    id: 'performance',
    everyS: 20,
    events: ['exit'],
    controls: (read) => select('Back', SPANS, days, (value) => { days = value; read(); }, 'performance-days'),
    async read() {
      const start_time = new Date(Date.now() - Number(days) * 86_400_000).toISOString();
      const { items } = await api.get('/strategies');
      const sum = async ({ strategy_id: id }) => ({ strategy_id: id, ...await api.get(`/strategies/${encodeURIComponent(id)}/performance/summary`, { start_time }) });
      const [drawn, sums] = await Promise.all([figure(api, 'equity', { days }), Promise.all(items.map(sum))]);
      return { sums: sums.map(({ equity, ...sum }) => sum), drawn };
    },
    async show({ sums, drawn }, body) {
      const kept = isEmpty(drawn) ? empty('Nothing was closed in this time.', 'Results count once a position, or a part of one, is closed.') : chart.element;
      replace(body, h('div', { class: 'pair' }, h('div', {}, kept), h('div', {}, totals(sums))));
      if (kept === chart.element) await chart.draw(drawn);
      return null;
    },
  };
}

function totals(sums) {
  return table('Results by strategy', [
    { title: 'Strategy', head: true, cell: (row) => row.strategy_id },
    { title: 'Realized', kind: 'figure', cell: (row) => h('span', { class: finite(row.realized_pnl) > 0 ? 'up' : finite(row.realized_pnl) < 0 ? 'down' : '' }, signed(row.realized_pnl)) },
    { title: 'Fees', kind: 'figure', cell: (row) => number(row.fees) },
    { title: 'Closed', kind: 'figure', cell: (row) => [count(row.total_orders), h('span', { class: 'faint line' }, `${percent(row.success_rate, 0)} gained`)] },
    { title: 'Best, worst', kind: 'figure', cell: (row) => [signed(row.best), h('span', { class: 'faint line' }, signed(row.worst))] },
    { title: 'Drawdown', kind: 'figure', cell: (row) => number(row.max_drawdown) },
  ], sums);
}
