// The exact counts of one arm and decision as a table.

import { count, el } from "./format.js";

const headRow = (texts) => el("tr", {}, ...texts.map((text) => el("th", { scope: "col" }, text)));

function layerRow(selections, layer, marks) {
  return el("tr", {}, el("th", { scope: "row" }, layer),
    ...selections.map((n, expert) =>
      el("td", { "data-layer": layer, "data-expert": expert, class: marks[expert],
                 title: marks[expert] }, count(n))));
}

export function numbersTable(data, marks) {
  const experts = data.expert_tokens[0].map((_, expert) => expert);
  return el("table", {}, el("caption", {}, "Selections; a row a layer, a column an expert"),
    el("thead", {}, headRow(["layer", ...experts])),
    el("tbody", {}, ...data.expert_tokens.map((row, layer) => layerRow(row, layer, marks[layer]))));
}
