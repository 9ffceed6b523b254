// Versions: how good each was on rows it had never seen, what the gate said, and which one trades.

import { ago, badge, button, h, replace, select, table } from '/console/dom.js';
import { Chart, figure, isEmpty } from '/console/charts.js';
import { check, choice, confirm } from '/console/dialogs.js';
import { count, day, finite, number, percent, points, words } from '/console/format.js';
import { empty } from '/console/sections.js';

const PAGE = 10;
const DETAILS_KEPT = 20;
const TONES = { accepted: 'good', refused: 'bad', insufficient_evidence: 'warn', quarantined: 'bad' };
const NEEDS_FORCE = ['refused', 'insufficient_evidence', 'quarantined'];
const SHOWN = ['accuracy', 'baseline_accuracy', 'lift', 'direction_lift', 'balanced_accuracy', 'roc_auc', 'log_loss', 'brier', 'ece', 'mcc', 'expectancy', 'win_rate', 'profit_factor', 'trades', 'rmse', 'mae', 'r2'];

export function versions({ api, readAll }) {
  const details = new Map();
  const calibration = new Chart('Calibration', 'square');
  const confusion = new Chart('Confusion', 'square');
  let strategies = [];
  let of = '';
  let offset = 0;
  let chosen = null;
  let controls = null;
  let again = () => {};

  function choose() {
    if (controls) replace(controls, select('Strategy', [['', 'all'], ...strategies.map((each) => [each, each])], of, (value) => { of = value; offset = 0; chosen = null; again(); }, 'versions-strategy'));
  }

  // Versions do not change, but for the live figures and who is active: those move `updated_at` or the minute.
  async function detail({ version, updated_at: updated, is_active: active }) {
    if (details.size > DETAILS_KEPT) details.clear();
    const key = `${updated} ${active} ${active ? Math.floor(Date.now() / 60_000) : ''}`;
    if (details.get(version)?.key !== key) details.set(version, { key, found: await api.get(`/models/${version}`) });
    return details.get(version).found;
  }

  async function figures(version) {
    const [bins, counts] = await Promise.allSettled([figure(api, 'calibration', { version }), figure(api, 'confusion', { version })]);
    return { bins: bins.value ?? null, counts: counts.value ?? null };
  }

  return {
    id: 'versions',
    everyS: 20,
    events: ['activation', 'training'],
    controls(read) {
      again = read;
      controls = document.createElement('div');
      choose();
      return controls;
    },
    async read() {
      const [configured, page] = await Promise.all([api.get('/strategies'), api.get('/console/versions', { strategy_id: of, limit: PAGE, offset })]);
      const known = configured.items.map(({ strategy_id: id }) => id);
      if (known.join() !== strategies.join()) {
        strategies = known;
        choose();
      }
      const { items, total } = page;
      const shown = items.find(({ version }) => version === chosen) ?? items.find((each) => each.is_active) ?? items[0];
      chosen = shown?.version ?? null;
      if (!shown) return { items, total };
      const champion = items.find((each) => each.is_active && each.strategy_id === shown.strategy_id && each !== shown);
      const [whole, other, drawn] = await Promise.all([detail(shown), champion ? detail(champion) : null, figures(chosen)]);
      return { items, total, shown: whole, champion: other, figures: drawn };
    },
    async show({ items, total, shown, champion, figures: drawn }, body) {
      if (!items.length) return empty('No version was trained yet.', 'Until the first one is accepted the strategies warm up.');
      replace(body,
        list(items, shown.version, { api, readAll, pick: (version) => { chosen = version; again(); } }),
        pages(total, offset, (next) => { offset = next; chosen = null; again(); }),
        sheet(shown, champion, drawn, { calibration, confusion }));
      if (drawn.bins && !isEmpty(drawn.bins)) await calibration.draw(drawn.bins, `Calibration of ${shown.version}`);
      if (drawn.counts && !isEmpty(drawn.counts)) await confusion.draw(drawn.counts, `Confusion of ${shown.version}`);
      return null;
    },
  };
}

