// What was decided, the newest first: signals, exits, and why there was none.

import { ago, badge, h } from '/console/dom.js';
import { number, price } from '/console/format.js';
import { sentence } from '/console/reasons.js';
import { empty } from '/console/sections.js';
import { show } from '/console/dialogs.js';
import { button } from '/console/dom.js';

const SHOWN = 40;

export function decisions({ api }) {
  return {
    id: 'decisions',
    width: 'third',
    everyS: 10,
    events: ['signal', 'exit', 'skip'],
    read: async () => (await api.get('/decisions', { limit: SHOWN })).items,
    show: (items) => (items.length
      ? h('ol', { class: 'feed', tabindex: '0', 'aria-label': 'Decisions, the newest first' }, items.map((item) => entry(item, api)))
      : empty('Nothing was decided yet.', 'Decisions appear with the first features.')),
  };
}

function entry(item, api) {
  return h('li', { class: item.kind, 'data-signal': item.signal_id },
    h('div', { class: 'row' }, mark(item), h('strong', {}, item.symbol), h('span', { class: 'faint' }, item.strategy_id), h('span', { class: 'end' }, ago(item.at))),
    h('p', {}, item.kind === 'skip' ? sentence({ outcome: 'skip', ...item }) : said(item),
      item.signal_id && item.kind !== 'skip' ? button('why', () => explain(api, item.signal_id), { tone: 'linkish', keep: `why-${item.signal_id}`, label: `Why: signal ${item.symbol} ${item.side}` }) : null));
}

function mark({ kind, side, version, reason }) {
  if (kind === 'skip') return badge('no signal', 'plain', reason);
  if (kind === 'exit') return badge('exit', 'exit');
  return badge(side ?? 'signal', side === 'sell' ? 'sell' : 'buy', version ?? 'warm-up');
}

function said({ kind, facts, version, reason }) {
  const at = facts?.price ? ` at ${price(facts.price)}` : '';
  const amount = facts?.amount_quote ?? facts?.amount;
  const of = amount ? `${number(amount, 2)}` : '';
  if (kind === 'exit') return `${reason ?? facts?.rule ?? 'by rule'}${at} `.replaceAll('_', ' ');
  return `${of}${at}, by ${version ?? 'warm-up'} `;
}

// A signal with everything that was weighed.
async function explain(api, signalId) {
  let content;
  try {
    const signal = await api.get(`/signals/${signalId}`);
    const { reasoning } = signal.metadata ?? {};
    content = [
      h('p', {}, reasoning ?? `${signal.side} ${signal.symbol} at ${price(signal.price)}`),
      orders(signal.orders ?? []),
      h('h3', {}, 'Everything that was weighed'),
      h('pre', { tabindex: '0' }, JSON.stringify({ ...signal, orders: undefined }, null, 2)),
    ];
  } catch (error) {
    content = h('p', { class: 'failure' }, error.message);
  }
  show('Why this signal', content);
}

function orders(items) {
  if (!items.length) return h('p', { class: 'faint' }, 'No order came of it.');
  return h('ul', {}, items.map((order) => h('li', {}, `Order ${order.status}: ${order.filled_quantity ?? 0} filled`,
    order.average_price ? ` at ${price(order.average_price)}` : '', order.rejection_reason ? `, ${order.rejection_reason}` : '')));
}
