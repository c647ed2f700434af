"""/metrics of a server in use: the whole table, every series, as promtool takes it."""

import collections
import functools
import gzip
import pathlib
import re
import shutil
import subprocess
import urllib.request

import pytest

import api
import background
from api import admin, routing
from server_process import DEADLINE_S, ServerProcess, wait_until

# Names that no other test gives an arm of the server that they share: an arm's counters
# are those of all policies it has had.
CONTROL, THIN, WATCH = "metrics-control", "metrics-thin", "metrics-watch"
ARM = {"arm"}
ROUTER = {"arm", "layer", "decision"}
# Metric -> (type, labels), as the table of the design says.
TABLE = {
    "olmoe_moe_expert_tokens_total": ("counter", ROUTER | {"expert"}),
    "olmoe_moe_routed_tokens_total": ("counter", ROUTER),
    "olmoe_moe_experts_per_token": ("histogram", ROUTER),
    "olmoe_moe_k_clamped_tokens_total": ("counter", ROUTER | {"bound"}),
    "olmoe_moe_selected_mass_total": ("counter", ROUTER),
    "olmoe_moe_router_entropy_nats_total": ("counter", ROUTER),
    "olmoe_moe_decision_common_experts_total": ("counter", {"arm", "layer"}),
    "olmoe_moe_decision_union_experts_total": ("counter", {"arm", "layer"}),
    "olmoe_requests_total": ("counter", ARM | {"method", "protocol", "code"}),
    "olmoe_request_finish_total": ("counter", ARM | {"reason"}),
    "olmoe_request_duration_seconds": ("histogram", ARM | {"method", "protocol"}),
    "olmoe_request_queue_seconds": ("histogram", ARM | {"method", "protocol"}),
    "olmoe_time_to_first_token_seconds": ("histogram", ARM),
    "olmoe_time_per_output_token_seconds": ("histogram", ARM),
    "olmoe_inter_token_latency_seconds": ("histogram", ARM),
    "olmoe_request_prompt_tokens": ("histogram", ARM),
    "olmoe_request_completion_tokens": ("histogram", ARM),
    "olmoe_tokens_total": ("counter", ARM | {"phase"}),
    "olmoe_score_logprob_nats_total": ("counter", ARM),
    "olmoe_scored_tokens_total": ("counter", ARM),
    "olmoe_cached_tokens_total": ("counter", ARM),
    "olmoe_assignments_total": ("counter", ARM | {"reason"}),
    "olmoe_requests_running": ("gauge", ARM),
    "olmoe_requests_queued": ("gauge", set()),
    "olmoe_forward_pass_seconds": ("histogram", {"phase"}),
    "olmoe_forward_pass_tokens": ("histogram", {"phase"}),
    "olmoe_kv_cache_used_bytes": ("gauge", set()),
    "olmoe_kv_cache_capacity_bytes": ("gauge", set()),
    "olmoe_prefix_cache_bytes": ("gauge", set()),
    "olmoe_routing_generation": ("gauge", set()),
    "olmoe_routing_last_swap_timestamp_seconds": ("gauge", set()),
    "olmoe_routing_stale_requests": ("gauge", set()),
    "olmoe_routing_swaps_total": ("counter", {"outcome"}),
    "olmoe_routing_swap_seconds": ("histogram", set()),
    "olmoe_routing_arm_weight": ("gauge", ARM),
    "olmoe_routing_arm_info": ("gauge", ARM | {"policy", "kind", "digest", "k", "alpha", "min_k",
                                               "max_k"}),
    "process_cpu_seconds_total": ("counter", set()),
    "process_open_fds": ("gauge", set()),
    "process_max_fds": ("gauge", set()),
    "process_virtual_memory_bytes": ("gauge", set()),
    "process_virtual_memory_max_bytes": ("gauge", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_start_time_seconds": ("gauge", set()),
    "olmoe_build_info": ("gauge", {"version", "kernels"}),
    "olmoe_model_info": ("gauge", {"model", "weights_digest", "dtype", "device", "layers",
                                   "experts"}),
}


def plan():
    """Control, and an arm that keeps the model's experts and analyzes one expert fewer."""
    rule = routing.Rule(top_k=routing.TopK(k=1))
    return admin.RoutingPlan(salt="metrics", arms=[
        admin.Arm(arm_id=CONTROL, weight=1, policy=routing.RoutingPolicy(policy_id="native")),
        admin.Arm(arm_id=THIN, weight=1,
                  policy=routing.RoutingPolicy(policy_id="thin-1", apply=rule)),
        admin.Arm(arm_id=WATCH, weight=1,
                  policy=routing.RoutingPolicy(policy_id="watch-1", analyze=rule)),
    ])


def traffic(server):
    """Generations and scores of many units, until the end of the block."""
    def generate_and_score(thread, i):
        unit = f"unit-{thread}-{i}"
        server.generate(api.tokens_request([5 + thread, 6, 7], 8, unit_id=unit))
        item = api.inference.ScoreItem()
        item.context_tokens.ids.extend([5, 6, 7])
        item.continuation_tokens.ids.extend([8, 9])
        server.score(item, unit_id=unit)

    return background.repeated(3, generate_and_score)


def scrape(server):
    code, text = server.http("/metrics")
    assert code == 200
    return text


SAMPLE = re.compile(r'^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"')


@functools.lru_cache(maxsize=16)
def samples(text):
    """[(name, labels, value)]"""
    out = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        out.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return out


def total(text, name, **labels):
    return sum(value for found, found_labels, value in samples(text)
               if found == name and labels.items() <= found_labels.items())


@pytest.fixture(name="experiment")
def _experiment(demo):
    demo.admin.PatchRouters(admin.PatchRoutersRequest(plan=plan()), timeout=DEADLINE_S)
    return demo


def test_a_banned_expert_stays_at_0_and_a_forced_one_runs_for_every_token(demo):
    arm, tokens = "metrics-ban", "olmoe_moe_expert_tokens_total"
    adjust = routing.Adjust(ban=[3, 17], force=[5, 6])
    rule = routing.Rule(top_k=routing.TopK(k=1), adjust=adjust)
    policy = routing.RoutingPolicy(policy_id="ban", apply=rule)
    demo.admin.PatchRouters(admin.PatchRoutersRequest(plan=admin.RoutingPlan(
        arms=[admin.Arm(arm_id=arm, weight=1, policy=policy)])), timeout=DEADLINE_S)
    for first in range(5, 25):
        demo.generate(api.tokens_request([first, 6, 7], 8))
    text = scrape(demo)
    routed = total(text, "olmoe_moe_routed_tokens_total", arm=arm)
    assert routed > 0
    assert total(text, tokens, arm=arm, expert="03") == total(text, tokens, arm=arm, expert="17") == 0
    assert total(text, tokens, arm=arm, expert="05") == routed
    assert total(text, tokens, arm=arm) == 2 * routed
    assert total(text, "olmoe_moe_k_clamped_tokens_total", arm=arm, bound="force") == routed


def all_arms_have_served(server):
    text = scrape(server)
    return all(total(text, "olmoe_requests_total", arm=arm, method=method, code="OK") > 0
               for arm in (CONTROL, THIN, WATCH) for method in ("Generate", "Score"))


def test_promtool_finds_nothing_to_say_about_a_scrape_under_traffic(experiment):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (package prometheus) is not on PATH")
    with traffic(experiment):
        wait_until(lambda: all_arms_have_served(experiment), "every arm has served")
        text = scrape(experiment)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_metric_of_the_table_is_there_with_its_type_and_labels_and_no_other(experiment):
    with traffic(experiment):
        wait_until(lambda: all_arms_have_served(experiment), "every arm has served")
        text = scrape(experiment)
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert types == {name: kind for name, (kind, _) in TABLE.items()}
    seen = collections.defaultdict(set)
    for name, labels, _ in samples(text):
        base = name
        if name not in TABLE:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert base in TABLE, name
        seen[base] |= set(labels) - {"le"}
    assert seen == {name: labels for name, (_, labels) in TABLE.items()}


def test_counts_of_experts_are_k_times_tokens_at_every_scrape(experiment):
    with traffic(experiment):
        wait_until(lambda: all_arms_have_served(experiment), "every arm has served")
        texts = [scrape(experiment) for _ in range(10)]
    own_k = experiment.model_info().default_top_k
    for text in texts:
        for arm, decision, k in ((CONTROL, "applied", own_k), (THIN, "applied", 1),
                                 (WATCH, "applied", own_k), (WATCH, "analyzed", 1)):
            labels = {"arm": arm, "layer": "00", "decision": decision}
            tokens = total(text, "olmoe_moe_routed_tokens_total", **labels)
            assert tokens > 0
            assert total(text, "olmoe_moe_expert_tokens_total", **labels) == k * tokens
            assert total(text, "olmoe_moe_experts_per_token_sum", **labels) == k * tokens


def test_an_arm_has_its_series_from_the_patch_on(demo):
    demo.wait_until_idle()
    arm = f"fresh-{int(demo.metric('olmoe_routing_generation'))}"
    fresh = admin.RoutingPlan(arms=[admin.Arm(
        arm_id=arm, weight=1, policy=routing.RoutingPolicy(
            policy_id="p", analyze=routing.Rule(top_k=routing.TopK(k=1))))])
    demo.admin.PatchRouters(admin.PatchRoutersRequest(plan=fresh), timeout=DEADLINE_S)
    text = scrape(demo)
    info = demo.model_info()
    zeros = [labels for name, labels, value in samples(text)
             if name == "olmoe_moe_expert_tokens_total" and labels["arm"] == arm and value == 0]
    assert len(zeros) == 2 * info.num_layers * info.num_experts
    assert total(text, "olmoe_inter_token_latency_seconds_count", arm=arm) == 0
    before = {(name, *sorted(labels.items())) for name, labels, _ in samples(text)}
    demo.greedy([5, 6, 7], 8)
    demo.wait_until_idle()
    text = scrape(demo)
    assert {(name, *sorted(labels.items())) for name, labels, _ in samples(text)} == before
    assert total(text, "olmoe_inter_token_latency_seconds_count", arm=arm) == 7


def test_scored_tokens_are_those_whose_likelihood_is_summed(demo):
    item = api.inference.ScoreItem()
    item.context_tokens.ids.extend([5, 6, 7])
    item.continuation_tokens.ids.extend([8, 9])
    before = scrape(demo)
    reply = demo.score(item)
    demo.wait_until_idle()
    after = scrape(demo)

    def grown(name):
        return total(after, name) - total(before, name)
    assert grown("olmoe_scored_tokens_total") == 2
    assert grown("olmoe_score_logprob_nats_total") == pytest.approx(
        -reply.results[0].logprob_sum, rel=1e-6)


def test_parameters_of_arms_are_labels(experiment):
    infos = {labels["arm"]: labels for name, labels, value in samples(scrape(experiment))
             if name == "olmoe_routing_arm_info" and value == 1}
    assert infos[THIN]["kind"] == "top_k"
    assert infos[THIN]["policy"] == "thin-1"
    assert infos[THIN]["k"] == "1"
    assert infos[THIN]["alpha"] == infos[THIN]["max_k"] == ""
    assert infos[CONTROL]["kind"] == "native"


def test_the_process_is_measured_as_client_libraries_measure_it(demo):
    pid = demo.process.pid
    value = {name: float(value) for name, value in re.findall(
        r"^(process_\w+) (\S+)$", scrape(demo), re.MULTILINE)}
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    resident = 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    assert value["process_resident_memory_bytes"] == pytest.approx(resident, rel=0.2)
    assert value["process_virtual_memory_bytes"] > value["process_resident_memory_bytes"]
    assert value["process_cpu_seconds_total"] > 0
    assert 3 < value["process_open_fds"] <= value["process_max_fds"]
    started = pathlib.Path(f"/proc/{pid}").stat().st_mtime
    assert value["process_start_time_seconds"] == pytest.approx(started, abs=60)


def test_a_client_that_takes_gzip_gets_it(demo):
    request = urllib.request.Request(f"http://{demo.address('http')}/metrics",
                                     headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
        assert reply.headers["Content-Encoding"] == "gzip"
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        packed = reply.read()
    text = gzip.decompress(packed).decode()
    assert "olmoe_moe_expert_tokens_total" in text
    assert len(packed) * 5 < len(text)


def test_alive_and_ready(demo):
    assert demo.http("/healthz") == (200, "ok\n")
    assert demo.http("/readyz") == (200, "ready\n")


@pytest.mark.parametrize("detail, layers, experts", [("off", False, False), ("layer", True, False)])
def test_router_metrics_can_be_left_out(demo_folder, detail, layers, experts):
    with ServerProcess(demo_folder, "--expert-metrics", detail) as server:
        server.greedy([5, 6, 7], 4)
        text = scrape(server)
    assert ("olmoe_moe_routed_tokens_total" in text) == layers
    assert ("olmoe_moe_expert_tokens_total" in text) == experts
    assert "olmoe_tokens_total" in text
