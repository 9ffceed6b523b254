// The strategies at a glance, each with the switch that stops it; and the fleet's own state in the page's head.

import { ago, badge, button, h, replace, table } from '/console/dom.js';
import { choice, confirm } from '/console/dialogs.js';
import { count } from '/console/format.js';
import { sentence } from '/console/reasons.js';
import { empty } from '/console/sections.js';

const STATES = {
  ACTIVE: { does: 'trades', verb: 'Resume', path: 'resume', tone: 'good', text: 'It trades again: entries and exits.' },
  REDUCING: { does: 'reduces', verb: 'Reduce', path: 'reduce', tone: 'warn', text: 'It sends only what makes a position smaller. Exits go on.' },
  HALTED: { does: 'paused', verb: 'Pause', path: 'pause', tone: 'bad', text: 'It sends no entries at all. Exits by rule go on.' },
};

export function overview({ api, readAll, go }) {
  let around = { health: null, training: null, positions: null };
  return {
    id: 'overview',
    everyS: 10,
    events: ['signal', 'exit', 'skip', 'activation', 'state', 'training', 'alert'],
    // The strategies wait for nothing: a health check may take its time.
    async read(early) {
      const asked = api.get('/strategies');
      const others = Promise.allSettled([api.get('/monitoring/health'), api.get('/training/status'), api.get('/positions')]);
      const strategies = (await asked).items;
      early({ strategies, ...around });
      const [health, training, positions] = await others;
      around = { health: health.value ?? null, training: training.value ?? null, positions: positions.value?.items ?? null };
      return { strategies, ...around };
    },
    show: (data) => [pulse(data, go), data.strategies.length ? strategies(data.strategies, api, readAll) : empty('No strategy is configured.', 'TRADING_STRATEGIES names them.')],
  };
}

// The page's head: what the whole fleet may do. Another scope than the strategies', and stricter than all of them.
export function fleetState({ api, readAll }, place) {
  let stopped = false;
  async function read() {
    try {
      const { items, initial } = await api.get('/trading-states', { limit: 1 });
      if (stopped) return;
      const of = (scope) => items.find((each) => each.scope === scope);
      show(of('fleet')?.state ?? initial, of('fleet'), of('exits')?.state ?? 'ACTIVE');
    } catch {
      if (!stopped) replace(place, badge('fleet: unknown', 'plain'));
    }
  }
  function show(state, stored, exits) {
    const why = stored ? `${stored.actor}: ${stored.reason}` : 'never changed';
    replace(place,
      button(`Fleet ${STATES[state]?.does ?? state}`, () => ask(state), { tone: `state ${STATES[state]?.tone ?? ''}`, keep: 'fleet-state', label: `The fleet ${STATES[state]?.does ?? state}. Change` }),
      exits === 'ACTIVE' ? null : badge('exits halted', 'bad'),
      h('span', { class: 'faint why', title: why }, stored ? why : null));
  }
  function ask(state) {
    const wanted = choice('state', 'From now on the fleet', Object.entries(STATES).map(([name, { does }]) => [name, `${does} (${name})`]), state === 'ACTIVE' ? 'HALTED' : 'ACTIVE');
    confirm({
      title: 'Change what the fleet may do',
      text: 'The stricter of the fleet’s state and a strategy’s holds. Exits by rule heed neither.',
      verb: 'Change', tone: 'danger', fields: [wanted],
      act: ({ state: name, actor, reason }) => api.put('/trading-states/fleet', { state: name, actor, reason }),
      done: (stored) => { readAll(); return `The fleet ${STATES[stored.state].does} now.`; },
    });
  }
  return { read, stop: () => { stopped = true; } };
}

