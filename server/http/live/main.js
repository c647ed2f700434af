// Asks the server once a second and shows what it said.

import { ChartsView } from "./charts.js";
import { ExpertsView } from "./experts.js";
import { armClass, clock, duration } from "./format.js";
import { History } from "./history.js";
import { showPlan } from "./plan.js";
import { Poller } from "./poll.js";
import { showTiles } from "./tiles.js";

const VERSION = 1;
const STATE_EVERY_MS = 1000;
const EXPERTS_EVERY_MS = 2000;

const history = new History();
const charts = new ChartsView(document.getElementById("charts"), history);
const experts = new ExpertsView();
let lastAnswer = null;  // by the clock of the browser, in ms

function setConnection(state, text) {
  const pill = document.getElementById("connection");
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.state = state;
  document.getElementById("content").dataset.state = state;
}

function showConnection(state) {
  if (state.version !== VERSION) {
    setConnection("lost", "the server was updated: reload this page");
  } else if (!state.server.ready) {
    setConnection("draining", "draining: no new requests");
  } else {
    setConnection("live", "live");
  }
}

function showServer(state) {
  const { model, server, time } = state;
  document.getElementById("model").textContent =
    `${model.id}, ${model.layers} layers, ${model.experts} experts, top ${model.top_k}, ` +
    `${model.dtype} on ${model.device}`;
  document.getElementById("footer").textContent =
    `olmoe-server ${server.version}, up ${duration(time - server.start_time)}, ` +
    `at ${clock(time)}. Counts are exact, the same as /metrics; ` +
    "this page reads /live.json and changes nothing.";
}

function onState(state) {
  lastAnswer = Date.now();
  showConnection(state);
  if (state.version !== VERSION) return;
  const generation = history.latest()?.state.plan.generation;
  history.add(state);
  for (const arm of state.plan.arms) armClass(arm.arm);
  showServer(state);
  showPlan(history);
  showTiles(history);
  charts.update();
  experts.setPlan(state.plan);
  if (generation !== undefined && generation !== state.plan.generation) expertsPoller.askNow();
}

function onExperts(data) {
  if (data.version !== VERSION) return;
  charts.addExperts(data);
  experts.setData(data);
}

function onStateError() {
  const since = lastAnswer === null ? "" :
    `, last answer ${duration((Date.now() - lastAnswer) / 1000)} ago`;
  setConnection("lost", `no connection to the server${since}`);
}

const expertsPoller = new Poller("/live/experts.json", EXPERTS_EVERY_MS, {
  onData: onExperts,
  onError: () => {},  // the other resource tells of a lost connection
});
new Poller("/live.json", STATE_EVERY_MS, { onData: onState, onError: onStateError });
