"""The real Prometheus scrapes a server under the traffic of an experiment: every recording
rule and every query of the dashboards has data, and what Prometheus counts is what the
clients were told."""

import collections
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import time

import grpc
import pytest

import api
import own_network
from api import admin
from experiment_traffic import (ARMS, THIN_K, Traffic, build_calibration, make_plan,
                                wait_for_traffic)
from prometheus_process import OBSERVABILITY, PrometheusProcess
from server_process import DEADLINE_S, ServerProcess, bin_dir, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"),
                                reason="prometheus is not installed (tests/packages.txt)")

TRAFFIC_S = 30
RULES = (OBSERVABILITY / "rules.yml").read_text()
RECORDED = re.findall(r"record: (\S+)", RULES)
ALERTS = re.findall(r"alert: (\S+)", RULES)
DASHBOARDS = [json.loads(path.read_text())
              for path in sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json"))]

# What is left of a run: `busy` is a time at the end of the traffic, `idle` one after all of
# it was scraped.
Run = collections.namedtuple("Run", "prometheus server traffic busy idle patched")


def refuse_two_patches(server):
    """One that is not valid, and one that expects another generation."""
    for policy, fields in [(api.top_k_policy(10**6), {}),
                           (api.top_k_policy(2), {"expected_generation": 10**6})]:
        with pytest.raises(grpc.RpcError):
            server.patch(policy, **fields)


def patch(server, salt):
    """Times before and after it."""
    before = time.time()
    server.admin.PatchRouters(admin.PatchRoutersRequest(plan=make_plan(salt)), timeout=DEADLINE_S)
    return before, time.time()


# How requests end that the server does not finish.
UNFINISHED = {("GenerateStream", "CANCELLED"), ("GenerateStream", "DEADLINE_EXCEEDED")}


def unfinished(server):
    """(method, code) of the requests with a policy of their own that have ended."""
    series = [dict(re.findall(r'(\w+)="(\w*)"', labels)) for labels in re.findall(
        r"^olmoe_requests_total\{(.*)\} [1-9]", server.http("/metrics")[1], re.MULTILINE)]
    return {(labels["method"], labels["code"]) for labels in series if labels["arm"] == "inline"}


def wait_for_scrape(prometheus):
    now = time.time()
    wait_until(lambda: prometheus.last_scrape() > now, "another scrape")


@pytest.fixture(scope="module", name="run")
def _run(demo_folder):
    with (ServerProcess(demo_folder, "--allow-inline-policy") as server,
          PrometheusProcess(server.address("http")) as prometheus):
        build_calibration(server)
        wait_for_scrape(prometheus)
        patch(server, "first")
        refuse_two_patches(server)
        traffic = Traffic(server)
        with traffic:
            wait_until(wait_for_traffic(traffic, TRAFFIC_S - 10), "traffic for most of the time")
            patched = patch(server, "second")
            wait_until(wait_for_traffic(traffic, 10), "traffic for the rest of the time")
            wait_until(lambda: traffic.failures or unfinished(server) >= UNFINISHED,
                       "streams that did not finish")
            wait_for_scrape(prometheus)
            busy = time.time()
        assert not traffic.failures
        server.wait_until_idle()
        wait_for_scrape(prometheus)
        yield Run(prometheus, server, traffic, busy, time.time(), patched)


def by(samples, *labels):
    """{values of the labels: value}; the labels have to tell the samples apart."""
    found = {tuple(series.get(label, "") for label in labels): value for series, value in samples}
    assert len(found) == len(samples)
    return found


def grafana_values(dashboard, **chosen):
    """What Grafana puts in the place of each variable: everything, or the first choice."""
    values = {"__rate_interval": "10s", "__range": "30s"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "datasource":
            values[variable["name"]] = (variable["allValue"] if variable["multi"]
                                        else variable["current"]["value"])
    return values | chosen


def as_grafana(query, values):
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], query)


def dashboard_queries():
    """(dashboard, values, query, legend) for pytest. The experts' are asked for both kinds
    of decision."""
    for dashboard in DASHBOARDS:
        names = {variable["name"] for variable in dashboard["templating"]["list"]}
        for decision in (["applied", "analyzed"] if "decision" in names else [None]):
            values = grafana_values(dashboard, **({"decision": decision} if decision else {}))
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    name = [dashboard["uid"], panel["title"], target["refId"], decision]
                    yield pytest.param(target, values, id="-".join(filter(None, name)))


