#!/usr/bin/env python3
"""Writes Grafana's dashboards from their descriptions.

    deploy/observability/dashboards.py           # dashboards/*.toml -> grafana/dashboards/*.json
    deploy/observability/dashboards.py --check   # exit code 1 where a file is not what it writes

A description is a list of rows of panels, laid out from left to right. Of a panel:

    title, description, unit   what Grafana shows; all three are needed
    kind                       timeseries, stat, gauge, bargauge, heatmap, table
    query or queries           PromQL, or a list of {query, legend}
    legend                     name of a series, as "{{arm}}"
    quantiles                  the query once for each, with %q% replaced
    matrix                     [row label, column label] of a table
    thresholds                 values from which a stat or gauge is orange and red
    width, height              of a grid that is 24 wide
    empty                      why a healthy server may have no data for it, ends "No data ..."

Queries select series by %server%, %arms% and %decision%, so that no panel forgets the
variables of its dashboard, and by what the description defines in [define].

Colours are those of Okabe and Ito, told apart by colour-blind eyes, and never the only sign:
quantiles differ by their dashes too. Only arms, whose names nobody knows here, beside the
control get Grafana's own.
"""

import argparse
import json
import pathlib
import re
import sys
import tomllib

FOLDER = pathlib.Path(__file__).resolve().parent
OUTPUT = FOLDER / "grafana" / "dashboards"
NAMES = ("serving", "experiment", "experts")

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SERVER = 'job=~"$job",instance=~"$instance"'
SELECTORS = {
    "server": SERVER,
    "arms": SERVER + ',arm=~"$arm"',
    "decision": SERVER + ',arm=~"$arm",decision="$decision"',
}

BLUE, ORANGE, VERMILION, SKY, PURPLE, GREEN, YELLOW = (
    "#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442")
# Of values of a label.
COLORS = {
    "arm": {"control": BLUE},
    "phase": {"prefill": BLUE, "decode": ORANGE, "score": PURPLE, "mixed": SKY},
    "reason": {"length": BLUE, "eos": ORANGE, "stop_string": PURPLE, "stop_token": SKY},
    "outcome": {"published": BLUE, "unchanged": SKY, "conflict": ORANGE, "rejected": VERMILION},
    "bound": {"min": BLUE, "max": ORANGE},
    "code": {"OK": BLUE, "CANCELLED": SKY, "INVALID_ARGUMENT": YELLOW, "INTERNAL": VERMILION,
             "RESOURCE_EXHAUSTED": ORANGE, "DEADLINE_EXCEEDED": PURPLE, "UNAVAILABLE": GREEN},
}
DASHES = {0.5: [2, 6], 0.95: [10, 6]}  # a line without is the highest quantile
SIZES = {"stat": (4, 4), "gauge": (4, 4), "bargauge": (12, 10), "table": (24, 8)}

# name: (label, metric that has it, description)
QUERY_VARIABLES = {
    "job": ("job", "olmoe_build_info", "Prometheus job"),
    "instance": ("instance", 'olmoe_build_info{job=~"$job"}', "Server"),
    "arm": ("arm", f"olmoe_tokens_total{{{SERVER}}}", "Arm of the routing plan"),
    "control": ("arm", f"olmoe_routing_arm_weight{{{SERVER}}}", "Arm to compare with"),
    "layer": ("layer", f"olmoe_moe_routed_tokens_total{{{SERVER}}}", "Layer"),
}


def query_variable(name, multi, current):
    label, metric, description = QUERY_VARIABLES[name]
    query = f"label_values({metric}, {label})"
    variable = {
        "name": name, "label": name, "description": description, "type": "query",
        "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2, "sort": 1, "multi": multi, "includeAll": multi, "hide": 0,
        "current": {"text": [current], "value": [current]} if multi else
                   {"text": current, "value": current},
    }
    if multi:
        # Also series without the label: refused requests have no arm.
        variable["allValue"] = ".*"
        variable["current"] = {"text": ["All"], "value": ["$__all"]}
    return variable


