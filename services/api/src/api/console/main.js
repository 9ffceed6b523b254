// The page: the key, the sections, what the stream says, and the clock.

import { Api } from '/console/api.js';
import { Stream } from '/console/stream.js';
import { Section } from '/console/sections.js';
import { h, age, replace } from '/console/dom.js';
import * as keyboard from '/console/keyboard.js';
import * as theme from '/console/theme.js';
import { toast } from '/console/dialogs.js';
import { alerts } from '/console/alerts.js';
import { decisions } from '/console/decisions.js';
import { fleet } from '/console/fleet.js';
import { letters } from '/console/letters.js';
import { market } from '/console/market.js';
import { fleetState, overview } from '/console/overview.js';
import { performance } from '/console/performance.js';
import { positions } from '/console/positions.js';
import { skips } from '/console/skips.js';
import { training } from '/console/training.js';
import { versions } from '/console/versions.js';

const KEPT = 'flotilla.key';
const SECTIONS = [
  ['1', 'Strategies', overview],
  ['2', 'Market', market],
  ['3', 'Decisions', decisions],
  ['4', 'Positions', positions],
  ['5', 'Versions', versions],
  ['6', 'Training', training],
  ['7', 'Why no signal', skips],
  ['8', 'Performance', performance],
  ['9', 'Fleet', fleet],
  ['0', 'Alerts', alerts],
  ['-', 'Dead letters', letters],
];
const SPOKEN_EVERY_MS = 5000;

const at = (id) => document.getElementById(id);
let session = null;

class Session {
  #link = { state: 'connecting' };
  #spokenAt = 0;
  #lost = false;

