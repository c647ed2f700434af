"""Writes golden.json: what `lm_eval --model hf` gives for the tasks of this folder.

Needs torch and accelerate besides tests/e2e/requirements.txt; a quarter of a minute. From the root
of the repository:

    HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 python tests/data/lm_eval/make_golden.py

In float32, because `olmoe-server --dtype float32` computes the same to the last few bits.
"""

import json
import pathlib
from importlib import metadata

import lm_eval
import torch
from lm_eval.tasks import TaskManager

FOLDER = pathlib.Path(__file__).resolve().parent
QUESTIONS = 24
MODEL = {"pretrained": "deploy/demo", "dtype": "float32", "device": "cpu"}


def evaluated(tasks, limit=None):
    """{task: (results, samples in the order of the documents)}"""
    done = lm_eval.simple_evaluate(
        model="hf", model_args=MODEL, tasks=tasks, limit=limit, batch_size=1, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(FOLDER), include_defaults=False))
    return {task: (done["results"][task],
                   sorted(done["samples"][task], key=lambda each: each["doc_id"]))
            for task in tasks}


def numbers(results):
    """The metrics, without what goes with them."""
    return {name.partition(",")[0]: value for name, value in results.items()
            if name.endswith(",none") and isinstance(value, float)}


def answers(samples):
    """Of each document what the model answered to its requests."""
    return [[response for response, in sample["resps"]] for sample in samples]


def main():
    torch.set_num_threads(1)
    (questions, asked), = evaluated(["demo_questions"], QUESTIONS).values()
    (stories, scored), (_, continued) = evaluated(["demo_stories", "demo_endings"]).values()
    golden = {
        "versions": {name: metadata.version(name) for name in ("lm_eval", "torch", "transformers")},
        "questions": QUESTIONS, "demo_questions_results": numbers(questions),
        "demo_stories_results": numbers(stories),
        # A list for each document: of each continuation (nats, whether it is the greedy one), the
        # nats of the text, the text that was generated.
        "demo_questions": answers(asked), "demo_stories": answers(scored),
        "demo_endings": answers(continued)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    (FOLDER / "golden.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