def custom_variable(name, description, values):
    return {
        "name": name, "label": name, "description": description, "type": "custom",
        "query": ",".join(values), "multi": False, "includeAll": False, "hide": 0,
        "options": [{"text": value, "value": value, "selected": value == values[0]}
                    for value in values],
        "current": {"text": values[0], "value": values[0]},
    }


def make_variable(spec):
    """Of a word as the descriptions have it: "arms", "arm=control", "decision"."""
    name, _, current = spec.partition("=")
    if name == "datasource":
        return {"name": name, "label": "data source", "description": "Prometheus",
                "type": "datasource", "query": "prometheus", "current": {}, "hide": 0,
                "multi": False, "includeAll": False, "refresh": 1}
    if name == "decision":
        return custom_variable(name, "Experts that ran, or that the analyzed rule would have run",
                               ["applied", "analyzed"])
    if current:
        return query_variable(name, multi=False, current=current)
    return query_variable(name, multi=True, current="")


def expand(query, defines):
    """Puts selectors and definitions in the place of %name%."""
    expanded = re.sub(r"%(\w+)%", lambda match: defines[match[1]], query)
    return expanded if "%" not in expanded else expand(expanded, defines)


def make_targets(panel, defines):
    queries = panel.get("queries") or [{"query": panel["query"], "legend": panel.get("legend", "")}]
    if "quantiles" in panel:
        queries = [{"query": panel["query"].replace("%q%", str(q)),
                    "legend": f"p{q * 100:g} {panel['legend']}".strip()}
                   for q in panel["quantiles"]]
    is_range = panel["kind"] in ("timeseries", "heatmap")
    has_buckets = panel["kind"] == "heatmap" and panel.get("legend") == "{{le}}"
    result_format = {"table": "table", "heatmap": "heatmap" if has_buckets else "time_series"}
    return [{
        "refId": chr(ord("A") + index), "datasource": DATASOURCE, "editorMode": "code",
        "expr": expand(" ".join(query["query"].split()), defines),
        "legendFormat": query["legend"], "format": result_format.get(panel["kind"], "time_series"),
        "instant": not is_range, "range": is_range,
    } for index, query in enumerate(queries)]


def override(matcher, value, properties):
    return {"matcher": {"id": matcher, "options": value},
            "properties": [{"id": name, "value": what} for name, what in properties.items()]}


def line_overrides(panel, targets):
    labels = re.findall(r"{{(\w+)}}", " ".join(target["legendFormat"] for target in targets))
    overrides = [override("byRegexp", rf"/(^|\s){name}$/",
                          {"color": {"mode": "fixed", "fixedColor": color}})
                 for label in sorted(set(labels))
                 for name, color in COLORS.get(label, {}).items()]
    for index, quantile in enumerate(panel.get("quantiles", [])):
        if quantile in DASHES:
            style = {"fill": "dash", "dash": DASHES[quantile]}
            overrides.append(override("byFrameRefID", chr(ord("A") + index),
                                      {"custom.lineStyle": style}))
    return overrides


def thresholds(panel):
    steps = [{"color": BLUE, "value": None}]
    for color, value in zip((ORANGE, VERMILION), panel.get("thresholds", [])):
        steps.append({"color": color, "value": value})
    return {"mode": "absolute", "steps": steps}


def field_config(panel, targets):
    kind = panel["kind"]
    defaults = {"unit": panel["unit"], "thresholds": thresholds(panel)}
    defaults |= {key: panel[key] for key in ("min", "max", "decimals") if key in panel}
    if kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 2, "fillOpacity": 0,
                              "showPoints": "never", "spanNulls": False}
    elif "matrix" in panel or kind == "bargauge":
        defaults["color"] = {"mode": "continuous-blues"}
    else:
        defaults["color"] = {"mode": "thresholds"}
    if "matrix" in panel:
        defaults["custom"] = {"cellOptions": {"type": "color-background", "mode": "basic"},
                              "minWidth": 50}
    return {"defaults": defaults,
            "overrides": line_overrides(panel, targets) if kind == "timeseries" else []}


