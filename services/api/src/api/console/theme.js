// Light, dark, or as the system has it; the choice is kept in this browser.

const KEPT = 'flotilla.theme';
const CHOICES = [['auto', '◐', 'as the system'], ['light', '☀', 'light'], ['dark', '☾', 'dark']];
const dark = matchMedia('(prefers-color-scheme: dark)');

export function current() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light';
}

// `changed` hears when the colours are others than before.
export function start(switcher, changed) {
  apply(switcher, localStorage.getItem(KEPT) ?? 'auto');
  dark.addEventListener('change', changed);
  const next = () => {
    const before = current();
    const index = CHOICES.findIndex(([name]) => name === (localStorage.getItem(KEPT) ?? 'auto'));
    const [name] = CHOICES[(index + 1) % CHOICES.length];
    localStorage.setItem(KEPT, name);
    apply(switcher, name);
    if (current() !== before) changed();
  };
  switcher.addEventListener('click', next);
  return next;
}

function apply(switcher, name) {
  const [chosen, sign, words] = CHOICES.find(([each]) => each === name) ?? CHOICES[0];
  document.documentElement.dataset.theme = chosen;
  switcher.textContent = sign;
  switcher.setAttribute('aria-label', `Colours: ${words}`);
  switcher.title = `Colours: ${words} (t)`;
}
