"""olmoectl bench against the real server: its numbers are the server's own, swaps are real and
leave the plan as it was, and the load is what was asked for."""

import json
import math
import re
import signal
import subprocess
import time

import pytest

import api
from server_process import DEADLINE_S, ServerProcess, bin_dir, running, wait_until
from unread_stream import UnreadStream


def bench(server, *arguments, code=0):
    done = server.ctl("--json", "bench", *arguments)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def series(server, name):
    """labels (a dict as a frozenset) -> value, of a metric; nothing where it has no series."""
    text = server.http("/metrics")[1]
    found = {}
    for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
        found[frozenset(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


def by_arm(server, name, **labels):
    """arm -> sum over the series with these labels."""
    sums = {}
    for key, value in series(server, name).items():
        if set(labels.items()) <= key:
            arm = dict(key)["arm"]
            sums[arm] = sums.get(arm, 0) + value
    return sums


def added(after, before):
    """What was added to each arm, without those that got nothing."""
    difference = {arm: value - before.get(arm, 0) for arm, value in after.items()}
    return {arm: value for arm, value in difference.items() if value}


def current(server):
    return server.admin.GetRouting(api.admin.GetRoutingRequest(), timeout=DEADLINE_S).current


def top_k(k):
    return api.routing.Rule(top_k=api.routing.TopK(k=k))


def patch_two_arms(server):
    plan = api.admin.RoutingPlan(arms=[
        api.admin.Arm(arm_id="control", weight=1,
                      policy=api.routing.RoutingPolicy(policy_id="native")),
        api.admin.Arm(arm_id="thin", weight=1,
                      policy=api.routing.RoutingPolicy(policy_id="k2", apply=top_k(2))),
    ])
    return server.admin.PatchRouters(api.admin.PatchRoutersRequest(plan=plan), timeout=DEADLINE_S)


def test_its_numbers_by_arm_are_those_of_the_server(demo, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Once upon a time", "max_new_tokens": 5, "weight": 2}\n'
                       '{"prompt": "The old hen sat by the door.", "method": "score"}\n')
    patch_two_arms(demo)
    before = {"requests": by_arm(demo, "olmoe_requests_total"),
              "tokens": by_arm(demo, "olmoe_tokens_total", phase="decode")}
    result = bench(demo, "--requests", 40, "-c", 4, "--units", 20, "--prompts", prompts,
                   "--ignore-eos")
    demo.wait_until_idle()
    run = result["run"]
    assert run["all"]["requests"] == 40 and run["error_ratio"] == 0
    arms = run["arms"]
    assert set(arms) == {"control", "thin"}
    requests = added(by_arm(demo, "olmoe_requests_total"), before["requests"])
    assert {arm: row["requests"] for arm, row in arms.items()} == requests
    for arm, row in arms.items():
        generated = row["generate_seconds"]["count"]
        assert row["completion_tokens"] == 5 * generated
        assert row["inter_token_seconds"]["count"] == 4 * generated
        assert row["first_token_seconds"]["count"] == generated
        assert generated + row["score_seconds"]["count"] == row["requests"]
        assert row["perplexity"] > 1
    # The last token drawn is never run: 4 of 5 are decoded.
    assert added(by_arm(demo, "olmoe_tokens_total", phase="decode"), before["tokens"]) == {
        arm: 4 * row["generate_seconds"]["count"] for arm, row in arms.items()}
    assert arms["thin"]["policies"] == ["k2"]
    assert run["generations"]["count"] == 1


def test_units_get_the_arms_of_the_split(demo):
    patch_two_arms(demo)
    units = [f"u{i}" for i in range(6)]
    explained = demo.admin.ExplainAssignment(
        api.admin.ExplainAssignmentRequest(unit_ids=units), timeout=DEADLINE_S).assignments
    arms = {assignment.arm_id for assignment in explained}
    run = bench(demo, "--requests", 60, "-n", 1, "--units", 6)["run"]
    assert set(run["arms"]) == arms


TEXTS = ("Once upon a time there was a little fox who lived in a hole under an old oak tree.",
         "The old hen sat by the door of the barn and looked at the rain.",
         "In a house at the edge of the forest there lived a woodcutter and his three daughters.")


def compare_arms(server, tmp_path, k, *arguments):
    """The comparison of the model's own routing with top-k, by scored texts. Who scores what in
    which arm depends on seed and salt alone, and so do the log-probabilities."""
    prompts = tmp_path / "texts.jsonl"
    prompts.write_text("".join(json.dumps({"method": "score", "prompt": text}) + "\n"
                               for text in TEXTS))
    plan = api.admin.RoutingPlan(salt="outcomes", arms=[
        api.admin.Arm(arm_id="control", weight=1,
                      policy=api.routing.RoutingPolicy(policy_id="native")),
        api.admin.Arm(arm_id="other", weight=1,
                      policy=api.routing.RoutingPolicy(policy_id="other", apply=top_k(k))),
    ])
    server.admin.PatchRouters(api.admin.PatchRoutersRequest(plan=plan), timeout=DEADLINE_S)
    result = bench(server, "--requests", 200, "-c", 4, "--units", 120, "--prompts", prompts,
                   *arguments)
    comparison = result["comparison"]
    rows = {row["metric"]: row for row in comparison["differences"]}
    assert set(rows) == {"score_seconds", "logprob_per_token"}
    assert not comparison["sample_ratio"]["is_broken"]
    row = rows["logprob_per_token"]
    for name, mean in ((comparison["control"], "control_mean"), (row["arm"], "mean")):
        assert row[mean] == pytest.approx(-math.log(result["run"]["arms"][name]["perplexity"]))
    return comparison, row


def test_arms_that_differ_differ_in_log_probability(demo, tmp_path):
    comparison, row = compare_arms(demo, tmp_path, 1)
    assert row["difference"] < 0 and row["high"] < 0
    assert row["is_different"] and row["holm_p_value"] < 0.001
    assert "log-probability of scored tokens: other is lower than control by " in row["verdict"]
    units = comparison["sample_ratio"]["arms"]
    explained = demo.admin.ExplainAssignment(api.admin.ExplainAssignmentRequest(
        unit_ids=[f"u{i}" for i in range(120)]), timeout=DEADLINE_S).assignments
    for arm in ("control", "other"):
        most = sum(assignment.arm_id == arm for assignment in explained)
        assert 0.5 * most < units[arm]["units"] <= most
        assert units[arm]["planned_share"] == 0.5


@pytest.mark.parametrize("flags", [(), ("--always-valid",), ("--control", "other")])
def test_equal_arms_do_not(demo, tmp_path, flags):
    comparison, row = compare_arms(demo, tmp_path, demo.model_info().default_top_k, *flags)
    assert row["low"] <= 0 <= row["high"]
    assert not row["is_different"]
    assert "no difference between " in row["verdict"] and comparison["verdict"][0].startswith(
        "split: as planned")
    assert comparison["intervals"] == ("always_valid" if "--always-valid" in flags else
                                       "bootstrap")


def test_without_the_admin_port_arms_are_compared_and_the_split_is_not_tested(demo):
    patch_two_arms(demo)
    command = [str(bin_dir() / "olmoectl"), "--server", demo.address(), "--admin", "127.0.0.1:1",
               "--json", "bench", "--requests", "120", "--units", "100", "-n", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True,
                          timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    comparison = json.loads(done.stdout)["comparison"]
    assert comparison["control"] == "control" and comparison["sample_ratio"] is None
    assert comparison["not_tested"].startswith("the plan could not be read: ")
    assert {row["arm"] for row in comparison["differences"]} == {"thin"}


def bench_until(server, condition, what, *arguments):
    """What an endless run prints that gets Ctrl-C when the condition is true."""
    with running(server.ctl_command("--json", "bench", "--duration", "10h", *arguments),
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        wait_until(condition, what)
        client.send_signal(signal.SIGINT)
        out, errors = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 130, errors
    result = json.loads(out)
    assert result["interrupted"]
    return result


SWAPS = ("--swap-every", "50ms", "--swap-policy", "one@top-k=1", "two@top-k=2")


class SwapsUnderTraffic:
    """True when requests have ended that two different swaps have routed. `most`: requests at a
    time."""

    def __init__(self, server, most):
        self._server = server
        self._most = most
        self._swaps = 0
        self._mark()

    def _mark(self):
        self._generation = current(self._server).generation
        self._requests = None

    def __call__(self):
        if self._requests is None:
            if current(self._server).generation > self._generation:
                self._requests = self._ended()
        # Requests that begin after the new generation: all but those that were under way.
        elif self._ended() > self._requests + self._most:
            self._swaps += 1
            self._mark()
        return self._swaps == 2

    def _ended(self):
        return sum(by_arm(self._server, "olmoe_requests_total").values())


def test_swaps_are_real_and_the_plan_comes_back(demo):
    demo.patch(api.routing.RoutingPolicy(policy_id="mine", apply=top_k(3)))
    original = current(demo)
    run = bench_until(demo, SwapsUnderTraffic(demo, 2), "requests under two swaps", "-c", 2, "-n",
                      4, *SWAPS)["run"]
    swaps = run["swaps"]
    assert swaps["swaps"] >= 2 and swaps["conflicts"] == 0 and swaps["failures"] == 0
    assert swaps["last_generation"] - swaps["first_generation"] + 1 == swaps["swaps"]
    assert swaps["blocked_seconds"]["count"] == swaps["swaps"]
    assert run["generations"]["count"] > 1
    assert swaps["first_generation"] <= run["generations"]["first"]
    assert run["generations"]["last"] <= swaps["last_generation"]
    assert set(run["all"]["policies"]) == {"one", "two"}
    assert run["error_ratio"] == 0
    restored = current(demo)
    assert restored.generation == swaps["restored_generation"]
    assert restored.digest == original.digest and restored.plan == original.plan
    assert not restored.HasField("expire_time")


def test_a_plan_with_a_time_to_live_is_left_alone(demo):
    ttl = api.admin.PatchRoutersRequest().ttl
    ttl.FromSeconds(600)
    generation = demo.patch(api.routing.RoutingPolicy(policy_id="short", apply=top_k(3)),
                            ttl=ttl).current.generation
    done = demo.ctl("bench", "--requests", 1, "--swap-every", "100ms")
    assert done.returncode == 4
    assert "time to live" in done.stderr
    assert current(demo).generation == generation


def test_ctrl_c_in_a_paired_run_brings_the_plan_back(demo):
    demo.patch(api.routing.RoutingPolicy(policy_id="mine", apply=top_k(3)))
    original = current(demo)
    requests_before = demo.metric("olmoe_requests_total")
    bench_until(demo, lambda: demo.metric("olmoe_requests_total") > requests_before + 3,
                "some requests have ended", "-c", 2, "-n", 4, *SWAPS, "--paired", 3)
    restored = current(demo)
    assert restored.digest == original.digest and restored.plan == original.plan


def test_a_client_that_is_killed_leaves_a_plan_that_ends_by_itself(demo):
    command = demo.ctl_command("bench", "--duration", "10m", "-c", 1, "-n", 4, "--swap-every",
                               "50ms")
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        wait_until(lambda: current(demo).plan.arms[0].policy.policy_id.startswith("bench-"),
                   "a swap")
        client.kill()
    left = current(demo)
    assert left.plan.arms[0].policy.policy_id.startswith("bench-")
    assert 0 < left.expire_time.ToSeconds() - time.time() < 70


def test_pairs_compare_the_same_traffic(demo):
    result = bench(demo, "--requests", 6, "-c", 2, "-n", 8, "--ignore-eos", "--swap-every",
                   "20ms", "--paired", 2)
    assert [pair["with_first"] for pair in result["pairs"]] == [False, True]
    for pair in result["pairs"]:
        assert pair["without"]["swaps"] is None and pair["with"]["swaps"]["swaps"] > 0
        # The swapped plans are the model's own routing by another name.
        for key in ("prompt_tokens", "completion_tokens"):
            assert pair["without"]["all"][key] == pair["with"]["all"][key]
        p99 = [pair[name]["all"]["inter_token_seconds"]["p99"] for name in ("with", "without")]
        assert pair["inter_token_p99_ratio"] == pytest.approx(p99[0] / p99[1])
    ratio = result["inter_token_p99_ratio"]
    assert ratio["low"] <= ratio["median"] <= ratio["high"]


def test_errors_are_counted_by_code(demo, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"token_ids": [1], "max_new_tokens": 2}\n'
                       '{"token_ids": [1], "max_new_tokens": 1000000}\n')
    result = bench(demo, "--requests", 20, "-c", 2, "--prompts", prompts, code=1)
    errors = result["run"]["all"]["errors"]
    assert set(errors) == {"OUT_OF_RANGE"}
    assert 0 < errors["OUT_OF_RANGE"]["count"] < 20
    assert result["run"]["error_ratio"] == errors["OUT_OF_RANGE"]["count"] / 20
    bench(demo, "--requests", 20, "-c", 2, "--prompts", prompts, "--max-error-ratio", 1)


def test_a_full_server_shows_as_errors_and_not_as_a_slower_load(demo_folder):
    with (ServerProcess(demo_folder, "--max-queue", 1, "--max-batch-sequences", 1) as server,
          UnreadStream(server)):
        waiting = server.stub.GenerateStream(api.tokens_request([1], 1), timeout=DEADLINE_S)
        assert next(waiting).HasField("started")
        result = bench(server, "--rate", 200, "--arrival", "constant", "--duration", "1s", code=1)
        assert result["run"]["all"]["requests"] == 200
        assert result["run"]["all"]["errors"]["RESOURCE_EXHAUSTED"]["count"] == 200
        waiting.cancel()


@pytest.mark.parametrize("arrival,most", [("constant", 1), ("poisson", 25)])
def test_an_open_loop_holds_its_rate(demo, arrival, most):
    result = bench(demo, "--rate", 20, "--arrival", arrival, "--duration", "3s", "-n", 1)
    run = result["run"]
    assert abs(run["all"]["requests"] - 60) <= most  # a Poisson count: 3 standard deviations
    assert run["dropped"] == 0 and run["error_ratio"] == 0
    assert result["load"]["rate"] == 20 and result["load"]["arrival"] == arrival


def test_a_model_without_tokenizer_gets_random_tokens(golden):
    run = bench(golden, "--requests", 4, "-n", 3, "--ignore-eos", "--random-tokens", 5)["run"]
    assert run["all"]["prompt_tokens"] == 20
    assert run["all"]["completion_tokens"] == 12
