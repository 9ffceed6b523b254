// Figures as operators read them.

const NONE = '–';

export function number(value, digits = 2) {
  const figure = finite(value);
  return figure === null ? NONE : figure.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function signed(value, digits = 2) {
  const figure = finite(value);
  return figure === null ? NONE : `${figure > 0 ? '+' : figure < 0 ? '−' : ''}${number(Math.abs(figure), digits)}`;
}

export function count(value) {
  return number(value, 0);
}

export function percent(share, digits = 1) {
  const figure = finite(share);
  return figure === null ? NONE : `${number(figure * 100, digits)} %`;
}

export function points(share, digits = 1) {
  const figure = finite(share);
  return figure === null ? NONE : signed(figure * 100, digits);
}

// As many digits as tell prices apart, whatever the coin costs.
export function price(value) {
  const figure = finite(value);
  if (figure === null) return NONE;
  const size = Math.abs(figure);
  const digits = size >= 1000 ? 1 : size >= 100 ? 2 : size >= 1 ? 4 : 6;
  return figure.toLocaleString('en', { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
}

export function quantity(value) {
  const figure = finite(value);
  return figure === null ? NONE : Math.abs(figure).toLocaleString('en', { maximumSignificantDigits: 6 });
}

export function seconds(value) {
  const figure = finite(value);
  if (figure === null) return NONE;
  if (figure < 1) return `${number(figure * 1000, 0)} ms`;
  if (figure < 90) return `${number(figure, figure < 10 ? 1 : 0)} s`;
  return figure < 5400 ? `${number(figure / 60, 0)} min` : `${number(figure / 3600, 1)} h`;
}

export function bytes(value) {
  const figure = finite(value);
  if (figure === null) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = figure < 1 ? 0 : Math.min(Math.floor(Math.log2(figure) / 10), units.length - 1);
  return `${number(figure / 1024 ** power, power ? 1 : 0)} ${units[power]}`;
}

export function clock(instant) {
  return new Date(instant).toISOString().slice(11, 19);
}

export function day(instant) {
  return instant ? new Date(instant).toISOString().slice(0, 16).replace('T', ' ') : NONE;
}

export function words(code) {
  return String(code ?? NONE).replaceAll('_', ' ');
}

export function finite(value) {
  if (value === null || value === undefined || value === '') return null;
  const figure = Number(value);
  return Number.isFinite(figure) ? figure : null;
}
