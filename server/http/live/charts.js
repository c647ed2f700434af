// Which lines over time there are; how they are drawn is chart.js.

import { Chart } from "./chart.js";
import { NONE, armClass, count, plain, plainSeconds, rate, seconds } from "./format.js";
import { KEEP_S, allRequests, allTokens } from "./history.js";

const SMOOTH_S = 5;      // of a rate
const QUANTILE_S = 15;   // of a quantile
const TTFT = "time_to_first_token_seconds";
const BETWEEN = "inter_token_latency_seconds";

const sum = (values) => values.reduce((total, value) => total + value, 0);

const orNone = (format) => (value) => (value === null ? NONE : format(value));

// Mean experts per token: kept apart from the history, because it has a beat of its own.
class ExpertsPerToken {
  constructor() {
    this.samples = [];  // { time, arms: Map of arm -> { digest, selections, decisions } }
  }

  add(data) {
    const last = this.samples[this.samples.length - 1];
    if (last && data.time <= last.time) return;
    const arms = new Map();
    for (const arm of data.arms) {
      if (arm.decision !== "applied") continue;
      arms.set(arm.arm, { digest: arm.policy_digest, decisions: arm.tokens * data.layers,
                          selections: sum(arm.expert_tokens.map(sum)) });
    }
    this.samples.push({ time: data.time, arms });
    while (this.samples[0].time < data.time - KEEP_S) this.samples.shift();
  }

  // Of the tokens since the sample before; null where there were none.
  points(arm) {
    return this.samples.map(({ time, arms }, at) => {
      const now = arms.get(arm);
      const before = this.samples[at - 1]?.arms.get(arm);
      if (!now || !before || now.digest !== before.digest) return [time, null];
      const decisions = now.decisions - before.decisions;
      if (decisions <= 0) return [time, null];
      return [time, (now.selections - before.selections) / decisions];
    });
  }
}

export class ChartsView {
  constructor(root, history) {
    this.history = history;
    this.expertsPerToken = new ExpertsPerToken();
    this.tokens = new Chart("Tokens per second", rate, plain);
    this.requests = new Chart("Requests per second", rate, plain);
    this.firstToken = new Chart("Time to first token", seconds, plainSeconds);
    this.between = new Chart("Inter-token latency", seconds, plainSeconds);
    this.load = new Chart("Requests in the server", orNone(count), plain);
    this.k = new Chart("Experts per token and layer", orNone((k) => k.toFixed(2)), plain);
    this.all = [this.tokens, this.requests, this.firstToken, this.between, this.load, this.k];
    root.replaceChildren(...this.all.map((chart) => chart.element));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  addExperts(data) {
    this.expertsPerToken.add(data);
  }

  update() {
    const { history } = this;
    const arms = history.arms();
    const byArm = (read) => arms.map((arm) => ({
      name: arm, style: armClass(arm),
      points: history.points((at) => history.rateAt(at, SMOOTH_S, read, arm)) }));
    const quantiles = (name) => [[0.5, "p50", "all"], [0.95, "p95", "all dashed"]].map(
      ([q, label, style]) => ({ name: label, style, points: history.points(
        (at) => history.quantileAt(at, QUANTILE_S, q, name)?.value ?? null) }));
    const gauge = (name, style) => ({ name, style,
      points: history.points((_, sample) => sample.state.engine[name]) });

    this.tokens.lines = byArm(allTokens);
    this.requests.lines = byArm(allRequests);
    this.firstToken.lines = quantiles(TTFT);
    this.between.lines = quantiles(BETWEEN);
    this.load.lines = [gauge("running", "all"), gauge("queued", "all dashed")];
    this.k.lines = arms.map((arm) => ({ name: arm, style: armClass(arm), joinGaps: true,
                                        points: this.expertsPerToken.points(arm) }));
    this.draw();
  }

  draw() {
    if (!this.history.latest()) return;
    const window = this.history.window();
    const swaps = this.history.swapsIn(window);
    const empty = this.history.isUnused() ? "no traffic yet" : null;
    for (const chart of this.all) chart.draw(window, swaps, empty);
  }
}
