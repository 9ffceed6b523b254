// Dead letters: messages that could not be used, to be replayed or discarded.

import { ago, button, h, table } from '/console/dom.js';
import { confirm, show } from '/console/dialogs.js';
import { empty } from '/console/sections.js';

const SHOWN = 20;

export function letters({ api, readAll }) {
  return {
    id: 'letters',
    width: 'half',
    events: ['alert'],
    read: () => api.get('/monitoring/dead-letters', { state: 'open', limit: SHOWN }),
    show: ({ items, total }) => (items.length ? [
      table('Open dead letters', [
        { title: 'Queue', head: true, cell: (row) => [h('code', {}, row.queue), h('span', { class: 'faint line' }, row.service)] },
        { title: 'Why', kind: 'fill', cell: (row) => [row.reason, h('span', { class: 'faint line' }, ago(row.failed_at))] },
        { title: 'Do', cell: (row) => h('div', { class: 'buttons' },
          button('Read', () => open(api, row), { keep: `read-${row.letter_id}`, label: `Read the letter of ${row.queue}` }),
          button('Replay', () => settle(api, row, 'replay', readAll), { keep: `replay-${row.letter_id}`, label: `Replay the letter of ${row.queue}` }),
          button('Discard', () => settle(api, row, 'discard', readAll), { keep: `discard-${row.letter_id}`, label: `Discard the letter of ${row.queue}` })) },
      ], items, { attributes: (row) => ({ 'data-letter': row.letter_id }) }),
      total > items.length ? h('p', { class: 'faint' }, `${items.length} of ${total}, the newest first`) : null,
    ] : empty('No letter is open.', 'Messages that no service could use wait here.')),
  };
}

function settle(api, row, verb, readAll) {
  const replaying = verb === 'replay';
  confirm({
    title: replaying ? 'Send it to its queue again' : 'Discard the letter', verb: replaying ? 'Replay' : 'Discard', tone: 'danger',
    text: replaying
      ? `The service ${row.service} gets the message once more, as it was. A signal whose time is over is refused.`
      : 'Nobody gets the message any more. It stays in the audit.',
    act: ({ actor, reason }) => api.post(`/monitoring/dead-letters/${row.letter_id}/${verb}`, { actor, reason }),
    done: () => { readAll(); return replaying ? 'The letter was replayed.' : 'The letter was discarded.'; },
  });
}

async function open(api, { letter_id: id }) {
  try {
    const letter = await api.get(`/monitoring/dead-letters/${id}`);
    show('Dead letter', h('p', {}, letter.reason), h('pre', { tabindex: '0' }, readable(letter.body)), h('details', {}, h('summary', {}, 'Headers'), h('pre', {}, JSON.stringify(letter.headers, null, 2))));
  } catch (error) {
    show('Dead letter', h('p', { class: 'failure' }, error.message));
  }
}

function readable(body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return String(body ?? '');
  }
}
