"""lm-evaluation-harness in processes of its own, for the tests of what it is served by."""

import contextlib
import json
import os
import subprocess
import sys

import api
from server_process import DEADLINE_S, running

TASKS = api.SOURCE_DIR / "tests/data/lm_eval"
STORIES = [json.loads(line) for line in (TASKS / "stories.jsonl").read_text().splitlines()]
GOLDEN = json.loads((TASKS / "golden.json").read_text())
ALL = {"demo_questions": GOLDEN["questions"], "demo_stories": None, "demo_endings": None}
SWAPS = 50


def environment(folder):
    """Neither the hub nor what an earlier run cached."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(folder)}


class Harness:
    """lm-eval in a process that answers one run after the other."""

    def __init__(self, process):
        self._process = process

    def start(self, **run):
        """A run under way; `finish` has its answer."""
        self._process.stdin.write(json.dumps(run) + "\n")
        self._process.stdin.flush()

    def finish(self):
        line = self._process.stdout.readline()
        assert line, "lm-eval has failed"
        return json.loads(line)

    def run(self, model, model_args, batch_size=1):
        """The answer to all tasks."""
        self.start(model=model, model_args=model_args, batch_size=batch_size, tasks=ALL)
        return self.finish()


@contextlib.contextmanager
def harness(folder):
    """A Harness that keeps its files in a folder."""
    with running([sys.executable, str(api.SOURCE_DIR / "tests/e2e/lm_eval_run.py")],
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(folder),
                 cwd=api.SOURCE_DIR) as process:
        yield Harness(process)


def documents(answer, task):
    """The answers of each document."""
    return answer[task]["documents"]


def plan(other):
    """Two arms that stay and a third that does not."""
    arms = [("control", api.routing.RoutingPolicy(policy_id="native")),
            ("treatment", api.top_k_policy(2, "two")), ("other", other)]
    return api.admin.RoutingPlan(arms=[
        api.admin.Arm(arm_id=name, policy=policy, weight=1, allow_explicit=True)
        for name, policy in arms])


def swap(server, number):
    """A plan that differs from the one before in the arm that nobody uses; its generation."""
    return server.admin.PatchRouters(
        api.admin.PatchRoutersRequest(plan=plan(api.top_k_policy(1 + number % 8, "other"))),
        timeout=DEADLINE_S).current.generation
