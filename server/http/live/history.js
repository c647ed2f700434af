// What the answers of the last minutes say: rates and quantiles are differences of the
// counters in them.

export const KEEP_S = 300;
const MIN_WINDOW_S = 60;
// Between answers further apart nobody looked (a hidden tab, a lost connection).
const GAP_S = 5;

// The increase of a counter; one that went back began anew.
const increase = (now, before) => (now >= before ? now - before : now);

// As PromQL's histogram_quantile: linear within the bucket. null: no value.
export function quantile(q, bounds, counts) {
  const total = counts.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let below = 0;
  for (let i = 0; i < bounds.length; ++i) {
    if (below + counts[i] >= q * total && counts[i] > 0) {
      const low = i === 0 ? 0 : bounds[i - 1];
      const part = (q * total - below) / counts[i];
      return { value: low + (bounds[i] - low) * part, beyond: false };
    }
    below += counts[i];
  }
  return { value: bounds[bounds.length - 1], beyond: true };
}

export class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.samples = [];       // { time, state, counters: Map of arm -> counters }
    this.swaps = new Map();  // generation -> swap
    this.startTime = null;
  }

  add(state) {
    if (this.startTime !== state.server.start_time) this.clear();
    this.startTime = state.server.start_time;
    const last = this.latest();
    if (last && state.time <= last.time) return;
    const counters = new Map(state.counters.map((counter) => [counter.arm, counter]));
    this.samples.push({ time: state.time, state, counters });
    for (const swap of state.swaps) this.swaps.set(swap.generation, swap);
    const oldest = state.time - KEEP_S - GAP_S;
    while (this.samples[0].time < oldest) this.samples.shift();
    for (const [generation, swap] of this.swaps) {
      if (swap.time < oldest) this.swaps.delete(generation);
    }
  }

  latest() {
    return this.samples[this.samples.length - 1];
  }

  // [from, to] of the time axis: grows to KEEP_S.
  window() {
    const to = this.latest().time;
    const age = to - this.samples[0].time;
    return [to - Math.min(KEEP_S, Math.max(MIN_WINDOW_S, age)), to];
  }

  swapsIn([from, to]) {
    return [...this.swaps.values()].filter((swap) => swap.time >= from && swap.time <= to)
      .sort((a, b) => a.generation - b.generation);
  }

  // Arms of the current plan, then others that computed a token while they were watched.
  arms() {
    const planned = this.latest().state.plan.arms.map((arm) => arm.arm);
    const first = this.samples[0].counters;
    const tokens = (counter) => (counter ? counter.tokens.prefill + counter.tokens.decode +
                                           counter.tokens.score : 0);
    const others = [...this.latest().counters.values()].filter((counter) =>
      !planned.includes(counter.arm) && tokens(counter) > tokens(first.get(counter.arm)));
    return [...planned, ...others.map((counter) => counter.arm)];
  }

  // The sample that a difference over `overS` up to sample `at` begins with; null where
  // there is none, or nobody looked in between.
  begin(at, overS) {
    let i = at;
    while (i > 0 && this.samples[at].time - this.samples[i].time < overS) {
      if (this.samples[i].time - this.samples[i - 1].time > GAP_S) break;
      --i;
    }
    return i < at ? i : null;
  }

  // Calls visit(counters now, counters before or undefined) of `arm`, or all arms (null), for
  // each sample in (from, at].
  forEachStep(from, at, arm, visit) {
    for (let i = from + 1; i <= at; ++i) {
      const { counters } = this.samples[i - 1];
      for (const [id, now] of this.samples[i].counters) {
        if (arm === null || id === arm) visit(now, counters.get(id));
      }
    }
  }

  // Per second, of what `read` gives of a counter.
  rateAt(at, overS, read, arm = null) {
    const from = this.begin(at, overS);
    if (from === null) return null;
    let sum = 0;
    this.forEachStep(from, at, arm, (now, before) => {
      sum += increase(read(now), before ? read(before) : 0);
    });
    return sum / (this.samples[at].time - this.samples[from].time);
  }

  // Of the values that histogram `name` got.
  quantileAt(at, overS, q, name, arm = null) {
    const from = this.begin(at, overS);
    if (from === null) return null;
    const bounds = this.samples[at].state.buckets[name];
    const counts = new Array(bounds.length + 1).fill(0);
    this.forEachStep(from, at, arm, (now, before) => {
      now[name].forEach((n, i) => { counts[i] += increase(n, before ? before[name][i] : 0); });
    });
    return quantile(q, bounds, counts);
  }

  // The current value of the above.
  rate(overS, read, arm = null) {
    return this.rateAt(this.samples.length - 1, overS, read, arm);
  }
  quantile(overS, q, name, arm = null) {
    return this.quantileAt(this.samples.length - 1, overS, q, name, arm);
  }

  // [[time, valueAt(index)]] of the window; a value of null where answers were missing.
  points(valueAt) {
    const [from] = this.window();
    const points = [];
    this.samples.forEach((sample, at) => {
      if (sample.time < from) return;
      const last = this.samples[at - 1];
      if (last && sample.time - last.time > GAP_S) points.push([last.time, null]);
      points.push([sample.time, valueAt(at, sample)]);
    });
    return points;
  }

  // No arm ever computed a token.
  isUnused() {
    return this.latest().state.counters.every((counter) =>
      counter.tokens.prefill + counter.tokens.decode + counter.tokens.score === 0);
  }
}

export const allTokens = (counter) =>
  counter.tokens.prefill + counter.tokens.decode + counter.tokens.score;
export const allRequests = (counter) => counter.requests.ok + counter.requests.failed;
export const failedRequests = (counter) => counter.requests.failed;
