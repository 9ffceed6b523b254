// What an operator should look at.

import { ago, badge, h, table } from '/console/dom.js';
import { words } from '/console/format.js';
import { empty } from '/console/sections.js';

export function alerts({ api }) {
  return {
    id: 'alerts',
    width: 'half',
    events: ['alert'],
    read: async () => (await api.get('/monitoring/alerts', { limit: 12 })).items,
    show: (items) => (items.length ? table('Alerts', [
      { title: 'Alert', head: true, cell: (row) => [tone(row), h('span', { class: 'faint line' }, row.scope)] },
      { title: 'What it says', kind: 'fill', cell: (row) => [h('strong', {}, words(row.kind)), h('span', { class: 'line' }, row.sentence)] },
      { title: 'Seen', cell: (row) => [ago(row.last_seen_at), h('span', { class: 'faint line' }, row.sightings > 1 ? `${row.sightings} times` : 'once')] },
    ], items, { attributes: (row) => ({ class: row.resolved_at ? 'over' : '' }) }) : empty('Nothing is wrong.', 'No alert was raised.')),
  };
}

function tone({ resolved_at: over, severity }) {
  return over ? badge('over', 'plain') : badge(severity, severity === 'critical' ? 'bad' : 'warn');
}
