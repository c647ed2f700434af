"""lm-evaluation-harness by gRPC, `--model olmoe`: the numbers of olmoectl, and of lm-eval's own
Hugging Face model, whatever is swapped meanwhile."""

import json
import math
import subprocess
import sys

import pytest

import api
from lm_eval_harness import (ALL, GOLDEN, STORIES, SWAPS, TASKS, documents, environment, harness,
                             swap)
from server_process import DEADLINE_S, ServerProcess


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hf")


@pytest.fixture(scope="module", name="lm_eval")
def _lm_eval(folder):
    with harness(folder) as process:
        yield process


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--dtype", "float32", "--allow-inline-policy", "--prefix-cache",
                       "principal") as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture(scope="module", name="native")
def _native(server, lm_eval):
    """What it says of the model's own routing."""
    return lm_eval.run("olmoe", {"target": server.address()})


def test_the_command_knows_the_model(server, folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", "--model", "olmoe", "--model_args",
         f"target={server.address()},num_concurrent=4", "policy='top-p=0.5,max=4'",
         "--include_path", TASKS, "--tasks", "demo_questions", "--limit", "4", "--batch_size", "8",
         "--output_path", tmp_path], capture_output=True, text=True, timeout=DEADLINE_S,
        check=False, env=environment(folder), cwd=api.SOURCE_DIR)
    assert done.returncode == 0, done.stderr
    assert "|demo_questions|" in done.stdout
    report = json.loads(next(tmp_path.rglob("results_*.json")).read_text())
    told = report["config"]["olmoe"]
    assert told["arm"] == "inline" and len(told["policy_digest"]) == 64
    assert told["weights_digest"] == server.model_info().weights_digest


def by_olmoectl(server, folder, *arguments):
    """(the rows of `olmoectl eval`, the lines of its items)"""
    items = folder / "items.jsonl"
    done = server.ctl("eval", "--format", "json", "--per-item", items, *arguments)
    assert done.returncode == 0, done.stderr
    return (json.loads(done.stdout)["results"],
            [json.loads(line) for line in items.read_text().splitlines()])


def test_questions_have_the_numbers_of_olmoectl(server, native, tmp_path):
    (row,), items = by_olmoectl(server, tmp_path, "--data",
                                api.SOURCE_DIR / "deploy/demo/data/arc_easy.jsonl", "--limit",
                                GOLDEN["questions"])
    assert native["demo_questions"]["results"] == {"acc": row["acc"], "acc_norm": row["acc_norm"]}
    for item, answers in zip(items, documents(native, "demo_questions"), strict=True):
        nats = [answer[0] for answer in answers]
        assert nats[item["label"]] == item["logprob_sum"]
        assert nats.index(max(nats)) == item["choice"]


def test_stories_have_the_numbers_of_olmoectl(server, native, tmp_path):
    stories = tmp_path / "stories.txt"
    stories.write_text("\n<|endoftext|>\n".join(story["text"] for story in STORIES) + "\n")
    (row,), items = by_olmoectl(server, tmp_path, "--data", stories)
    assert [[item["logprob_sum"]] for item in items] == documents(native, "demo_stories")
    total_bytes = sum(len(story["text"]) for story in STORIES)
    assert math.isclose(native["demo_stories"]["results"]["bits_per_byte"],
                        row["loss"] * row["tokens"] / total_bytes / math.log(2), rel_tol=1e-12)


def test_endings_are_those_of_generate(server, native):
    def ending(story):
        sampling = api.inference.SamplingParams(temperature=0)
        return server.generate(api.inference.GenerateRequest(
            text=story["beginning"], max_new_tokens=32, stop=["\n"], sampling=sampling,
            add_special_tokens=False)).text
    assert documents(native, "demo_endings") == [[ending(story)] for story in STORIES]


def test_the_numbers_are_those_of_lm_evals_hugging_face_model(native):
    # lm-eval's sums there are float32; see tests/data/lm_eval/README.md.
    for mine, theirs in zip(documents(native, "demo_questions"), GOLDEN["demo_questions"],
                            strict=True):
        assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
        assert [nats for nats, _ in mine] == pytest.approx([nats for nats, _ in theirs], rel=2e-6)
    for mine, theirs in zip(documents(native, "demo_stories"), GOLDEN["demo_stories"],
                            strict=True):
        assert mine == pytest.approx(theirs, rel=2e-6)
    assert documents(native, "demo_endings") == GOLDEN["demo_endings"]
    assert native["demo_questions"]["results"] == GOLDEN["demo_questions_results"]
    assert native["demo_stories"]["results"] == pytest.approx(GOLDEN["demo_stories_results"],
                                                              rel=2e-6)


def test_arms_at_once_stay_themselves_while_another_is_swapped(server, lm_eval, folder,
                                                              native):
    treatment = lm_eval.run("olmoe", {"target": server.address(), "policy": "top-k=2"})
    first = swap(server, 0)
    try:
        with harness(folder) as another:
            for process, arm in ((lm_eval, "control"), (another, "treatment")):
                process.start(model="olmoe", batch_size=1, tasks=ALL,
                              model_args={"target": server.address(), "arm": arm})
            last = [swap(server, number) for number in range(1, SWAPS + 1)][-1]
            # Round by round, whatever the swaps met; the last one is after all of them.
            for process, expected in ((lm_eval, native), (another, treatment)):
                during = process.finish()
                process.start(again=True)
                after = process.finish()
                for task in ALL:
                    assert during[task] == after[task] == expected[task]
                told = after["told"]["olmoe"]
                assert first <= told["first_generation"] <= told["last_generation"] == last
    finally:
        server.unpatch()
    assert documents(treatment, "demo_stories") != documents(native, "demo_stories")
