// Elements made of data: every text becomes a text node, so that no data is ever read as markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'on') for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === 'class') element.className = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...nodes(children));
  return element;
}

export function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

// What stood in `parent` is replaced; the focus stays where it was, by `data-keep`.
export function replace(parent, ...children) {
  const kept = parent.contains(document.activeElement) ? document.activeElement.dataset.keep : undefined;
  const unfolded = new Set([...parent.querySelectorAll('details[open][data-keep]')].map((each) => each.dataset.keep));
  parent.replaceChildren(...nodes(children));
  for (const each of parent.querySelectorAll('details[data-keep]')) each.open = unfolded.has(each.dataset.keep);
  if (kept) parent.querySelector(`[data-keep="${CSS.escape(kept)}"]`)?.focus({ preventScroll: true });
}

// Rows of cells under headings; on a narrow screen each row is a card and each cell names its heading.
export function table(caption, columns, rows, { attributes = () => ({}), kind: own = null } = {}) {
  const shown = columns.filter(Boolean);
  return h('table', { class: own },
    h('caption', { class: 'unseen' }, caption),
    h('thead', {}, h('tr', {}, shown.map(({ title, kind }) => h('th', { scope: 'col', class: kind }, title)))),
    h('tbody', {}, rows.map((row) => h('tr', attributes(row),
      shown.map(({ title, kind, cell, head }) =>
        h(head ? 'th' : 'td', { class: kind, scope: head ? 'row' : null, 'data-title': title }, h('div', {}, cell(row))))))));
}

export function badge(text, tone = 'plain', title = null) {
  return h('span', { class: `badge ${tone}`, title }, text);
}

export function button(text, action, { tone = 'plain', keep = null, label = null, pressed = null, disabled = false } = {}) {
  return h('button', {
    type: 'button', class: tone, 'data-keep': keep, 'aria-label': label,
    'aria-pressed': pressed === null ? null : String(pressed), disabled, on: { click: action },
  }, text);
}

export function select(label, options, chosen, changed, keep) {
  return h('label', { class: 'choice' }, h('span', {}, label),
    h('select', { 'data-keep': keep, on: { change: (event) => changed(event.target.value) } },
      options.map(([value, text]) => h('option', { value, selected: value === chosen }, text))));
}

// How long ago something was; main's ticker keeps it true.
export function ago(instant, { never = 'never' } = {}) {
  if (!instant) return h('span', { class: 'faint' }, never);
  const element = h('time', { datetime: instant, title: instant.replace('T', ' ').replace(/(\.\d+)?(Z|\+00:00)$/, ' UTC'), 'data-ago': '' });
  age(element);
  return element;
}

export function age(element, now = Date.now()) {
  const seconds = (now - Date.parse(element.dateTime)) / 1000;
  const text = seconds < -1 ? `in ${span(-seconds)}` : seconds < 2 ? 'now' : `${span(seconds)} ago`;
  if (element.textContent !== text) element.textContent = text;
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}
