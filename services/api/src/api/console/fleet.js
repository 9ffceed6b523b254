// The fleet's health: what answers, which replica decides with what, and what operators did.

import { ago, badge, h, table } from '/console/dom.js';
import { bytes, count, number, words } from '/console/format.js';
import { empty } from '/console/sections.js';

const TONES = { serving: 'good', warm_up: 'warm', lagging: 'warn', unavailable: 'bad', healthy: 'good', ok: 'good', degraded: 'warn', unhealthy: 'bad', failed: 'bad', up: 'good', down: 'bad' };

export function fleet({ api }) {
  return {
    id: 'fleet',
    width: 'half tall',
    everyS: 10,
    events: ['activation', 'alert'],
    async read() {
      const replicas = await api.get('/fleet/replicas');
      const [health, audit] = await Promise.allSettled([api.get('/monitoring/health'), api.get('/monitoring/audit', { limit: 6 })]);
      return { replicas: replicas.items, health: health.value ?? null, refusal: health.reason?.message, audit: audit.value?.items ?? [] };
    },
    show: ({ replicas, health, refusal, audit }) => [
      health ? checks(health) : empty('Health is not known.', refusal),
      h('h3', {}, 'Replicas'),
      replicas.length ? served(replicas) : empty('No replica has reported yet.', 'Each inference worker says every few seconds what it decides with.'),
      audit.length ? [h('h3', {}, 'What operators did'), acted(audit)] : null,
    ],
  };
}

function checks({ status, checks: list, model_storage: storage }) {
  return [h('ul', { class: 'checks' },
    h('li', {}, badge(words(status), TONES[status] ?? 'plain'), h('strong', {}, 'fleet')),
    list.map(({ name, state, latency_ms: ms, message }) => h('li', { title: message }, badge(words(state), TONES[state] ?? 'plain'),
      h('span', {}, words(name)), h('span', { class: 'faint' }, ms === null || ms === undefined ? message : `${number(ms, 1)} ms`))),
    storage ? h('li', { title: storage.path }, badge(storage.readable ? 'readable' : 'missing', storage.readable ? 'good' : 'bad'), h('span', {}, 'model storage'),
      h('span', { class: 'faint' }, `${bytes(storage.free_bytes)} free`)) : null)];
}

function served(items) {
  return table('Replicas', [
    { title: 'Replica', head: true, cell: (row) => [h('code', {}, row.replica), h('span', { class: 'faint line' }, row.strategy_id)] },
    { title: 'State', cell: (row) => (row.is_alive ? badge(words(row.state), TONES[row.state]) : badge('gone', 'bad')) },
    { title: 'Decides with', cell: (row) => [row.version ?? 'warm-up', h('span', { class: 'faint line' }, `epoch ${count(row.epoch)}`)] },
    { title: 'Heard', kind: 'fill', cell: (row) => [ago(row.heart_beat_at), row.problem ? h('span', { class: 'line warn-text' }, row.problem) : null] },
  ], items);
}

function acted(items) {
  return table('What operators did', [
    { title: 'Who', head: true, cell: (row) => row.actor },
    { title: 'Did', kind: 'fill', cell: (row) => [h('strong', {}, words(row.action)), ` ${row.subject}`, h('span', { class: 'faint line' }, row.reason ?? 'no reason given')] },
    { title: 'When', cell: (row) => ago(row.acted_at) },
  ], items);
}
