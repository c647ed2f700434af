"""What olmoectl eval reads of traces, and olmoectl sweep, against the real server and its own
counts."""

import itertools
import json
import math
import os
import re
import subprocess

import pytest

import api
from server_process import DEADLINE_S, ServerProcess, bin_dir

STORY = """Once upon a time there was a little fox who lived in a hole under an old oak tree.
Every morning he ran down to the brook to drink, and every morning the frog said to him:
"Good morning, little fox! Where are you going today?"
"""
WINDOW = 16
ANALYZED = api.admin.DECISION_KIND_ANALYZED
APPLIED = api.admin.DECISION_KIND_APPLIED


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--allow-inline-policy", "--dtype", "float32") as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture(scope="module", name="text_file")
def _text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "stories.txt"
    path.write_text(STORY)
    return path


def run_json(server, command, *arguments):
    done = server.ctl(command, "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def counted(server, cursor=""):
    """(sums by kind, cursor): what the server has counted since the cursor, over all arms."""
    reply = server.admin.GetExpertStats(
        api.admin.GetExpertStatsRequest(since_cursor=cursor), timeout=DEADLINE_S)
    sums = {}
    for arm in reply.arms:
        for layer in arm.layers:
            of_kind = sums.setdefault(arm.kind, {})
            for name in ("tokens", "common_experts", "union_experts"):
                of_kind[name] = of_kind.get(name, 0) + getattr(layer, name)
            selections = of_kind.setdefault("experts", {})
            selections[layer.layer] = [
                a + b for a, b in itertools.zip_longest(
                    selections.get(layer.layer, []), layer.expert_tokens, fillvalue=0)]
    return sums, reply.cursor


ANALYZED_SPECS = (
    "native/top-k=2,analyze",
    "top-k=4/keep=\"p > 0.3 * p1 || position < 3 || decode && rank <= 2\",analyze",
    "top-p=0.4/top-k=8,noise=0.7,ban=3+9,analyze",
    "native/bh=0.3,calibration=sweep-t8,analyze",
    "top-k=2,layers=0-3/min-p=0.2,analyze/top-k=1,layers=5,analyze",
)
"""Rules on logits, on places, on noise, on a calibration, and by layer."""


@pytest.fixture(scope="module", name="calibration")
def _calibration(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "text.txt"
    path.write_text(STORY * 3)
    done = server.ctl("calibration", "build", "sweep-t8", "--trim-top", 8, "--texts", path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("spec", ANALYZED_SPECS)
@pytest.mark.usefixtures("calibration")
def test_an_analyzed_rule_is_counted_as_the_server_counts_it(server, text_file, spec):
    info = server.model_info()
    _, cursor = counted(server)
    row, = run_json(server, "eval", "--data", text_file, "--window", WINDOW, "--policy", spec,
                    "--experts")["results"]
    sums, cursor = counted(server, cursor)
    # The same request of one token as before every evaluation: what it counts is no part of it.
    done = server.ctl("score", "--continuation", "0", "--ids", "--policy", spec)
    assert done.returncode == 0, done.stderr
    first, _ = counted(server, cursor)
    slots = sums[APPLIED]["tokens"] - first[APPLIED]["tokens"]
    rows = slots // info.num_layers
    analyzed = {name: sums[ANALYZED][name] - first[ANALYZED][name]
                for name in ("tokens", "common_experts", "union_experts")}
    selections = sum(map(sum, sums[ANALYZED]["experts"].values())) - sum(
        map(sum, first[ANALYZED]["experts"].values()))
    assert analyzed["tokens"] == slots
    assert math.isclose(row["analyzed_experts_per_token"], selections / slots, rel_tol=1e-12)
    assert math.isclose(row["analyzed_overlap"],
                        analyzed["common_experts"] / analyzed["union_experts"], rel_tol=1e-12)
    # And the experts that ran, one by one.
    for layer, counts in enumerate(row["expert_counts"]):
        assert counts == [a - b for a, b in zip(sums[APPLIED]["experts"][layer],
                                                first[APPLIED]["experts"][layer], strict=True)]
        assert sum(counts) >= rows
    total = sum(map(sum, row["expert_counts"]))
    assert math.isclose(row["activations_per_token"], total / rows, rel_tol=1e-12)


def test_a_rule_that_runs_overlaps_itself_in_all_of_a_long_text(server, tmp_path):
    """Noise and `position` tell a wrong position, `decode` a wrong boundary of prompt and rest; the
    text has three windows of the model's context, the last of which repeats tokens."""
    text = tmp_path / "long.txt"
    text.write_text(STORY * 22)
    tokens = len(server.stub.Tokenize(api.inference.TokenizeRequest(text=text.read_text()),
                                      timeout=DEADLINE_S).ids)
    assert 2 * server.model_info().max_context < tokens < 3 * server.model_info().max_context
    for rule in ("top-k=8,noise=1",
                 "keep=\"rank <= 2 || position == 300 || decode && rank <= 5\""):
        row, = run_json(server, "eval", "--data", text, "--routing-seed", 5,
                        "--policy", f"{rule}/{rule},analyze")["results"]
        assert row["analyzed_overlap"] == 1
        other, = run_json(server, "eval", "--data", text, "--policy", f"{rule}/{rule},analyze",
                          "--routing-seed", 6)["results"]
        assert (other["loss"] != row["loss"]) == ("noise" in rule)


def test_questions_are_analyzed_too(server, tmp_path):
    path = api.SOURCE_DIR / "deploy/demo/data/piqa.jsonl"
    keep = "rank <= 3 || decode && rank <= 6"
    rule = f"keep=\"{keep}\""
    policy = api.routing.RoutingPolicy(
        policy_id="questions", apply=api.routing.Rule(expression=api.routing.Expression(keep=keep)))
    items = tmp_path / "items.jsonl"
    row, = run_json(server, "eval", "--data", path, "--limit", 3, "--policy",
                    f"{rule}/{rule},analyze", "--per-item", items)["results"]
    assert row["analyzed_overlap"] == 1
    assert row["analyzed_experts_per_token"] == pytest.approx(row["experts_per_token"])
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    assert len(lines) == 3
    questions = [json.loads(line) for line in path.read_text().splitlines()[:3]]
    for line, question in zip(lines, questions, strict=True):
        scores = server.score(*[
            api.inference.ScoreItem(context_text=question["context"], continuation_text=text)
            for text in question["continuations"]],
            routing=api.inference.RoutingSelector(policy=policy)).results
        sums = [score.logprob_sum for score in scores]
        assert line["choice"] == sums.index(max(sums))
        assert line["correct"] == (line["choice"] == question["label"] == line["label"])
        assert line["logprob_sum"] == pytest.approx(sums[question["label"]])
        assert line["bytes"] == scores[question["label"]].byte_count
        assert line["analyzed_overlap"] == 1


def test_items_add_up_to_the_report(server, text_file, tmp_path):
    items = tmp_path / "items.jsonl"
    rows = run_json(server, "eval", "--data", text_file, "--window", WINDOW, "--policy", "native",
                    "top-p=0.4", "--per-item", items)["results"]
    lines = [json.loads(line) for line in items.read_text().splitlines()]
    for row in rows:
        mine = [line for line in lines if line["policy"] == row["policy"]]
        assert [line["item"] for line in mine] == list(range(row["units"]))
        assert sum(line["tokens"] for line in mine) == row["tokens"]
        assert -sum(line["logprob_sum"] for line in mine) / row["tokens"] == pytest.approx(
            row["loss"])
        assert all(line["policy_digest"] == row["policy_digest"] for line in mine)
    # The bytes of the text without the line feed at its end; <|endoftext|> counts as written.
    assert sum(line["bytes"] for line in lines) == 2 * len(f"{STORY.strip()}<|endoftext|>".encode())


def test_a_sweep_is_the_evaluation_of_each_policy(server, text_file):
    flags = ("--data", text_file, "--window", WINDOW)
    sweep = run_json(server, "sweep", *flags, "--grid", "top-k=1..2", "--grid",
                     "top-p:p=0.3,0.6,max=4")
    rows = {row["policy"]: row for row in sweep["results"]}
    assert list(rows)[0] == "native" and len(rows) == 5
    again = run_json(server, "eval", *flags, "--policy", "native", "top-k=1", "top-k=2",
                     "top-p=0.3,max=4", "top-p=0.6,max=4")["results"]
    for row in again:
        assert rows[row["policy"]]["loss"] == row["loss"]
        assert rows[row["policy"]]["activations_per_token"] == row["activations_per_token"]
        assert rows[row["policy"]]["pareto"] == (not any(
            other["loss"] <= row["loss"]
            and other["activations_per_token"] <= row["activations_per_token"]
            and (other["loss"], other["activations_per_token"])
            != (row["loss"], row["activations_per_token"]) for other in again))


def test_a_budget_is_a_plan_that_patch_takes_and_that_loses_what_is_told(server, text_file):
    info = server.model_info()
    budget = 2 * info.num_layers
    flags = ("--data", text_file, "--window", WINDOW)
    sweep = run_json(server, "sweep", *flags, "--budget", budget, "--layer-k", "1..3,8")
    plan = sweep["budget"]
    assert sum(plan["ks"]) == budget and set(plan["ks"]) <= {1, 2, 3, 8}
    losses, native = sweep["sensitivity"]["losses"], sweep["results"][0]["loss"]
    choice = {k: i for i, k in enumerate(sweep["sensitivity"]["ks"])}
    assert plan["predicted_loss"] == pytest.approx(
        native + sum(losses[layer][choice[k]] - native for layer, k in enumerate(plan["ks"])))
    # The model's own k in one layer is the model.
    assert all(of_layer[choice[info.default_top_k]] == native for of_layer in losses)
    done = server.ctl("patch", "--policy", plan["policy"])
    assert done.returncode == 0, done.stderr
    try:
        served, = run_json(server, "eval", *flags)["results"]
    finally:
        server.unpatch()
    assert served["activations_per_token"] == budget
    assert served["loss"] == plan["measured_loss"]
    plain, = run_json(server, "eval", *flags, "--policy", "top-k=2")["results"]
    assert (plan["plain_k"], plan["plain_loss"]) == (2, plain["loss"])


def test_the_script_of_the_guide_prints_its_table():
    done = subprocess.run(
        [api.SOURCE_DIR / "deploy/evaluate_selection.sh", "--limit", "1"], capture_output=True,
        text=True, timeout=5 * DEADLINE_S, check=False,
        env={**os.environ, "OLMOE_BIN_DIR": str(bin_dir().resolve())})
    assert done.returncode == 0, done.stderr
    guide = (api.SOURCE_DIR / "docs/guide/evaluation.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9-]+) \| \d\.\d{3} \|", done.stdout, re.MULTILINE)
    assert len(rows) == 26
    for row in rows:
        assert f"\n| {row} | " in guide
    assert "k by layer of budget-64: " in done.stdout