@pytest.mark.parametrize("target, values", list(dashboard_queries()))
def test_every_dashboard_query_has_data(run, target, values):
    query = as_grafana(target["expr"], values)
    samples = run.prometheus.query(query, run.busy)
    assert samples, query
    for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
        found = {labels.get(label, "") for labels, _ in samples}
        if label == "arm":
            assert "control" in found and found <= {*ARMS, "inline", ""}
        else:
            assert "" not in found
    # A legend without labels stands for one line.
    if "{{" not in target["legendFormat"] and target["format"] != "table":
        assert len(samples) == 1


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=[board["uid"] for board in DASHBOARDS])
def test_every_variable_offers_what_there_is(run, dashboard):
    expected = {"job": ["olmoe"], "instance": [run.server.address("http")],
                "layer": [f"{layer:02}" for layer in range(run.server.model_info().num_layers)]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                       variable["query"]["query"]).groups()
        series = run.prometheus.get("series", **{
            "match[]": as_grafana(selector, grafana_values(dashboard))})
        offered = sorted({labels[label] for labels in series})
        if label == "arm":
            assert set(ARMS) <= set(offered)
        else:
            assert offered == expected[label]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=[board["uid"] for board in DASHBOARDS])
def test_a_swap_is_an_annotation_at_its_time(run, dashboard):
    for annotation in dashboard["annotations"]["list"]:
        query = as_grafana(annotation["expr"], grafana_values(dashboard))
        [(_, milliseconds)] = run.prometheus.query(query, run.busy)
        before, after = run.patched
        assert before - 0.01 <= milliseconds / 1000 <= after + 0.01


@pytest.mark.parametrize("record", RECORDED)
def test_every_recording_rule_has_data(run, record):
    samples = run.prometheus.query(record, run.busy)
    assert samples
    level = record.split(":")[0].split("_")
    for labels, _ in samples:
        assert labels["job"] == "olmoe"
        assert {"job", "instance", *level} - set(labels) <= {"arm"}  # refused: without arm
    if "arm" in level:
        assert "control" in {labels.get("arm") for labels, _ in samples}


def test_every_rule_is_evaluated_without_error(run):
    rules = [rule for group in run.prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert sorted(rule["name"] for rule in rules) == sorted(RECORDED + ALERTS)
    for rule in rules:
        assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]


def test_the_refused_patches_fire_and_nothing_else_does(run):
    firing = run.prometheus.query('ALERTS{alertstate="firing"}', run.busy)
    assert {(labels["alertname"], labels.get("outcome")) for labels, _ in firing} == {
        ("OlmoeRoutingChangeRefused", "rejected"), ("OlmoeRoutingChangeRefused", "conflict")}


def test_sums_over_experts_are_k_times_tokens(run):
    """Exactly, and by PromQL, for every arm, layer and decision."""
    info = run.server.model_info()
    selections = "sum without (expert) (olmoe_moe_expert_tokens_total)"
    routed = run.prometheus.query(f"{selections} == olmoe_moe_experts_per_token_sum", run.idle)
    combinations = {(arm, f"{layer:02}", decision)
                    for layer in range(info.num_layers)
                    for arm, decision in [*itertools.product(ARMS, ["applied"]),
                                          ("control", "analyzed")]}
    assert combinations <= set(by(routed, "arm", "layer", "decision"))
    for arm, k in (("control", info.default_top_k), ("thin", THIN_K)):
        exact = run.prometheus.query(
            f'{selections} == {k} * olmoe_moe_routed_tokens_total{{arm="{arm}",'
            'decision="applied"}', run.idle)
        assert len(exact) == info.num_layers
    tokens = run.prometheus.query(
        'olmoe_moe_routed_tokens_total{decision="applied"} == on (arm) group_left () '
        "sum by (arm) (olmoe_tokens_total)", run.idle)
    assert len([labels for labels, _ in tokens if labels["arm"] in ARMS]) == 2 * info.num_layers


def test_experts_are_those_that_the_replies_said(run):
    counted = by(run.prometheus.query(
        'sum by (arm) (olmoe_moe_expert_tokens_total{decision="applied"})', run.idle), "arm")
    for arm in ARMS:
        assert counted[arm,] == run.traffic.activations[arm]


def test_assignments_are_those_that_the_replies_said(run):
    counted = by(run.prometheus.query("olmoe_assignments_total > 0", run.idle), "arm", "reason")
    for arm in ARMS:
        for reason in ("split", "random_unit"):
            assert counted[arm, reason] == run.traffic.assignments[arm, reason]


