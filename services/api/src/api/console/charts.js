// Charts: figures that the server built, drawn by plotly's own script, which is fetched when first needed.

import * as theme from '/console/theme.js';

const SCRIPT = '/console/plotly.js?v=PLOTLY_VERSION';
const SETTINGS = { displayModeBar: false, displaylogo: false, responsive: true, doubleClick: 'reset', showTips: false };

let loading = null;

export function script() {
  loading ??= new Promise((resolve, reject) => {
    const element = document.createElement('script');
    element.src = SCRIPT;
    element.onload = () => resolve(window.Plotly);
    element.onerror = () => {
      loading = null;
      reject(new Error('The chart script could not be loaded.'));
    };
    document.head.append(element);
  });
  return loading;
}

// A place for a chart with a name that screen readers say.
export class Chart {
  #place;

  constructor(label, size = 'tall') {
    this.#place = document.createElement('div');
    this.#place.className = `chart ${size}`;
    this.#place.setAttribute('role', 'img');
    this.#place.setAttribute('aria-label', label);
  }

  get element() {
    return this.#place;
  }

  async draw(figure, label = null) {
    if (label) this.#place.setAttribute('aria-label', label);
    const plotly = await script();
    const font = { ...figure.layout.font, family: getComputedStyle(document.body).fontFamily };
    await plotly.react(this.#place, figure.data, { ...figure.layout, font, autosize: true }, SETTINGS);
  }
}

export function figure(api, name, parameters) {
  return api.get(`/console/figures/${name}`, { ...parameters, theme: theme.current() });
}

export function isEmpty(drawn) {
  return drawn.data.every((trace) => !(trace.x?.length && trace.hoverinfo !== 'skip'));
}
