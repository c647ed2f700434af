// A layer x expert map of one arm: how often each expert is selected, relative to an even
// load of its layer. A canvas, since there may be thousands of cells; the cell under the
// mouse or the keyboard's cursor is said in numbers below it.

import { count, el, percent } from "./format.js";

const MAX_LOG2 = 2;  // colours end at 1/4 and 4 times an even load
const STEPS = 64;    // of the scale
const AXIS = { left: 30, bottom: 20 };
const HINT = "Point at a cell, or use the arrow keys, for its numbers.";

const style = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

function mix(from, to, part) {
  const channel = (hex, i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
  return `rgb(${[0, 1, 2].map((i) =>
    Math.round(channel(from, i) + (channel(to, i) - channel(from, i)) * part)).join(" ")})`;
}

// STEPS + 1 colours from few to many, by the theme of the page.
export function heatScale(element) {
  const names = ["--heat-low", "--heat-lower", "--heat-even", "--heat-higher", "--heat-high"];
  const stops = names.map((name) => style(element, name));
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const at = (i / STEPS) * (stops.length - 1);
    const left = Math.min(Math.floor(at), stops.length - 2);
    return mix(stops[left], stops[left + 1], at - left);
  });
}

// null for an expert without a token.
export function heatColor(scale, relative) {
  if (relative === 0) return null;
  const at = (Math.log2(relative) / MAX_LOG2 + 1) / 2;
  return scale[Math.round(Math.min(1, Math.max(0, at)) * STEPS)];
}

export class HeatMap {
  constructor(arm, onCursor) {
    this.arm = arm;
    this.onCursor = onCursor;
    this.rows = [];     // [layer][expert] selections
    this.totals = [];   // [layer]
    this.marks = [];    // [layer][expert] "banned", "forced" or undefined
    this.cursor = null;
    this.canvas = el("canvas", { tabindex: "0", role: "application", "data-arm": arm });
    this.readout = el("p", { class: "readout" });
    this.element = el("div", { class: "heat" }, this.canvas, this.readout);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  listen() {
    const point = (event) => this.onCursor(this.cellAt(event));
    this.canvas.addEventListener("pointermove", point);
    this.canvas.addEventListener("pointerdown", point);
    this.canvas.addEventListener("pointerleave", () => this.onCursor(null));
    this.canvas.addEventListener("blur", () => this.onCursor(null));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
  }

  get numExperts() {
    return this.rows.length > 0 ? this.rows[0].length : 0;
  }

  setData(rows, marks) {
    this.rows = rows;
    this.marks = marks;
    this.totals = rows.map((row) => row.reduce((sum, n) => sum + n, 0));
    this.canvas.setAttribute("aria-label", `Selections of arm ${this.arm} by layer and expert: ` +
      `${rows.length} layers of ${this.numExperts} experts. Arrow keys move from cell to cell.`);
    this.draw();
    this.showReadout();
  }

  setCursor(cursor) {
    this.cursor = cursor;
    this.draw();
    this.showReadout();
  }

  onKey(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
                    Home: [0, -this.numExperts], End: [0, this.numExperts] };
    if (event.key === "Escape") this.onCursor(null);
    const move = moves[event.key];
    if (!move || this.rows.length === 0) return;
    event.preventDefault();
    this.readout.setAttribute("aria-live", "polite");
    const clamp = (value, size) => Math.min(size - 1, Math.max(0, value));
    const at = this.cursor;
    this.onCursor(at === null ? { layer: 0, expert: 0 } : {
      layer: clamp(at.layer + move[0], this.rows.length),
      expert: clamp(at.expert + move[1], this.numExperts) });
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const expert = Math.floor((event.clientX - box.left - AXIS.left) / this.cellWidth);
    const layer = Math.floor((event.clientY - box.top) / this.cellHeight);
    const isInside = expert >= 0 && expert < this.numExperts && layer >= 0 &&
                     layer < this.rows.length;
    return isInside ? { layer, expert } : null;
  }

  // Share of the layer's selections, as a multiple of an even one.
  relative(layer, expert) {
    return (this.rows[layer][expert] * this.numExperts) / this.totals[layer];
  }