def test_requests_are_those_that_the_clients_saw(run):
    counted = by(run.prometheus.query("olmoe_requests_total > 0", run.idle),
                 "arm", "method", "code")
    seen = {key: count for key, count in run.traffic.requests.items() if key[0] != "inline"}
    assert {key: count for key, count in counted.items() if key[0] in (*ARMS, "")} == seen
    at_work = by(run.prometheus.query('olmoe_requests_total{arm="inline"}', run.busy),
                 "method", "code")
    for method, code in UNFINISHED:
        assert at_work[method, code] > 0


def test_perplexity_is_that_of_the_scores(run):
    perplexity = by(run.prometheus.query(
        "exp(olmoe_score_logprob_nats_total / olmoe_scored_tokens_total)", run.idle), "arm")
    for arm in ARMS:
        expected = math.exp(run.traffic.nats[arm] / run.traffic.scored_tokens[arm])
        assert perplexity[arm,] == pytest.approx(expected)


def test_the_split_is_judged_by_what_was_drawn(run):
    """With half of the requests in each arm, chi-square is far from a mismatch."""
    chi2 = by(run.prometheus.query("instance:olmoe_srm:chi2_1h", run.busy), "reason")
    z = by(run.prometheus.query("instance:olmoe_srm:z_1h", run.busy), "reason")
    assert set(chi2) == set(z) == {("split",), ("random_unit",)}
    for reason, value in chi2.items():
        assert z[reason] == pytest.approx((value ** (1 / 3) - 7 / 9) / (2 / 9) ** 0.5)
    assert run.prometheus.query("instance:olmoe_srm:degrees_of_freedom", run.busy)[0][1] == 1


# olmoe-server and Prometheus as they are, at their own ports; prints the series of `up`.
ON_ONE_MACHINE = r"""
trap 'kill $(jobs -p); wait' EXIT
"$BIN/olmoe-server" --model "$MODEL" >server.log 2>&1 &
prometheus --config.file="$CONFIG" --storage.tsdb.path=data >prometheus.log 2>&1 &
until promtool query instant http://127.0.0.1:9090 'up == 1' 2>/dev/null | tee up | grep .; do
  [ "$(jobs -r | wc -l)" = 2 ] || { cat server.log prometheus.log; exit 1; }
  sleep 0.1
done
"""


def test_the_committed_configuration_finds_a_server_on_the_same_machine(demo_folder, tmp_path):
    network = own_network.prefix(50051, 50052, 9464, 9090)
    done = subprocess.run(
        [*network, "bash", "-c", ON_ONE_MACHINE], cwd=tmp_path, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
        env={**os.environ, "BIN": str(bin_dir().resolve()), "MODEL": str(demo_folder),
             "CONFIG": str(OBSERVABILITY / "prometheus.yml")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'up{instance="127.0.0.1:9464", job="olmoe"} => 1' in done.stdout


def test_a_banned_expert_gets_no_token_while_the_traffic_goes_on(demo_folder):
    banned = [5, 17]
    rule = api.routing.Rule(top_k=api.routing.TopK(k=8), adjust=api.routing.Adjust(ban=banned))
    with (ServerProcess(demo_folder, "--allow-inline-policy") as server,
          PrometheusProcess(server.address("http")) as prometheus):
        build_calibration(server)
        patch(server, "before")
        traffic = Traffic(server)
        with traffic:
            wait_until(wait_for_traffic(traffic, 3), "traffic before")
            plan = make_plan("after")
            for arm in plan.arms:
                arm.arm_id += "-banned"
                arm.policy.CopyFrom(api.routing.RoutingPolicy(policy_id="banned", apply=rule))
            server.admin.PatchRouters(admin.PatchRoutersRequest(plan=plan), timeout=DEADLINE_S)
            wait_until(wait_for_traffic(traffic, 5), "traffic after")
        server.wait_until_idle()
        wait_for_scrape(prometheus)
        counted = by(prometheus.query(
            'sum by (arm, expert) (olmoe_moe_expert_tokens_total{decision="applied"})',
            time.time()), "arm", "expert")
        for arm in plan.arms:
            tokens = {int(expert): n for (name, expert), n in counted.items()
                      if name == arm.arm_id}
            assert len(tokens) == server.model_info().num_experts
            assert {expert for expert, n in tokens.items() if n == 0} >= set(banned)
            assert sum(tokens.values()) > 0
        # The arms before the ban had given them tokens.
        assert all(sum(n for (name, expert), n in counted.items()
                       if name in ARMS and int(expert) == each) > 0 for each in banned)
