// Heat map and distribution of k of each arm, side by side, for one of the two decisions.

import { Distribution, meanOf, rangeOf } from "./distribution.js";
import { armClass, count, el } from "./format.js";
import { HeatMap, heatScale } from "./heatmap.js";
import { numbersTable } from "./numbers.js";

const HINTS = {
  applied: "the experts that ran, since each arm has its policy",
  analyzed: "what the analyzed rule would have run; it changes no reply",
};

const KEYS = { unused: "no token", banned: "banned", forced: "forced" };

// [layer][k] -> [k]
const sumOverLayers = (rows) => rows[0].map((_, k) => rows.reduce((sum, row) => sum + row[k], 0));

// [layer][expert] "banned", "forced" or undefined.
const marksOf = (data) => data.banned.map((banned, layer) => {
  const marks = [];
  for (const expert of banned) marks[expert] = "banned";
  for (const expert of data.forced[layer]) marks[expert] = "forced";
  return marks;
});

class ArmPanel {
  constructor(arm, onCursor) {
    this.heat = new HeatMap(arm, onCursor);
    this.distribution = new Distribution();
    this.facts = el("p", { class: "hint" });
    this.kTitle = el("h4", {});
    this.empty = el("p", { class: "empty" });
    this.numbers = el("details", { class: "numbers" }, el("summary", {}, "All numbers"));
    this.numbers.addEventListener("toggle", () => this.showNumbers());
    this.shown = el("div", {},
      el("h4", {}, "Selections by layer (down) and expert (across)"), this.heat.element,
      this.kTitle, this.distribution.element, this.numbers);
    this.element = el("article", { class: `expert-arm ${armClass(arm)}`, "data-arm": arm },
      el("h3", {}, arm), this.facts, this.empty, this.shown);
  }

  showNothing(text) {
    this.data = null;
    this.facts.textContent = "";
    this.empty.textContent = text;
    this.empty.hidden = false;
    this.shown.hidden = true;
  }

  show(data, distribution, range) {
    this.data = data;
    this.marks = marksOf(data);
    this.empty.hidden = true;
    this.shown.hidden = false;
    this.facts.textContent = `${data.policy_id}: ${count(data.tokens)} tokens in each layer`;
    this.kTitle.textContent = `Experts per token, mean ${meanOf(distribution).toFixed(2)}`;
    this.heat.setData(data.expert_tokens, this.marks);
    this.distribution.setData(distribution, range);
    this.showNumbers();
  }

  // A table of a thousand cells is made only where somebody looks.
  showNumbers() {
    const old = this.numbers.querySelector(".scroll");
    if (!this.numbers.open || this.data === null) {
      old?.remove();
      return;
    }
    const table = el("div", { class: "scroll", tabindex: "0" }, numbersTable(this.data, this.marks));
    if (old === null) {
      this.numbers.append(table);
    } else {
      const { scrollLeft } = old;
      old.replaceWith(table);
      table.scrollLeft = scrollLeft;
    }
  }
}

export class ExpertsView {
  constructor() {
    this.plan = null;
    this.data = null;
    this.panels = new Map();  // by arm
    this.decision = "applied";
    document.getElementById("decision").addEventListener("change", (event) => {
      this.decision = event.target.value;
      this.show();
    });
    showLegend();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showLegend);
  }

  setPlan(plan) {
    const arms = (of) => of?.arms.map((arm) => arm.arm).join();
    if (arms(plan) !== arms(this.plan)) this.makePanels(plan);
    const isNew = plan.generation !== this.plan?.generation;
    this.plan = plan;
    if (isNew) this.show();
  }

  setData(data) {
    this.data = data;
    this.show();
  }

  // One cursor for all arms: they are there to be compared.
  makePanels(plan) {
    const onCursor = (cursor) => {
      for (const panel of this.panels.values()) panel.heat.setCursor(cursor);
    };
    this.panels = new Map(plan.arms.map((arm) => [arm.arm, new ArmPanel(arm.arm, onCursor)]));
    document.getElementById("expert-arms").replaceChildren(
      ...[...this.panels.values()].map((panel) => panel.element));
  }

  find(arm) {
    return this.data?.arms.find((data) => data.arm === arm.arm &&
      data.decision === this.decision && data.policy_digest === arm.policy.digest &&
      data.policy_id === arm.policy.id);
  }

  nothingText(arm) {
    const analyzes = arm.policy.analyze !== null ||
                     arm.policy.layer_overrides.some((some) => some.analyze !== null);
    if (this.decision === "analyzed" && !analyzes) return "This arm analyzes no rule.";
    return "No traffic yet with this policy.";
  }

  show() {
    document.getElementById("decision-hint").textContent = HINTS[this.decision];
    if (this.plan === null) return;
    const found = this.plan.arms.map((arm) => [arm, this.find(arm)]);
    const distributions = new Map(found.filter(([, data]) => data).map(
      ([arm, data]) => [arm.arm, sumOverLayers(data.experts_per_token)]));
    const range = rangeOf([...distributions.values()]);
    for (const [arm, data] of found) {
      const panel = this.panels.get(arm.arm);
      if (data) panel.show(data, distributions.get(arm.arm), range);
      else panel.showNothing(this.nothingText(arm));
    }
  }
}

function showLegend() {
  const root = document.getElementById("legend");
  const strip = el("canvas", { width: "65", height: "1", "aria-hidden": "true" });
  const context = strip.getContext("2d");
  heatScale(root).forEach((color, i) => {
    context.fillStyle = color;
    context.fillRect(i, 0, 1, 1);
  });
  const labels = ["\u2264 \u00bc", "\u00bd", "even", "2\u00d7", "\u2265 4\u00d7"];
  root.replaceChildren(
    el("span", {}, "An expert\u2019s share of its layer\u2019s selections:"),
    el("div", { class: "scale" }, strip,
      el("div", { class: "scale-labels" }, ...labels.map((text) => el("span", {}, text)))),
    ...Object.entries(KEYS).map(([name, text]) => el("span", { class: `key-cell ${name}` },
      el("i", { "aria-hidden": "true" }), text)));
}
