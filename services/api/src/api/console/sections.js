// A section of the page: it reads by REST, shows what it read, and fails alone.
//
// An event of the stream only says that something is new: what is shown is always what REST answered.

import { h, replace, button } from '/console/dom.js';

const SOONEST_MS = 1000;
const RETRY_S = 5;

export class Section {
  #definition;
  #body = h('div', { class: 'body', 'aria-busy': 'true' }, h('p', { class: 'empty' }, 'Reading …'));
  #failure = h('div', { class: 'failure', role: 'alert', hidden: true });
  #stopped = false;
  #seen = true;
  #due = false;
  #running = false;
  #readAt = 0;
  #timer = null;
  #shown = null;

  // definition: id, key, title, width, controls(read again), read(early) -> data, show(data, body) -> nodes, or
  // nothing where it drew by itself; events, everyS. `early` shows what is there while the rest is still read.
  constructor(definition) {
    this.#definition = definition;
    const { id, title, width = 'full', controls } = definition;
    this.element = h('section', { id, class: `card ${width}`, 'aria-labelledby': `${id}-title`, tabindex: '-1' },
      h('header', {}, h('h2', { id: `${id}-title` }, title), controls ? h('div', { class: 'controls' }, controls(() => this.read())) : null),
      this.#failure, this.#body);
    this.sight = new IntersectionObserver(([entry]) => {
      this.#seen = entry.isIntersecting;
      if (this.#seen && this.#due) this.read();
    }, { rootMargin: '200px' });
    this.sight.observe(this.element);
  }

  get id() { return this.#definition.id; }

  get isSeen() { return this.#seen; }

  get key() { return this.#definition.key; }

  get title() { return this.#definition.title; }

  heard(name) {
    if (this.#definition.events?.includes(name)) this.#soon(SOONEST_MS);
  }

  tick(now) {
    const { everyS = 30 } = this.#definition;
    const pauseS = this.#failure.hidden ? everyS : RETRY_S;
    if (now - this.#readAt > pauseS * 1000) this.#soon(0);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.sight.disconnect();
  }

  // Reads now. Asked again meanwhile, it reads once more afterwards.
  async read() {
    if (this.#stopped) return;
    this.#due = this.#running;
    if (this.#running) return;
    this.#running = true;
    try {
      const data = await this.#definition.read((early) => (this.#stopped ? null : this.#succeeded(early)));
      if (!this.#stopped) await this.#succeeded(data);
    } catch (error) {
      if (!this.#stopped) this.#failed(error);
    } finally {
      this.#running = false;
      this.#readAt = Date.now();
      this.#body.removeAttribute('aria-busy');
      if (this.#due) this.#soon(SOONEST_MS);
    }
  }

  #soon(ms) {
    this.#due = true;
    if (this.#timer || !this.#seen || document.hidden) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#due) this.read();
    }, Math.max(ms - (Date.now() - this.#readAt), 0));
  }

  // The same answer again leaves the page alone.
  async #succeeded(data) {
    const said = JSON.stringify(data);
    if (said !== this.#shown) {
      const shown = await this.#definition.show(data, this.#body);
      if (shown) replace(this.#body, shown);
      this.#shown = said;
    }
    this.#failure.hidden = true;
    this.#body.classList.remove('old');
  }

  #failed(error) {
    this.#shown = null;
    if (error.name === undefined || !('status' in error)) console.error(error);
    const stale = this.#readAt > 0 && this.#body.childElementCount > 0 && !this.#body.querySelector(':scope > .empty');
    if (!stale) replace(this.#body);
    this.#body.classList.toggle('old', stale);
    replace(this.#failure,
      h('p', {}, h('strong', {}, stale ? 'Not up to date. ' : 'Nothing to show. '), error.message),
      button('Try again', () => this.read(), { keep: 'retry' }));
    this.#failure.hidden = false;
  }
}

export function empty(sentence, more = null) {
  return h('p', { class: 'empty' }, sentence, more && h('span', { class: 'faint' }, ' ', more));
}