function list(items, chosen, { api, readAll, pick }) {
  return table('Versions', [
    { title: 'Version', head: true, cell: (row) => [button(row.version, () => pick(row.version), { tone: 'linkish', keep: `pick-${row.version}`, label: `Show ${row.version}`, pressed: row.version === chosen }),
      row.is_active ? badge('active', 'model') : null, h('span', { class: 'faint line' }, row.strategy_id)] },
    { title: 'Trained', cell: (row) => [ago(row.trained_at), h('span', { class: 'faint line' }, words(row.model_type))] },
    { title: 'Accuracy, baseline', kind: 'figure', cell: (row) => [percent(on(row).accuracy), h('span', { class: 'faint line' }, `${percent(on(row).baseline_accuracy)} baseline`)] },
    { title: 'Lift on test, 95 %', kind: 'interval', cell: (row) => interval(row) },
    { title: 'Live', kind: 'figure', cell: (row) => percent(on(row, 'live').accuracy) },
    { title: 'Verdict', kind: 'fill', cell: (row) => [verdict(row), h('span', { class: 'faint line clamp', title: row.verdict_sentence }, row.verdict_sentence)] },
    { title: 'Trade with it', cell: (row) => (row.is_active ? rollback(row, items, api, readAll) : activate(row, api, readAll)) },
  ], items, { attributes: (row) => ({ class: row.version === chosen ? 'chosen' : '', 'data-version': row.version }) });
}

function verdict(row) {
  return badge(words(row.verdict ?? 'no verdict'), TONES[row.verdict] ?? 'plain');
}

// What a line of the list says of one split.
function on({ metrics }, split = 'test') {
  return metrics.find(({ dataset_split: of }) => of === split) ?? {};
}

// A figure of the version that is looked at.
function metric(row, name, split) {
  const of = row.quality_metrics.filter((each) => each.metric_name === name && each.metadata?.dataset_split === split);
  if (!of.length) return null;
  return finite(of.reduce((newest, each) => (Date.parse(each.evaluated_at) > Date.parse(newest.evaluated_at) ? each : newest)).metric_value);
}

// The lift as points, with its interval drawn beside zero.
function interval(row) {
  const { lift, lift_lower: from, lift_upper: to } = on(row);
  const [mean, lower, upper] = [lift, from, to].map(finite);
  if (mean === null) return h('span', { class: 'faint' }, '–');
  const bounds = lower !== null && upper !== null;
  return [h('span', { class: bounds && lower > 0 ? 'up' : 'faint-strong' }, `${points(mean)} points`),
    bounds ? whisker(mean, lower, upper) : null,
    bounds ? h('span', { class: 'faint line' }, `${points(lower)} to ${points(upper)}`) : null];
}

const SVG = 'http://www.w3.org/2000/svg';

function whisker(mean, lower, upper) {
  const reach = Math.max(0.05, Math.abs(lower), Math.abs(upper)) * 1.15;
  const x = (value) => (50 + (value / reach) * 50).toFixed(2);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 100 10');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('class', `whisker ${lower > 0 ? 'good' : upper < 0 ? 'bad' : 'open'}`);
  svg.setAttribute('aria-hidden', 'true');
  const line = (kind, x1, x2, y1, y2) => {
    const element = document.createElementNS(SVG, 'line');
    for (const [name, value] of Object.entries({ class: kind, x1, x2, y1, y2, 'vector-effect': 'non-scaling-stroke' })) element.setAttribute(name, value);
    svg.append(element);
  };
  line('zero', 50, 50, 0, 10);
  line('range', x(lower), x(upper), 5, 5);
  line('mean', x(mean), x(mean), 1.5, 8.5);
  return svg;
}

function activate(row, api, readAll) {
  const forced = NEEDS_FORCE.includes(row.verdict);
  return button('Activate …', () => {
    const force = check('force', `Override the verdict: ${words(row.verdict)}`);
    confirm({
      title: `Activate ${row.version}`, verb: 'Activate', tone: forced ? 'danger' : 'primary', fields: forced ? [force] : [],
      text: [h('p', {}, `${row.strategy_id} trades with ${row.version} from the next decision on, in every worker.`), row.verdict_sentence ? h('blockquote', {}, row.verdict_sentence) : null],
      act: ({ actor, reason, force: override }) => api.post(`/models/${row.version}/activate`, { strategy_id: row.strategy_id, reason, actor, ...(override ? { force: true } : {}) }),
      done: (version) => { readAll(); return `${version.strategy_id} trades with ${version.version} now.`; },
    });
  }, { keep: `activate-${row.version}`, label: `Activate ${row.version}` });
}

