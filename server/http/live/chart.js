// Lines over time with the swaps of routing plans as marks.

import { clock, el, svg } from "./format.js";

const HEIGHT = 190;
const MARGIN = { left: 58, right: 12, top: 22, bottom: 24 };
const MIN_MARK_GAP = 3;     // between two swaps: of a storm of them not all are drawn
const MIN_LABEL_GAP = 40;   // between their labels
const TICK_EVERY_PX = 110;  // of the time axis, at least

// 1, 2 or 5 times a power of ten, at least `value`.
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

// [0, step, 2 step, ...] up to above `max`.
function ticksUpTo(max) {
  const step = niceAbove((max > 0 ? max : 1) / 4);
  const ticks = [];
  for (let i = 0; i === 0 || ticks[i - 1] < (max > 0 ? max : 1); ++i) ticks.push(i * step);
  return ticks;
}

// Parts of a line between missing values.
function segments(points, joinGaps) {
  const parts = [[]];
  for (const point of points) {
    if (point[1] !== null) parts[parts.length - 1].push(point);
    else if (!joinGaps) parts.push([]);
  }
  return parts.filter((part) => part.length > 0);
}

function nearest(points, time) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point[0] - time) < Math.abs(best[0] - time)) best = point;
  }
  return best;
}

// Draws `lines`: { name, style (CSS classes), points: [[time, value or null]], joinGaps }.
export class Chart {
  // `format` is for values (null: none there), `formatTick` for the axis.
  constructor(title, format, formatTick) {
    this.title = title;
    this.format = format;
    this.formatTick = formatTick;
    this.lines = [];
    this.pointer = null;  // x of the mouse
    this.legend = el("p", { class: "chart-legend" });
    this.plot = el("div", { class: "plot" });
    this.element = el("figure", { class: "chart", "data-chart": title },
      el("figcaption", {}, el("h3", {}, title), this.legend), this.plot);
    this.plot.addEventListener("pointermove", (event) => this.pointAt(event));
    this.plot.addEventListener("pointerleave", () => this.pointAt(null));
  }

  pointAt(event) {
    this.pointer = event && event.clientX - this.plot.getBoundingClientRect().left;
    if (this.last) this.draw(...this.last);
  }

  draw(window, swaps, empty) {
    this.last = [window, swaps, empty];
    const width = Math.max(160, this.plot.clientWidth);
    const [from, to] = window;
    this.lines.forEach((line) => {
      line.points = line.points.filter(([time]) => time >= from);
    });
    const values = this.lines.flatMap((line) => line.points.map(([, value]) => value ?? 0));
    const ticks = ticksUpTo(Math.max(0, ...values));
    const top = ticks[ticks.length - 1];
    this.width = width;
    this.x = (time) => MARGIN.left +
      ((time - from) / (to - from)) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) => HEIGHT - MARGIN.bottom -
      (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);

