// The numbers of this moment.

import { bytes, count, el, percent, quantileText, rate } from "./format.js";
import { allRequests, allTokens, failedRequests } from "./history.js";

// Rates and quantiles "now" are those of so many seconds.
export const RECENT_S = 15;
const TTFT = "time_to_first_token_seconds";
const BETWEEN = "inter_token_latency_seconds";

function tile(name, value, more, id, isBad = false) {
  return el("div", { class: isBad ? "tile bad" : "tile", id: `tile-${id}` },
    el("p", { class: "tile-name" }, name), el("p", { class: "tile-value" }, value),
    el("p", { class: "tile-more" }, more));
}

function kvTile(engine) {
  const used = engine.kv_capacity_bytes > 0 ? engine.kv_used_bytes / engine.kv_capacity_bytes : 0;
  return tile("KV cache", percent(used),
    `${bytes(engine.kv_used_bytes)} of ${bytes(engine.kv_capacity_bytes)}, prompts kept ` +
    bytes(engine.prefix_cache_bytes), "kv", used > 0.9);
}

export function showTiles(history) {
  const { engine } = history.latest().state;
  const failed = history.rate(RECENT_S, failedRequests);
  const recent = `mean of ${RECENT_S} s`;
  const p95 = (name) => `p95 ${quantileText(history.quantile(RECENT_S, 0.95, name))}`;
  document.getElementById("tiles").replaceChildren(
    tile("Tokens/s", rate(history.rate(RECENT_S, allTokens)), recent, "tokens"),
    tile("Requests/s", rate(history.rate(RECENT_S, allRequests)),
      failed > 0 ? `${rate(failed)} failed/s` : "none failed", "requests", failed > 0),
    tile("First token p50", quantileText(history.quantile(RECENT_S, 0.5, TTFT)), p95(TTFT),
      "ttft"),
    tile("Inter-token p50", quantileText(history.quantile(RECENT_S, 0.5, BETWEEN)), p95(BETWEEN),
      "between"),
    tile("Running", count(engine.running), `${count(engine.queued)} queued`, "running",
      engine.queued > 0),
    kvTile(engine));
}
