// How many experts the tokens of one arm got: bars over k, all layers together.

import { count, el, percent, svg } from "./format.js";

const HEIGHT = 120;
const TOP = 18;
const BOTTOM = 22;
const SIDE = 10;          // room for half a label
const MAX_BAR = 56;
const LABEL = 44;         // the width of a share

// [first, last] k with a token among all `distributions`; a margin of one where there is room.
export function rangeOf(distributions) {
  let first = Infinity, last = 0, end = 1;
  for (const tokens of distributions) {
    end = Math.max(end, tokens.length - 1);
    tokens.forEach((n, k) => {
      if (n === 0) return;
      first = Math.min(first, k);
      last = Math.max(last, k);
    });
  }
  return first > last ? [1, end] : [Math.max(1, first - 1), Math.min(end, last + 1)];
}

export const meanOf = (tokens) =>
  tokens.reduce((sum, n, k) => sum + n * k, 0) / tokens.reduce((sum, n) => sum + n, 0);

export class Distribution {
  constructor() {
    this.element = el("div", { class: "distribution" });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  // `tokens`: [k] tokens and layers with k experts.
  setData(tokens, range) {
    this.tokens = tokens;
    this.range = range;
    this.draw();
  }

  draw() {
    const width = this.element.clientWidth;
    if (!this.tokens || width === 0) return;
    const [first, last] = this.range;
    const total = this.tokens.reduce((sum, n) => sum + n, 0);
    const max = Math.max(...this.tokens);
    const slot = (width - 2 * SIDE) / (last - first + 1);
    const bar = Math.min(MAX_BAR, slot - Math.min(4, slot * 0.2));
    const parts = [];
    const labelEvery = Math.ceil(22 / slot);
    for (let k = first; k <= last; ++k) {
      const middle = SIDE + (k - first + 0.5) * slot;
      const height = (this.tokens[k] / max) * (HEIGHT - TOP - BOTTOM);
      parts.push(svg("g", { class: "bar-k", "data-k": k, "data-tokens": this.tokens[k] },
        svg("title", {}, `k = ${k}: ${count(this.tokens[k])} (${percent(this.tokens[k] / total)})`),
        svg("rect", { class: "hit", x: middle - slot / 2, y: 0, width: slot, height: HEIGHT }),
        svg("rect", { x: middle - bar / 2, y: HEIGHT - BOTTOM - height, width: bar, height }),
        this.tokens[k] === max || (slot >= LABEL && this.tokens[k] > 0)
          ? svg("text", { x: Math.min(width - LABEL / 2, Math.max(LABEL / 2, middle)),
                          y: HEIGHT - BOTTOM - height - 5, "text-anchor": "middle" },
                percent(this.tokens[k] / total))
          : null,
        (k - first) % labelEvery === 0 ? svg("text", { class: "tick", x: middle, y: HEIGHT - 6,
          "text-anchor": "middle" }, k) : null));
    }
    parts.push(svg("line", { class: "axis", x1: 0, x2: width, y1: HEIGHT - BOTTOM + 0.5,
                             y2: HEIGHT - BOTTOM + 0.5 }));
    this.element.replaceChildren(svg("svg", { width, height: HEIGHT,
      viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
      "aria-label": `Experts per token, mean ${meanOf(this.tokens).toFixed(2)}` }, ...parts));
  }
}
