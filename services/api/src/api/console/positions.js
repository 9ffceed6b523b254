// Open positions: where the stop lies, whether a rule watches, and the button that closes one now.

import { ago, badge, button, h, table } from '/console/dom.js';
import { confirm } from '/console/dialogs.js';
import { finite, number, price, quantity, seconds, signed, words } from '/console/format.js';
import { empty } from '/console/sections.js';

const BLIND_S = 15;

export function positions({ api }) {
  let again = () => {};
  return {
    id: 'positions',
    everyS: 5,
    events: ['exit', 'signal'],
    controls: (read) => { again = read; return null; },
    read: async () => (await api.get('/positions')).items,
    show: (items) => (items.length ? watched(items, api, () => again()) : empty('No position is open.', 'Those that are opened appear here with their stop.')),
  };
}

function watched(items, api, again) {
  return table('Open positions', [
    { title: 'Symbol', head: true, cell: (row) => [h('strong', {}, row.symbol), ' ', badge(row.side, row.side === 'long' ? 'buy' : 'sell'), h('span', { class: 'faint line' }, row.strategy_id)] },
    { title: 'Size', kind: 'figure', cell: (row) => quantity(row.size) },
    { title: 'Entry', kind: 'figure', cell: (row) => [price(row.entry_price), h('span', { class: 'faint line' }, ago(row.opened_at))] },
    { title: 'Price', kind: 'figure', cell: (row) => price(row.last_price) },
    { title: 'Result', kind: 'figure', cell: (row) => result(row) },
    { title: 'Stop', kind: 'figure', cell: (row) => stop(row) },
    { title: 'Watched', cell: (row) => coverage(row) },
    { title: 'Rule', kind: 'fill', cell: (row) => rule(row) },
    { title: 'Close', cell: (row) => close(row, api, again) },
  ], items, { attributes: (row) => ({ 'data-symbol': row.symbol }) });
}

function result(row) {
  const pct = finite(row.unrealized_pnl_pct);
  return h('span', { class: pct > 0 ? 'up' : pct < 0 ? 'down' : '' }, pct === null ? '–' : `${signed(pct)} %`);
}

function stop(row) {
  const level = finite(row.stop_price);
  if (level === null) return badge('none', 'warn');
  const last = finite(row.last_price);
  const away = last ? Math.abs(level / last - 1) * 100 : null;
  return [price(level), h('span', { class: 'faint line' }, away === null ? '' : `${number(away)} % away`)];
}

function coverage(row) {
  const silent = finite(row.coverage_seconds);
  if (silent === null) return badge('not yet', 'warn');
  return [silent > BLIND_S ? badge('blind', 'bad') : badge('covered', 'good'),
    h('span', { class: 'faint line' }, `${silent > 0 ? seconds(silent) : 'just'} ago`, row.price_source ? ` · ${words(row.price_source)}` : '')];
}

function rule(row) {
  if (row.close_requested_at) return [badge('close asked', 'exit'), h('span', { class: 'faint line' }, `${row.close_actor}: ${row.close_reason}`)];
  if (row.latched_rule) return [badge(words(row.latched_rule), 'exit'), h('span', { class: 'faint line' }, row.refusals ? `${row.refusals} refused in a row` : 'exit sent')];
  const due = (row.verdicts ?? []).filter(({ level }) => level !== null);
  return h('span', { class: 'faint' }, due.length ? due.map(({ rule: name, level }) => `${words(name)} at ${price(level)}`).join(', ') : 'no rule is near');
}

function close(row, api, again) {
  return button('Close now', () => confirm({
    title: `Close ${row.symbol} now`, verb: 'Close the position', tone: 'danger',
    text: `The whole ${row.side} position of ${quantity(row.size)} is closed at the market within seconds. This cannot be taken back.`,
    act: ({ actor, reason }) => api.post(`/positions/${encodeURIComponent(row.symbol)}/close`, { actor, reason }),
    done: () => { again(); return `${row.symbol} is being closed.`; },
  }), { tone: 'danger-quiet', keep: `close-${row.symbol}`, label: `Close ${row.symbol} now`, disabled: Boolean(row.close_requested_at) });
}
