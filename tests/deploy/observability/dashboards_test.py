"""The dashboards as Grafana reads them: written by their script, and by the rules of the
house. Standard library only; promtool reads the queries where it is installed."""

import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[3]
OBSERVABILITY = SOURCE_DIR / "deploy/observability"
RULES = (OBSERVABILITY / "rules.yml").read_text()
METRIC_NAMES = (SOURCE_DIR / "server/stats/metric_names.h").read_text()
COLORBLIND_SAFE = {"#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442"}
SAFE_MODES = {"palette-classic", "thresholds", "fixed", "continuous-blues"}

DASHBOARDS = {path.stem: json.loads(path.read_text())
              for path in sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json"))}


def panels(with_rows=False):
    """(dashboard and title, panel) of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            if with_rows or panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def queries():
    """(where, PromQL) of every panel and annotation."""
    for where, panel in panels():
        for target in panel["targets"]:
            yield f"{where} {target['refId']}", target["expr"]
    for name, dashboard in DASHBOARDS.items():
        for annotation in dashboard["annotations"]["list"]:
            yield f"{name}: {annotation['name']}", annotation["expr"]


def selectors(query):
    """(metric, matchers) of every selector of a query."""
    return re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", query)


def named_metrics(text):
    """Names of the server's metrics in PromQL, as metric_names.h has them."""
    found = re.findall(r"(?<![\w:])olmoe_\w+", text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


class FilesTest(unittest.TestCase):
    def test_every_file_is_what_the_script_writes(self):
        done = subprocess.run([sys.executable, OBSERVABILITY / "dashboards.py", "--check"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        described = {path.stem for path in (OBSERVABILITY / "dashboards").glob("*.toml")}
        self.assertEqual(set(DASHBOARDS), described)

    def test_provisioning_names_what_is_there(self):
        provisioning = OBSERVABILITY / "grafana/provisioning"
        source = (provisioning / "datasources/prometheus.yaml").read_text()
        self.assertIn("type: prometheus", source)
        prometheus = (OBSERVABILITY / "prometheus.yml").read_text()
        scrape = re.search(r"scrape_interval: (\w+)", prometheus)
        self.assertIn(f"timeInterval: {scrape[1]}", source)
        self.assertIn("type: file", (provisioning / "dashboards/olmoe.yaml").read_text())


class DashboardsTest(unittest.TestCase):
    def test_ids_are_unique(self):
        for name, dashboard in DASHBOARDS.items():
            ids = [panel["id"] for panel in dashboard["panels"]]
            self.assertEqual(len(ids), len(set(ids)), name)
        uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
        self.assertEqual(len(uids), len(set(uids)))

    def test_no_two_panels_overlap(self):
        for name, dashboard in DASHBOARDS.items():
            cells = set()
            for panel in dashboard["panels"]:
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
                covered = set(itertools.product(range(at["x"], at["x"] + at["w"]),
                                                range(at["y"], at["y"] + at["h"])))
                self.assertFalse(cells & covered, f"{name}: {panel['title']}")
                cells |= covered

    def test_the_data_source_is_a_variable_that_names_none(self):
        for name, dashboard in DASHBOARDS.items():
            variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
            self.assertEqual(variables["datasource"]["type"], "datasource")
            self.assertEqual(variables["datasource"]["current"], {})
            self.assertLessEqual({"job", "instance"}, set(variables))
            text = json.dumps(dashboard)
            self.assertEqual(set(re.findall(r'"uid": "([^"]*)"', text)),
                             {"${datasource}", dashboard["uid"]}, name)

    def test_every_variable_that_is_used_exists(self):
        builtin = {"__rate_interval", "__range", "__all"}
        for name, dashboard in DASHBOARDS.items():
            names = {variable["name"] for variable in dashboard["templating"]["list"]}
            used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
            self.assertEqual(used - builtin, names, name)

    def test_swaps_are_annotations(self):
        for name, dashboard in DASHBOARDS.items():
            text = [annotation["expr"] for annotation in dashboard["annotations"]["list"]
                    if annotation["useValueForTime"]]
            self.assertTrue(any("olmoe_routing_last_swap_timestamp_seconds" in expr
                                for expr in text), name)


class PanelsTest(unittest.TestCase):
    def test_every_panel_has_title_description_and_unit(self):
        for where, panel in panels():
            self.assertTrue(panel["title"], where)
            self.assertRegex(panel["description"], r"\.$", where)
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], where)
            self.assertTrue(panel["targets"], where)

    def test_quantiles_of_a_panel_are_three_lines_told_apart_by_dashes(self):
        found = 0
        for where, panel in panels():
            exprs = [target["expr"] for target in panel["targets"]]
            if panel["type"] != "timeseries" or len(exprs) != 3:
                continue
            found += 1
            quantiles = [re.search(r"histogram_quantile\((0\.\d+),", expr)[1] for expr in exprs]
            self.assertEqual(quantiles, ["0.5", "0.95", "0.99"], where)
            dashed = {item["matcher"]["options"] for item in panel["fieldConfig"]["overrides"]
                      if item["properties"][0]["id"] == "custom.lineStyle"}
            self.assertEqual(dashed, {"A", "B"}, where)
        self.assertGreaterEqual(found, 5)

    def test_colors_are_legible_for_color_blind_eyes(self):
        for where, panel in panels():
            text = json.dumps([panel["fieldConfig"], panel["options"]])
            self.assertLessEqual(set(re.findall(r"#[0-9A-Fa-f]{6}", text)), COLORBLIND_SAFE, where)
            self.assertNotRegex(text, r'[cC]olor": "(?!#)', where)  # no color by its name
            modes = {panel["fieldConfig"]["defaults"].get("color", {}).get("mode")}
            self.assertLessEqual(modes, SAFE_MODES, where)
            if panel["type"] == "heatmap":
                self.assertEqual(panel["options"]["color"]["scheme"], "Viridis", where)


class QueriesTest(unittest.TestCase):
    def test_every_selector_has_job_and_instance(self):
        for where, query in queries():
            found = selectors(query)
            self.assertTrue(found, where)
            for metric, matchers in found:
                self.assertIn('job=~"$job",instance=~"$instance"', matchers, f"{where}: {metric}")
            bare = re.findall(r"(?<![\w:])(?:\w+:)?olmoe_[\w:]+(?![\w:{])", query)
            self.assertFalse(bare, where)

    def test_ranges_follow_the_time_shown(self):
        for where, query in queries():
            ranges = set(re.findall(r"\[([^]]*)\]", query))
            self.assertLessEqual(ranges, {"$__rate_interval", "$__range"}, where)

    def test_ratios_of_some_to_all_are_zero_where_there_are_none(self):
        for where, query in queries():
            if "/" in query and re.search(r"code=~|reason!=|reason=~", query):
                self.assertRegex(query, r"or (vector\(0\)|0 \*)", where)

    def test_every_metric_is_one_that_the_server_has(self):
        known = set(re.findall(r'"(olmoe_\w+)"', METRIC_NAMES))
        recorded = set(re.findall(r"record: (\S+)", RULES))
        for where, query in [*queries(), ("rules.yml", RULES)]:
            for name in re.findall(r"(?<![\w:])\w+:olmoe_[\w:]+", query):
                self.assertIn(name, recorded, where)
            self.assertLessEqual(named_metrics(query), known, where)
        for name, dashboard in DASHBOARDS.items():
            variables = json.dumps(dashboard["templating"])
            self.assertLessEqual(named_metrics(variables), known, name)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool_reads_every_query(self):
        rules = []
        for index, (_, query) in enumerate(queries()):
            for name, value in (("$__rate_interval", "1m"), ("$__range", "1h")):
                query = query.replace(name, value)
            rules.append({"record": f"q{index}", "expr": query})
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "queries.yml"
            path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
            done = subprocess.run(["promtool", "check", "rules", path], capture_output=True,
                                  text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class RulesTest(unittest.TestCase):
    def test_every_alert_says_what_and_why_and_how_bad(self):
        for alert in re.split(r"\n +- (?:alert|record): ", RULES)[1:]:
            name = alert.split()[0]
            if not name.startswith("Olmoe"):
                continue
            self.assertRegex(alert, r"labels: \{severity: (critical|warning|info)\}", name)
            for annotation in ("summary", "description"):
                self.assertRegex(alert, rf"\n +{annotation}: .", name)

    def test_every_rule_is_tested_and_every_alert_both_ways(self):
        text = "".join(path.read_text() for path in
                       sorted(pathlib.Path(__file__).parent.glob("rules_*_test.yml")))
        for name in re.findall(r"record: (\S+)", RULES):
            self.assertRegex(text, rf"expr: (round\()?{name}\b", name)
        for name in re.findall(r"alert: (\S+)", RULES):
            expected = set(re.findall(
                rf"alertname: {name}\b(?:(?!alertname)[\s\S])*?exp_alerts:\s*(\[\]|\S)", text))
            self.assertIn("[]", expected, f"{name} is never silent")
            self.assertTrue(expected - {"[]"}, f"{name} never fires")


if __name__ == "__main__":
    unittest.main()