  constructor(key) {
    this.api = new Api(key, (error) => this.#hears(error));
    const context = { api: this.api, readAll: () => this.readAll(), go };
    this.sections = SECTIONS.map(([key, title, define], index) => new Section({ key, title, ...define({ ...context, api: this.api.ranked(() => this.#rank(index)) }) }));
    this.state = fleetState(context, at('fleet-state'));
    this.stream = new Stream(this.api, { told: (link) => this.#connection(link), heard: (name, data) => this.#heard(name, data) });
    replace(at('content'), h('div', { class: 'grid' }, this.sections.map((section) => section.element)));
    replace(at('rail'), this.sections.map(({ id, key, title }) => h('li', {},
      h('a', { href: `#${id}`, on: { click: (event) => { event.preventDefault(); go(id); } } },
        h('kbd', { 'aria-hidden': 'true' }, key), h('span', {}, title)))));
  }

  // Resolves once every section has read for the first time.
  start() {
    this.stream.run();
    return this.readAll();
  }

  stop() {
    this.stream.stop();
    this.state.stop();
    this.sections.forEach((section) => section.stop());
    this.api.stop();
  }

  readAll() {
    return Promise.all([...this.sections.map((section) => section.read()), this.state.read()]);
  }

  tick(now) {
    if (this.#link.state === 'waiting') this.#say();
    if (document.hidden) return;
    this.sections.forEach((section) => section.tick(now));
  }

  // What is in sight first, then down the page.
  #rank(index) {
    return index + (this.sections?.[index].isSeen === false ? SECTIONS.length : 0);
  }

  #heard(name, data) {
    if (name === 'state') this.state.read();
    this.sections.forEach((section) => section.heard(name));
    if ((name === 'signal' || name === 'exit') && Date.now() - this.#spokenAt > SPOKEN_EVERY_MS) {
      this.#spokenAt = Date.now();
      at('spoken').textContent = `${name === 'exit' ? 'Exit' : 'Signal'}: ${data.side} ${data.symbol}, ${data.strategy_id}`;
    }
    if (name === 'alert' && !data.resolved_at) toast(`Alert: ${data.sentence}`, data.severity);
  }

  #connection(link) {
    const back = link.state === 'live' && this.#lost;
    this.#lost = link.state === 'live' ? false : this.#lost || link.state === 'waiting';
    this.#link = link;
    this.#say();
    // What happened while nobody listened is read anew.
    if (back) this.readAll();
  }

  #say() {
    const { state, until } = this.#link;
    at('link').dataset.state = state;
    const left = Math.max(1, Math.ceil(((until ?? 0) - Date.now()) / 1000));
    const texts = { live: 'live', connecting: 'connecting', waiting: `no stream, again in ${left} s`, refused: 'key refused' };
    if (at('link-text').textContent !== texts[state]) at('link-text').textContent = texts[state];
  }

  #hears(error) {
    if (session !== this) return;
    if (error.status === 401) signOut('The API refused the key: it is wrong, or it was changed.');
    if (error.status === 403) at('read-only').hidden = false;
  }
}

function go(id) {
  const section = at(id);
  if (!section) return;
  section.scrollIntoView({ block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
  section.focus({ preventScroll: true });
  history.replaceState(null, '', `#${id}`);
}

// The section that the address names; null: none.
function linked() {
  const id = location.hash.slice(1);
  return session?.sections.some((section) => section.id === id) ? id : null;
}

function open(key) {
  at('sign-in').hidden = true;
  at('frame').hidden = false;
  at('sign-out').hidden = false;
  at('link').hidden = false;
  session = new Session(key);
  const read = session.start();
  const id = linked();
  if (!id) return;
  go(id);
  // What stands above it has its height only now. Whoever went elsewhere meanwhile stays there.
  read.then(() => { if (document.activeElement === at(id)) go(id); });
}

function signOut(sentence = '') {
  session?.stop();
  session = null;
  sessionStorage.removeItem(KEPT);
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  replace(at('content'));
  replace(at('rail'));
  replace(at('fleet-state'));
  at('frame').hidden = true;
  at('sign-out').hidden = true;
  at('read-only').hidden = true;
  at('link').hidden = true;
  ask(sentence);
}

function ask(sentence = '') {
  at('sign-in').hidden = false;
  at('key-said').textContent = sentence;
  at('key').value = '';
  at('key').focus();
}

function refusal(error) {
  if (error.status === 401) return 'This key is not the API’s.';
  if (error.status === 429) return `Too many wrong keys: try again in ${error.retryAfterS ?? 60} s.`;
  return error.message;
}

async function submitted(event) {
  event.preventDefault();
  const key = at('key').value.trim();
  if (!/^[!-~]+$/.test(key)) {
    at('key-said').textContent = 'A key has no spaces and no special letters.';
    return;
  }
  const submit = event.target.querySelector('button');
  submit.disabled = true;
  try {
    // A key that does not open the API is not kept.
    await new Api(key).get('/strategies');
    sessionStorage.setItem(KEPT, key);
    open(key);
    if (!linked()) at('content').focus({ preventScroll: true });
  } catch (error) {
    ask(refusal(error));
  } finally {
    submit.disabled = false;
  }
}

function tick() {
  const now = Date.now();
  at('clock').textContent = `${new Date(now).toISOString().slice(11, 19)} UTC`;
  for (const element of document.querySelectorAll('time[data-ago]')) age(element, now);
  session?.tick(now);
}

function start() {
  const nextTheme = theme.start(at('theme'), () => session?.sections.forEach((section) => section.read()));
  const keys = SECTIONS.map(([key, title], index) => (
    { key, what: `go to ${title}`, act: () => session && go(session.sections[index].id) }));
  keys.push(
    { key: 'r', what: 'read everything again', act: () => { session?.stream.hurry(); session?.readAll(); } },
    { key: 't', what: 'change the colours', act: nextTheme },
    { key: '?', what: 'show this list', act: () => keyboard.explain(keys) },
  );
  keyboard.start(keys);
  at('help').addEventListener('click', () => keyboard.explain(keys));
  at('sign-out').addEventListener('click', () => signOut());
  at('key-form').addEventListener('submit', submitted);
  window.addEventListener('hashchange', () => { if (linked()) go(linked()); });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) session?.readAll(); });
  tick();
  setInterval(tick, 1000);
  at('link').hidden = true;
  document.body.classList.remove('starting');
  const kept = sessionStorage.getItem(KEPT);
  if (kept) open(kept);
  else ask();
}

start();