def options(panel):
    """What the kinds of panels want in "options"."""
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {
        "timeseries": {"legend": {"displayMode": "table", "placement": "right", "showLegend": True,
                                  "calcs": ["lastNotNull"]},
                       "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none",
                 "textMode": "auto", "orientation": "auto"},
        "gauge": {"reduceOptions": reduce, "showThresholdMarkers": True,
                  "showThresholdLabels": False},
        "bargauge": {"reduceOptions": reduce, "orientation": "horizontal",
                     "displayMode": "basic", "showUnfilled": True},
        "heatmap": {"calculate": False, "cellGap": 1, "filterValues": {"le": 1e-9},
                    "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64},
                    "yAxis": {"axisPlacement": "left", "unit": panel["unit"]},
                    "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": False}},
        "table": {"showHeader": True, "cellHeight": "sm"},
    }[panel["kind"]]


def transformations(panel):
    if "matrix" in panel:
        row, column = panel["matrix"]
        return [{"id": "groupingToMatrix",
                 "options": {"rowField": row, "columnField": column, "valueField": "Value"}}]
    if panel["kind"] == "table":
        return [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return []


def make_panel(panel, position, panel_id, defines):
    description = " ".join([panel["description"], *filter(None, [panel.get("empty")])])
    targets = make_targets(panel, defines)
    return {
        "id": panel_id, "type": panel["kind"], "title": panel["title"],
        "description": description, "datasource": DATASOURCE, "gridPos": position,
        "targets": targets, "fieldConfig": field_config(panel, targets),
        "options": options(panel), "transformations": transformations(panel),
    }


class Grid:
    """Places from left to right, row by row."""

    def __init__(self):
        self._x, self._y, self._row_height = 0, 0, 0

    def place(self, width, height):
        if self._x + width > 24:
            self.end_row()
        position = {"x": self._x, "y": self._y, "w": width, "h": height}
        self._x += width
        self._row_height = max(self._row_height, height)
        return position

    def end_row(self):
        self._x, self._y, self._row_height = 0, self._y + self._row_height, 0


def make_panels(rows, defines):
    grid, panels = Grid(), []
    for row in rows:
        grid.end_row()
        panels.append({"id": len(panels) + 1, "type": "row", "title": row["title"],
                       "collapsed": False, "panels": [], "gridPos": grid.place(24, 1)})
        for panel in row["panel"]:
            width, height = SIZES.get(panel["kind"], (12, 8))
            position = grid.place(panel.get("width", width), panel.get("height", height))
            panels.append(make_panel(panel, position, len(panels) + 1, defines))
    return panels


def annotations():
    """Each change of the routing plan, at the second it was published."""
    return [{
        "name": "Routing changes", "enable": True, "hide": False, "iconColor": PURPLE,
        "datasource": DATASOURCE, "titleFormat": "Routing plan changed",
        "textFormat": "{{instance}}", "useValueForTime": True, "step": "15s",
        "expr": f"olmoe_routing_last_swap_timestamp_seconds{{{SERVER}}} * 1000",
    }]


def render(name):
    """The text of a dashboard's file."""
    spec = tomllib.loads((FOLDER / "dashboards" / f"{name}.toml").read_text())
    dashboard = {
        "uid": f"olmoe-{name}", "title": spec["title"], "description": spec["description"],
        "tags": ["olmoe"], "schemaVersion": 39, "version": 1, "editable": True,
        "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser", "annotations": {"list": annotations()},
        "links": [{"type": "dashboards", "title": "OLMoE", "tags": ["olmoe"], "asDropdown": False,
                   "includeVars": True, "keepTime": True}],
        "templating": {"list": [make_variable(word) for word in
                                ["datasource", "job", "instance", *spec["variables"]]]},
        "panels": make_panels(spec["row"], SELECTORS | spec.get("define", {})),
    }
    return json.dumps(dashboard, indent=1) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    stale = []
    for name in NAMES:
        path, text = OUTPUT / f"{name}.json", render(name)
        if arguments.check:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        print(f"not what dashboards.py writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
