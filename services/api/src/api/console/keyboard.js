// Keys that work wherever nothing is being typed.

import { h } from '/console/dom.js';
import { show } from '/console/dialogs.js';

export function start(keys) {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest('input, textarea, select, dialog')) return;
    const found = keys.find(({ key }) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found.act();
  });
}

export function explain(keys) {
  show('Keyboard', h('dl', { class: 'keys' }, keys.map(({ key, what }) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)]),
    h('dt', {}, h('kbd', {}, 'Tab')), h('dd', {}, 'to the next control; Enter or Space uses it'),
    h('dt', {}, h('kbd', {}, 'Esc')), h('dd', {}, 'closes a question without an answer')));
}