    this.plot.replaceChildren(svg("svg",
      { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
        "aria-label": this.describe(swaps) },
      ...this.valueAxis(ticks), ...this.timeAxis(from, to), ...this.swapMarks(swaps),
      ...this.lines.flatMap((line) => this.path(line)), ...this.emptyText(empty),
      ...this.crosshair(from, to)));
    this.showLegend(from, to);
  }

  describe(swaps) {
    const now = this.lines.map((line) => `${line.name} ${this.format(this.lastOf(line))}`);
    return `${this.title}: ${now.join(", ")}; ${swaps.length} new routing plans`;
  }

  lastOf(line) {
    const last = line.joinGaps ? line.points.findLast((point) => point[1] !== null)
                               : line.points[line.points.length - 1];
    return last ? last[1] : null;
  }

  valueAxis(ticks) {
    return ticks.flatMap((tick) => [
      svg("line", { class: tick === 0 ? "axis" : "grid", x1: MARGIN.left,
                    x2: this.width - MARGIN.right, y1: this.y(tick), y2: this.y(tick) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: this.y(tick) + 4,
                    "text-anchor": "end" }, tick === 0 ? "0" : this.formatTick(tick))]);
  }

  // Backwards from now, in steps that people count in.
  timeAxis(from, to) {
    const perPx = (to - from) / (this.width - MARGIN.left - MARGIN.right);
    const step = [15, 30, 60, 120, 300].find((s) => s / perPx >= TICK_EVERY_PX) ?? 300;
    const texts = [];
    for (let ago = 0; ago <= to - from; ago += step) {
      const text = ago === 0 ? "now" : ago % 60 === 0 ? `\u2212${ago / 60} min` : `\u2212${ago} s`;
      texts.push(svg("text", { class: "tick", x: this.x(to - ago), y: HEIGHT - 6,
                               "text-anchor": ago === 0 ? "end" : "middle" }, text));
    }
    return texts;
  }

  // Newer marks and labels stay where there is no room for all.
  swapMarks(swaps) {
    const marks = [];
    let markFrom = Infinity, labelFrom = Infinity;
    for (const swap of [...swaps].reverse()) {
      const x = this.x(swap.time);
      if (markFrom - x < MIN_MARK_GAP) continue;
      markFrom = x;
      const isLabelled = labelFrom - x >= MIN_LABEL_GAP;
      if (isLabelled) labelFrom = x;
      marks.push(this.swapMark(swap, x, isLabelled));
    }
    return marks;
  }

  swapMark(swap, x, isLabelled) {
    const line = { x1: x, x2: x, y1: MARGIN.top - 6, y2: HEIGHT - MARGIN.bottom };
    const note = swap.note ? `: ${swap.note}` : "";
    return svg("g", { class: "swap", "data-generation": swap.generation },
      svg("title", {}, `generation ${swap.generation}, ${swap.source}, ${clock(swap.time)}${note}`),
      svg("line", { class: "hit", ...line }), svg("line", line),
      isLabelled ? svg("text", { x: Math.min(x, this.width - 22), y: 12,
                                 "text-anchor": "middle" }, `g${swap.generation}`) : null);
  }

  path(line) {
    return segments(line.points, line.joinGaps).map((part) => {
      const points = part.map(
        ([time, value]) => `${this.x(time).toFixed(1)},${this.y(value).toFixed(1)}`);
      if (points.length === 1) {
        const [cx, cy] = points[0].split(",");
        return svg("circle", { class: `line ${line.style}`, cx, cy, r: 1.5 });
      }
      return svg("polyline", { class: `line ${line.style}`, points: points.join(" ") });
    });
  }

  emptyText(empty) {
    if (empty === null) return [];
    return [svg("text", { class: "empty", x: (MARGIN.left + this.width) / 2, y: HEIGHT / 2,
                          "text-anchor": "middle" }, empty)];
  }

  timeAtPointer(from, to) {
    if (this.pointer === null || this.pointer < MARGIN.left) return null;
    const share = (this.pointer - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return Math.min(to, from + share * (to - from));
  }

  crosshair(from, to) {
    const time = this.timeAtPointer(from, to);
    if (time === null) return [];
    return [svg("line", { class: "crosshair", x1: this.x(time), x2: this.x(time), y1: MARGIN.top,
                          y2: HEIGHT - MARGIN.bottom })];
  }

  // Values now, or where the mouse is.
  showLegend(from, to) {
    const time = this.timeAtPointer(from, to);
    const entries = this.lines.map((line) => {
      const value = time === null ? this.lastOf(line) : nearest(line.points, time)?.[1] ?? null;
      return el("span", { class: `key ${line.style}` }, el("i", { "aria-hidden": "true" }),
        `${line.name} `, el("b", {}, this.format(value)));
    });
    if (time !== null) entries.unshift(el("span", { class: "key time" }, clock(time)));
    this.legend.replaceChildren(...entries);
  }
}