function rollback(row, items, api, readAll) {
  return button('Roll back …', () => {
    const others = items.filter(({ strategy_id: id, version }) => id === row.strategy_id && version !== row.version);
    const to = choice('to', 'Back to', [['', 'the version before'], ...others.map(({ version, verdict: said }) => [version, `${version}, ${words(said)}`])]);
    const force = check('force', 'Also to a version that its verdict does not speak for');
    confirm({
      title: `Roll ${row.strategy_id} back`, verb: 'Roll back', tone: 'danger', fields: [to, force],
      text: `${row.strategy_id} stops trading with ${row.version}.`,
      act: ({ actor, reason, to: name, force: override }) => api.post(`/strategies/${encodeURIComponent(row.strategy_id)}/rollback`, { reason, actor, ...(name ? { to: name } : {}), ...(override ? { force: true } : {}) }),
      done: (version) => { readAll(); return `${version.strategy_id} trades with ${version.version} again.`; },
    });
  }, { keep: `rollback-${row.version}`, label: `Roll ${row.strategy_id} back` });
}

function pages(total, offset, turn) {
  if (total <= PAGE) return null;
  return h('div', { class: 'pages' },
    button('Newer', () => turn(Math.max(0, offset - PAGE)), { keep: 'newer', disabled: offset === 0 }),
    h('span', { class: 'faint' }, `${offset + 1} to ${Math.min(offset + PAGE, total)} of ${count(total)}`),
    button('Older', () => turn(offset + PAGE), { keep: 'older', disabled: offset + PAGE >= total }));
}

function sheet(row, champion, drawn, { calibration, confusion }) {
  return h('div', { class: 'sheet', 'aria-label': `Version ${row.version}` },
    h('div', { class: 'words' }, h('h3', {}, row.version, ' ', verdict(row)), h('p', { class: 'verdict' }, row.verdict_sentence ?? 'It was trained before verdicts were kept.'), lineage(row)),
    h('div', {}, h('h3', {}, 'Figures'), metrics(row, champion)),
    h('figure', {}, h('figcaption', {}, 'Calibration: is it right as often as it says?'), drawn.bins && !isEmpty(drawn.bins) ? calibration.element : empty('No calibration is kept for this version.')),
    h('figure', {}, h('figcaption', {}, 'Confusion: what came, and what was predicted'), drawn.counts && !isEmpty(drawn.counts) ? confusion.element : empty('No confusion is kept for this version.')));
}

function metrics(row, champion) {
  const names = SHOWN.filter((name) => ['test', 'validation', 'live'].some((split) => metric(row, name, split) !== null));
  const cell = (name, split, of = row) => number(metric(of, name, split), name === 'trades' ? 0 : 3);
  return table(`Figures of ${row.version}`, [
    { title: 'Figure', head: true, cell: words },
    { title: 'Test', kind: 'figure', cell: (name) => cell(name, 'test') },
    champion && { title: `Test of ${champion.version}`, kind: 'figure', cell: (name) => cell(name, 'test', champion) },
    { title: 'Validation', kind: 'figure', cell: (name) => cell(name, 'validation') },
    { title: 'Live', kind: 'figure', cell: (name) => cell(name, 'live') },
  ], names, { kind: 'narrow' });
}

function lineage(row) {
  const config = row.training_config ?? {};
  const broken = (row.files ?? []).filter(({ state }) => state !== 'ok');
  const spans = ['train', 'validation', 'test'].map((split) => [split, row.lineage?.[split] ?? row.lineage?.[`${split}_period`] ?? row.lineage?.periods?.[split]]).filter(([, span]) => span?.start);
  return h('dl', { class: 'facts tight' }, [
    ['symbol', row.lineage?.symbol ?? config.symbol], ['rows of train', count(row.training_dataset_size)], ['features', count(config.features?.length)],
    ['dataset', h('code', {}, String(row.lineage?.dataset_id ?? config.dataset_id ?? '–').slice(0, 8))],
    ['held against', row.lineage?.parent_version ?? 'nothing: the first'],
    ...spans.map(([split, span]) => [split, `${day(span.start)} to ${day(span.end)}`]),
    ['files', row.files ? (broken.length ? badge(broken.map(({ name, state }) => `${name} ${state}`).join(', '), 'bad') : badge('as registered', 'good')) : '–'],
    ...(row.activations ?? []).slice(0, 3).map((each) => [`epoch ${each.epoch}`, [ago(each.activated_at ?? each.at), ` ${each.actor}: ${each.reason}`]]),
  ].filter(([, value]) => value).map(([title, value]) => h('div', {}, h('dt', {}, title), h('dd', {}, value))));
}
