"""lm-evaluation-harness in a process of its own: its model `olmoe` imports the installed client,
and these tests have stubs of their own.

Reads lines of JSON, {"model": NAME, "model_args": {...}, "batch_size": N, "tasks": {TASK: LIMIT or
null}}, and answers each with one line: {TASK: {"results": {METRIC: VALUE}, "documents": [[ANSWER,
...] of each document]}, "told": what the model says of who answered}. With {"again": true} it
evaluates again by the model that is there.
"""

import json
import pathlib
import sys

import lm_eval
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager

TASKS = pathlib.Path(__file__).resolve().parents[1] / "data/lm_eval"


def evaluated(model, manager, task, limit):
    """What lm-eval says of a task, and the model's answers in the order of the documents."""
    done = lm_eval.simple_evaluate(model=model, tasks=[task], limit=limit, bootstrap_iters=0,
                                   task_manager=manager)
    samples = sorted(done["samples"][task], key=lambda sample: sample["doc_id"])
    results = {name.removesuffix(",none"): float(value)
               for name, value in done["results"][task].items()
               if name.endswith(",none") and not isinstance(value, str)}
    return {"results": results,
            "documents": [[answer for answer, in sample["resps"]] for sample in samples]}


def main():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    answers, sys.stdout = sys.stdout, sys.stderr  # lm-eval prints, too
    model, tasks = None, {}
    for line in sys.stdin:
        run = json.loads(line)
        if not run.get("again"):
            tasks = run["tasks"]
            model = get_model(run["model"]).create_from_arg_obj(
                run["model_args"], {"batch_size": run["batch_size"]})
        answer = {task: evaluated(model, manager, task, limit) for task, limit in tasks.items()}
        if hasattr(model, "get_model_info"):
            answer["told"] = model.get_model_info()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