function pulse({ strategies, health, training, positions }, go) {
  const models = strategies.filter(({ mode }) => mode === 'model').length;
  const halted = strategies.filter(({ trading_state: state }) => state !== 'ACTIVE').length;
  const replicas = health?.replicas;
  return h('dl', { class: 'pulse' }, [
    ['strategies', `${strategies.length}`, halted ? `${halted} not trading freely` : `${models} with a model`, halted ? 'warn' : null, 'overview'],
    ['open positions', positions ? count(positions.length) : '–', positions?.some(({ latched_rule: rule }) => rule) ? 'one is being closed' : 'watched', null, 'positions'],
    ['training', training ? (training.is_training ? 'running' : 'idle') : '–', training ? `${training.queue_size} wait` : '', null, 'training'],
    ['replicas', replicas ? `${replicas.alive}` : '–', replicas?.lagging ? `${replicas.lagging} lag` : 'alive', replicas && (replicas.lagging || !replicas.alive) ? 'bad' : null, 'fleet'],
    ['alerts', health ? count(health.open_alerts) : '–', 'open', health?.open_alerts ? 'bad' : null, 'alerts'],
    ['dead letters', health ? count(health.dead_letters_open) : '–', 'open', health?.dead_letters_open ? 'warn' : null, 'letters'],
  ].map(([title, value, note, tone, target]) => h('div', { class: tone }, h('dt', {}, title),
    h('dd', {}, button(value, () => go(target), { tone: 'figure', keep: `pulse-${title}`, label: `${title}: ${value}, ${note}` }), h('span', { class: 'faint' }, note)))));
}

function strategies(items, api, readAll) {
  return table('Strategies', [
    { title: 'Strategy', head: true, cell: (row) => [h('strong', {}, row.strategy_id), h('span', { class: 'faint line' }, row.symbols?.join(' ') || '')] },
    { title: 'Decides', cell: (row) => [row.mode === 'model' ? badge(row.active_version, 'model') : badge('warm-up', 'warm'), h('span', { class: 'faint line' }, row.activated_at ? ['since ', ago(row.activated_at)] : 'no version yet')] },
    { title: 'Served by', cell: (row) => served(row.served_by) },
    { title: 'Latest decision', kind: 'fill', cell: (row) => decided(row.last_outcome) },
    { title: 'May', kind: 'switches', cell: (row) => [switches(row, api, readAll), why(row)] },
  ], items, { attributes: (row) => ({ 'data-strategy': row.strategy_id }) });
}

function served(by) {
  if (!by) return h('span', { class: 'faint' }, '–');
  const of = by.alive ?? by.replicas ?? 0;
  return h('span', { class: of && by.serving === of ? '' : 'warn-text' }, `${by.serving} of ${of}`);
}

function decided(outcome) {
  if (!outcome) return h('span', { class: 'faint' }, 'nothing decided yet');
  return [h('span', { class: 'reason' }, h('strong', {}, outcome.symbol), ' ', sentence(outcome)),
    h('span', { class: 'faint line' }, outcome.reason ? [h('code', {}, outcome.reason), ' · '] : null, ago(outcome.decided_at))];
}

function switches(row, api, readAll) {
  return h('div', { class: 'switch', role: 'group', 'aria-label': `What ${row.strategy_id} may do` },
    Object.entries(STATES).map(([name, { does, verb, path, tone, text }]) => button(
      row.trading_state === name ? does : verb.toLowerCase(),
      () => confirm({
        title: `${verb} ${row.strategy_id}`, text, verb, tone: name === 'ACTIVE' ? 'primary' : 'danger',
        act: ({ actor, reason }) => api.post(`/strategies/${encodeURIComponent(row.strategy_id)}/${path}`, { actor, reason }),
        done: () => { readAll(); return `${row.strategy_id}: ${does}.`; },
      }),
      { tone: row.trading_state === name ? `chosen ${tone}` : 'plain', pressed: row.trading_state === name, keep: `${row.strategy_id}-${name}`, label: `${verb} ${row.strategy_id}` })));
}

function why(row) {
  return row.state_reason ? h('span', { class: 'line faint said-why' }, `${row.state_actor}: ${row.state_reason}`) : null;
}
