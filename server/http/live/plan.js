// The current plan and a card for each of its arms.

import { armClass, clock, count, duration, el, percent, quantileText, rate } from "./format.js";
import { allRequests, allTokens } from "./history.js";
import { RECENT_S } from "./tiles.js";

const SOURCES = {
  startup: "by the start", patch: "patched", unpatch: "unpatched", rollback: "rolled back",
  expired: "after a time to live ended", file: "from a file",
};

function lifeText(plan, now) {
  if (plan.expire_time === null) return "no time to live";
  return `ends in ${duration(plan.expire_time - now)}`;
}

function head(plan, now) {
  const older = plan.requests_on_older_plans;
  return [
    el("p", { class: "generation" }, "generation ", el("strong", { id: "generation" },
                                                       count(plan.generation))),
    el("ul", { class: "facts" },
      el("li", {}, SOURCES[plan.source] ?? plan.source),
      el("li", {}, `since ${clock(plan.activate_time)} (${duration(now - plan.activate_time)})`),
      el("li", { class: plan.expire_time === null ? null : "notable" }, lifeText(plan, now)),
      older > 0 ? el("li", { class: "notable" },
                     `${count(older)} running on older plans`) : null),
    plan.note ? el("p", { class: "note" }, plan.note) : null,
  ];
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function overrideTexts(policy) {
  return policy.layer_overrides.map((some) => {
    const parts = [some.apply, some.analyze && `analyzes ${some.analyze}`,
                   some.decode && `beyond the prompt ${some.decode}`].filter(Boolean);
    return el("p", { class: "also" }, `layers ${some.layers}: ${parts.join("; ")}`);
  });
}

function armCard(arm, history) {
  const bar = el("span", { class: "fill" });
  bar.style.width = percent(arm.share);
  const { policy } = arm;
  return el("article", { class: `arm-card ${armClass(arm.arm)}`, "data-arm": arm.arm },
    el("h3", {}, arm.arm, el("span", { class: "kind" }, policy.kind)),
    el("p", { class: "policy", title: policy.description || null }, policy.apply),
    policy.analyze ? el("p", { class: "also" }, `analyzes ${policy.analyze}`) : null,
    policy.decode ? el("p", { class: "also" }, `beyond the prompt ${policy.decode}`) : null,
    ...overrideTexts(policy),
    policy.router ? el("p", { class: "also" }, `router ${policy.router}`) : null,
    el("div", { class: "weight" }, el("span", { class: "bar" }, bar),
      el("span", {}, arm.share > 0 ? `${percent(arm.share)} of traffic, weight ${arm.weight}`
                                   : "by name only, weight 0")),
    el("dl", {},
      fact("running", count(arm.running)),
      fact("queued", count(arm.queued)),
      fact("tokens/s", rate(history.rate(RECENT_S, allTokens, arm.arm))),
      fact("requests/s", rate(history.rate(RECENT_S, allRequests, arm.arm))),
      fact("first token p50", quantileText(
        history.quantile(RECENT_S, 0.5, "time_to_first_token_seconds", arm.arm)))));
}

export function showPlan(history) {
  const { plan, time } = history.latest().state;
  document.getElementById("plan-head").replaceChildren(...head(plan, time).filter(Boolean));
  document.getElementById("arms").replaceChildren(
    ...plan.arms.map((arm) => armCard(arm, history)));
}
