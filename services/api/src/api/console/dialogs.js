// Questions before something happens, and what became of it.

import { h, nodes, button } from '/console/dom.js';

const ACTOR = 'flotilla.actor';
const TOAST_MS = 7000;

// Asks, then does. `act({reason, actor, ...fields})` may fail: the dialog stays and says why.
export function confirm({ title, text, verb, tone = 'primary', needsReason = true, fields = [], act, done }) {
  const reason = h('textarea', { id: 'why', rows: 2, maxlength: 1000, required: needsReason, placeholder: 'Kept in the audit, for whoever asks later' });
  const actor = h('input', { id: 'who', maxlength: 100, required: true, value: sessionStorage.getItem(ACTOR) ?? 'operator', autocomplete: 'off' });
  const said = h('p', { class: 'said', role: 'alert' });
  const go = h('button', { type: 'submit', class: tone }, verb);
  const form = h('form', {},
    h('h2', { id: 'question' }, title),
    nodes([text]).map((each) => (each instanceof Text ? h('p', {}, each) : each)),
    fields.map(({ node }) => node),
    needsReason && [h('label', { for: 'why' }, 'Reason'), reason],
    h('label', { for: 'who' }, 'Your name'), actor, said,
    h('div', { class: 'actions' }, button('Cancel', () => dialog.close()), go));
  const dialog = opened(form, 'question');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    go.disabled = true;
    said.textContent = '';
    sessionStorage.setItem(ACTOR, actor.value.trim());
    const wanted = Object.fromEntries(fields.map(({ name, value }) => [name, value()]));
    try {
      const answer = await act({ ...wanted, actor: actor.value.trim(), ...(needsReason ? { reason: reason.value.trim() } : {}) });
      dialog.close();
      if (done) toast(typeof done === 'function' ? done(answer) : done);
    } catch (error) {
      said.textContent = error.message;
      go.disabled = false;
    }
  });
  (needsReason ? reason : go).focus();
  return dialog;
}

export function choice(name, label, options, chosen = options[0]?.[0]) {
  const list = h('select', { id: `field-${name}` }, options.map(([value, text]) => h('option', { value, selected: value === chosen }, text)));
  return { name, node: h('div', { class: 'field' }, h('label', { for: `field-${name}` }, label), list), value: () => list.value, list };
}

export function check(name, label) {
  const box = h('input', { type: 'checkbox', id: `field-${name}` });
  return { name, node: h('label', { class: 'check' }, box, h('span', {}, label)), value: () => box.checked };
}

export function show(title, ...content) {
  const dialog = opened(h('div', {}, h('h2', { id: 'shown' }, title), content,
    h('div', { class: 'actions' }, button('Close', () => dialog.close(), { tone: 'primary' }))), 'shown', 'wide');
  return dialog;
}

export function toast(sentence, tone = 'plain') {
  const element = h('p', { class: `toast ${tone}` }, sentence);
  document.getElementById('toasts').append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}

function opened(content, labelledBy, size = '') {
  const dialog = h('dialog', { 'aria-labelledby': labelledBy, class: size }, content);
  const before = document.activeElement;
  dialog.addEventListener('close', () => {
    dialog.remove();
    // The browser gives the focus back, and a key may have moved it on since: only one that is lost is looked for.
    if (document.activeElement !== document.body) return;
    const back = before?.isConnected ? before : document.querySelector(`[data-keep="${CSS.escape(before?.dataset?.keep ?? '')}"]`);
    back?.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