  showReadout() {
    const at = this.cursor;
    const isThere = at !== null && at.layer < this.rows.length && at.expert < this.numExperts;
    this.readout.classList.toggle("idle", !isThere);
    if (!isThere) {
      this.readout.replaceChildren(HINT);
      return;
    }
    const selections = this.rows[at.layer][at.expert];
    const total = this.totals[at.layer];
    this.readout.replaceChildren(
      el("b", {}, `layer ${at.layer}, expert ${at.expert}`),
      `: ${count(selections)} of ${count(total)} selections, ${percent(selections / total)}, `,
      el("b", {}, `${this.relative(at.layer, at.expert).toFixed(2)} \u00d7 even`),
      ...this.markText(at));
  }

  markText({ layer, expert }) {
    const mark = this.marks[layer][expert];
    return mark ? [", ", el("b", {}, mark)] : [];
  }

  draw() {
    const width = this.element.clientWidth;
    if (this.rows.length === 0 || width === 0) return;
    const layers = this.rows.length;
    this.cellWidth = (width - AXIS.left) / this.numExperts;
    this.cellHeight = Math.min(22, Math.max(5, Math.round(Math.min(
      300 / layers, this.cellWidth * 2.4))));
    const height = layers * this.cellHeight + AXIS.bottom;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.drawCells(context);
    this.drawAxes(context);
    if (this.cursor !== null) this.drawCursor(context);
  }

  cell(layer, expert) {
    const left = AXIS.left + expert * this.cellWidth;
    const gap = this.cellWidth >= 5 ? 1 : 0;
    return [left, layer * this.cellHeight, this.cellWidth - gap, this.cellHeight - gap];
  }

  drawCells(context) {
    const scale = heatScale(this.canvas);
    const unused = style(this.canvas, "--heat-unused");
    const dot = style(this.canvas, "--muted");
    this.rows.forEach((row, layer) => row.forEach((_, expert) => {
      const [x, y, w, h] = this.cell(layer, expert);
      const color = heatColor(scale, this.relative(layer, expert));
      context.fillStyle = color ?? unused;
      context.fillRect(x, y, w, h);
      const mark = this.marks[layer][expert];
      if (mark) {
        this.drawMark(context, mark, [x, y, w, h]);
      } else if (color === null) {
        context.fillStyle = dot;
        context.fillRect(x + w / 2 - 1, y + h / 2 - 1, 2, 2);
      }
    }));
  }

  // A cross for an expert that never runs, a frame around one that always does.
  drawMark(context, mark, [x, y, w, h]) {
    context.strokeStyle = style(this.canvas, `--${mark}`);
    context.lineWidth = 1.5;
    context.beginPath();
    if (mark === "banned") {
      context.moveTo(x + 1, y + 1);
      context.lineTo(x + w - 1, y + h - 1);
      context.moveTo(x + w - 1, y + 1);
      context.lineTo(x + 1, y + h - 1);
    } else {
      context.rect(x + 0.75, y + 0.75, w - 1.5, h - 1.5);
    }
    context.stroke();
  }

  drawAxes(context) {
    context.fillStyle = style(this.canvas, "--muted");
    context.font = `12px ${style(this.canvas, "font-family")}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const everyLayer = Math.ceil(14 / this.cellHeight);
    for (let layer = 0; layer < this.rows.length; layer += everyLayer) {
      context.fillText(layer, AXIS.left - 6, (layer + 0.5) * this.cellHeight);
    }
    context.textAlign = "center";
    const everyExpert = [1, 2, 4, 8, 16, 32].find((n) => n * this.cellWidth >= 26) ?? 64;
    const y = this.rows.length * this.cellHeight + AXIS.bottom / 2 + 1;
    for (let expert = 0; expert < this.numExperts; expert += everyExpert) {
      context.fillText(expert, AXIS.left + (expert + 0.5) * this.cellWidth, y);
    }
  }

  drawCursor(context) {
    const { layer, expert } = this.cursor;
    if (layer >= this.rows.length || expert >= this.numExperts) return;
    const [x, y, w, h] = this.cell(layer, expert);
    context.strokeStyle = style(this.canvas, "--text");
    context.lineWidth = 2;
    context.strokeRect(x - 1, y - 1, w + 2, h + 2);
  }
}
