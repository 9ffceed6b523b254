// Training: what runs, what waits, what came of it, and the button that asks for a new model.

import { ago, badge, button, h, table } from '/console/dom.js';
import { choice, confirm } from '/console/dialogs.js';
import { count, number, percent, seconds, words } from '/console/format.js';
import { empty } from '/console/sections.js';

const TONES = { succeeded: 'good', rejected: 'warn', failed: 'bad', cancelled: 'plain', running: 'model', building: 'warm', requested: 'plain', ready: 'plain' };
const STEPS = ['requested', 'building', 'ready', 'read', 'fit', 'evaluate'];
const ENDED = ['succeeded', 'rejected', 'failed', 'cancelled'];

export function training({ api, readAll }) {
  return {
    id: 'training',
    everyS: 10,
    events: ['training', 'activation'],
    controls: () => button('Train …', () => ask(api, readAll), { tone: 'primary', keep: 'train' }),
    async read() {
      const [status, runs, schedule] = await Promise.all([
        api.get('/training/status'), api.get('/training/runs', { limit: 12 }), api.get('/training/schedule').catch(() => ({ items: [] })),
      ]);
      return { status, runs: runs.items, schedule: schedule.items };
    },
    show: ({ status, runs, schedule }) => {
      const unfinished = runs.filter(({ state }) => !ENDED.includes(state));
      const ended = runs.filter(({ state }) => ENDED.includes(state));
      return [
        summary(status, schedule),
        unfinished.length ? queue(unfinished, api, readAll) : null,
        runs.length ? null : empty('Nothing was trained yet.', 'A strategy without a model asks for its first training by itself.'),
        ended.length ? history(ended) : null,
      ];
    },
  };
}

function summary({ metrics, queue_size: waiting, next_scheduled_training: next, pending_dataset_builds: builds }, schedule) {
  return h('dl', { class: 'facts' }, [
    ['waiting', count(waiting)], ['datasets being built', count(builds)],
    ['succeeded', metrics.total_runs ? `${percent(metrics.success_rate, 0)} of ${count(metrics.total_runs)}` : '–'],
    ['a run takes', seconds(metrics.average_duration_seconds)],
    ['next by schedule', next ? ago(next) : 'when there is a model'],
    ...schedule.slice(0, 4).map((each) => [each.strategy_id, [each.next_at?.[0] ? ago(each.next_at[0]) : '–', ' ', h('span', { class: 'faint' }, each.expression ?? (each.interval_days ? `every ${number(each.interval_days, 0)} days` : each.reason ?? ''))]]),
  ].map(([title, value]) => h('div', {}, h('dt', {}, title), h('dd', {}, value))));
}

function queue(runs, api, readAll) {
  return [h('h3', {}, 'Now'), table('Unfinished runs', [
    { title: 'Run', head: true, cell: (row) => [h('strong', {}, row.strategy_id), h('span', { class: 'faint line' }, `${row.symbol}, ${words(row.trigger)}`)] },
    { title: 'State', cell: (row) => badge(words(row.state), TONES[row.state]) },
    { title: 'Progress', kind: 'fill', cell: (row) => progress(row) },
    { title: 'Asked', cell: (row) => [ago(row.requested_at), h('span', { class: 'faint line' }, row.requested_by)] },
    { title: 'Cancel', cell: (row) => button('Cancel …', () => confirm({
      title: `Cancel the training of ${row.strategy_id}`, verb: 'Cancel the training', tone: 'danger',
      text: 'The run ends as cancelled wherever it stands, and no version comes of it.',
      act: ({ actor, reason }) => api.post(`/training/runs/${row.run_id}/cancel`, { actor, reason }),
      done: () => { readAll(); return 'The training was called off.'; },
    }), { tone: 'danger-quiet', keep: `cancel-${row.run_id}`, label: `Cancel the training of ${row.strategy_id}` }) },
  ], runs)];
}

function progress({ state, progress: at, reason }) {
  const step = state === 'running' ? at?.stage ?? 'read' : state;
  const reached = Math.max(STEPS.indexOf(step), step === 'fetch' || step === 'fetching' ? 2 : 0);
  const told = [words(step), at?.round === undefined ? null : `round ${count(at.round)}`, at?.score === undefined ? null : `score ${number(at.score, 4)}`].filter(Boolean).join(', ');
  return [h('progress', { max: STEPS.length, value: reached + 1, 'aria-label': `Step ${reached + 1} of ${STEPS.length}: ${told}` }), h('span', { class: 'faint line' }, told, reason ? ` · ${reason}` : '')];
}

function history(runs) {
  return [h('h3', {}, 'Ended'), table('Runs that ended', [
    { title: 'Run', head: true, cell: (row) => [h('strong', {}, row.strategy_id), h('span', { class: 'faint line' }, `${row.symbol}, ${words(row.trigger)}`)] },
    { title: 'Ended as', cell: (row) => [badge(words(row.state), TONES[row.state]), row.version ? h('span', { class: 'line' }, row.version) : null] },
    { title: 'Because', kind: 'fill', cell: (row) => h('span', { class: 'reason' }, row.reason ?? row.cancel_reason ?? '–') },
    { title: 'Took', kind: 'figure', cell: (row) => (row.started_at && row.finished_at ? seconds((Date.parse(row.finished_at) - Date.parse(row.started_at)) / 1000) : '–') },
    { title: 'When', cell: (row) => ago(row.finished_at) },
  ], runs)];
}

async function ask(api, readAll) {
  const { items } = await api.get('/strategies').catch(() => ({ items: [] }));
  const strategy = choice('strategy_id', 'Strategy', items.map(({ strategy_id: id }) => [id, id]));
  const symbol = choice('symbol', 'Symbol', symbols(items[0]));
  const priority = choice('priority', 'Priority', [['HIGH', 'high'], ['NORMAL', 'normal'], ['CRITICAL', 'critical: before all others']]);
  strategy.list.addEventListener('change', () => {
    const chosen = items.find(({ strategy_id: id }) => id === strategy.list.value);
    symbol.list.replaceChildren(...symbols(chosen).map(([value, text]) => h('option', { value }, text)));
  });
  // One question, one training: a second click on a slow answer asks for the same.
  const key = crypto.randomUUID();
  confirm({
    title: 'Train a new version', verb: 'Train', needsReason: false, fields: [strategy, symbol, priority],
    text: 'A trainer builds a dataset, fits a model and judges it. It trades only if it earns its place.',
    act: ({ strategy_id, symbol: of, priority: how, actor }) => api.post('/training/trigger', { strategy_id, ...(of ? { symbol: of } : {}), priority: how, actor }, { 'Idempotency-Key': key }),
    done: (run) => { readAll(); return run.message; },
  });
}

function symbols(strategy) {
  const known = strategy?.symbols ?? [];
  return known.length ? known.map((each) => [each, each]) : [['', 'its first one']];
}
