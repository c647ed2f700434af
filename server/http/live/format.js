// Numbers and times as people read them, and elements.

const HTML = "http://www.w3.org/1999/xhtml";
const SVG = "http://www.w3.org/2000/svg";

function make(namespace, tag, attributes, children) {
  const element = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Text is always a child, never markup: notes and names come from operators.
export const el = (tag, attributes = {}, ...children) => make(HTML, tag, attributes, children);
export const svg = (tag, attributes = {}, ...children) => make(SVG, tag, attributes, children);

export const NONE = "\u2013";

export const count = (value) => value.toLocaleString("en-US");

export function rate(value) {
  if (value === null) return NONE;
  return value < 99.95 ? value.toFixed(1) : count(Math.round(value));
}

export function seconds(value) {
  if (value === null) return NONE;
  if (value < 0.0995) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  return `${value.toFixed(value < 9.95 ? 2 : 1)} s`;
}

// Round numbers, as axes have them.
export const plain = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 });
export const plainSeconds = (value) =>
  (value < 1 ? `${plain(value * 1000)} ms` : `${plain(value)} s`);

// A quantile of a histogram; beyond its last bound only that is known.
export function quantileText(quantile) {
  if (quantile === null) return NONE;
  return (quantile.beyond ? "> " : "") + seconds(quantile.value);
}

export function percent(share) {
  if (share === 0 || share === 1) return `${share * 100}%`;
  return `${(share * 100).toFixed(share < 0.0995 ? 2 : 1)}%`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    ++unit;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

// "42 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"
export function duration(value) {
  const whole = Math.max(0, Math.floor(value));
  const [s, min, h, d] = [whole % 60, Math.floor(whole / 60) % 60,
                          Math.floor(whole / 3600) % 24, Math.floor(whole / 86400)];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${min} min`;
  return min > 0 ? `${min} min ${s} s` : `${s} s`;
}

// Of seconds since 1970, where the browser is.
export function clock(time) {
  const date = new Date(time * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0")).join(":");
}

// An arm keeps its colour as long as the page is open.
const armColors = new Map();
const NUM_COLORS = 8;

export function armClass(arm) {
  if (!armColors.has(arm)) armColors.set(arm, armColors.size % NUM_COLORS);
  return `arm-${armColors.get(arm)}`;
}
