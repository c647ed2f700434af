"""python -m olmoe.lm_eval: tasks of lm-eval under several policies and arms, compared in pairs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from lm_eval.tasks import TaskManager

from olmoe import errors
from olmoe._passes import subjects
from olmoe.lm_eval.model import OlmoeLM
from olmoe.lm_eval.paired import Comparison, PairedRow, compare

_COLUMNS = ("TASK", "METRIC", "FILTER", "SUBJECT", "DOCUMENTS", "VALUE", "DIFFERENCE", "STDERR",
            "95%")
# Of OlmoeLM, each with its type; what is not given comes from the environment, as for olmoectl.
_MODEL_ARGUMENTS: dict[str, type] = {
    "target": str, "token_file": str, "ca": str, "cert": str, "key": str, "unit_id": str,
    "batch_size": int, "num_concurrent": int, "max_gen_toks": int}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m olmoe.lm_eval", description="Runs tasks of lm-evaluation-harness under each "
        "policy and arm, and compares them with the first, document by document.")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK")
    parser.add_argument("--policy", action="append", default=[], metavar="[NAME@]POLICY",
                        help="in olmoectl's notation; the server must allow it "
                             "(--allow-inline-policy)")
    parser.add_argument("--arm", action="append", default=[], metavar="ARM",
                        help="of the server's plan, which must allow it; after the policies")
    parser.add_argument("--include_path", metavar="FOLDER", help="of more tasks")
    parser.add_argument("--limit", type=float, help="only so many documents of each task")
    parser.add_argument("--num_fewshot", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1, help="of the bootstrap; default 1")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, kind in _MODEL_ARGUMENTS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=name.upper(),
                            help="as of --model olmoe")
    return parser


def _fixed(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cells(row: PairedRow) -> tuple[str, ...]:
    interval = "-"
    if row.difference_low is not None and row.difference_high is not None:
        interval = f"[{row.difference_low:+.4f}, {row.difference_high:+.4f}]"
    return (row.task, row.metric, row.filter, row.subject, str(row.documents),
            _fixed(row.value, ".4f"), _fixed(row.difference, "+.4f"), _fixed(row.stderr, ".4f"),
            interval)


def _table(comparison: Comparison) -> str:
    """The rows, then what answered."""
    lines = [_COLUMNS, *map(_cells, comparison.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines]
    text.append("DIFFERENCE is to the first subject; of a perplexity, of its logarithm.")
    text += [f"{name}: arm {told['arm']}, policy {told['policy_id']} {told['policy_digest'][:12]}, "
             f"generations {told['first_generation']} to {told['last_generation']}"
             for name, told in comparison.answered.items()]
    return "\n".join(text)


def _found(manager: TaskManager, word: str) -> list[str]:
    """The tasks of a name or a pattern, or the file of one."""
    return manager.match_tasks([word]) or ([word] if os.path.isfile(word) else [])


def _tasks(include_path: str | None, words: Sequence[str]) -> tuple[TaskManager, list[str]]:
    """Of a folder alone where that has them all: to read lm-eval's own takes seconds.

    ValueError for what is neither a task nor the file of one.
    """
    wanted = [part for word in words for part in word.split(",")]
    if include_path is not None:
        manager = TaskManager(include_path=include_path, include_defaults=False)
        if all(_found(manager, word) for word in wanted):
            return manager, [task for word in wanted for task in _found(manager, word)]
    manager = TaskManager(include_path=include_path)
    for word in wanted:
        if not _found(manager, word):
            raise ValueError(f"--tasks: {word} is neither a task nor the file of one; "
                             "lm_eval ls tasks lists them")
    return manager, [task for word in wanted for task in _found(manager, word)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with a line that says why."""
    given = _parser().parse_args(arguments)
    shared: dict[str, Any] = {name: value for name in _MODEL_ARGUMENTS
                              if (value := getattr(given, name)) is not None}
    try:
        manager, tasks = _tasks(given.include_path, given.tasks)
        models = {each.name: OlmoeLM(**shared, policy=each.policy, arm=each.arm)
                  for each in subjects(given.policy, given.arm)}
        comparison = compare(
            models, tasks, seed=given.seed, limit=given.limit, num_fewshot=given.num_fewshot,
            task_manager=manager)
    except (errors.OlmoeError, ValueError, OSError) as error:
        print("\n".join([f"olmoe.lm_eval: {error}", *getattr(error, "__notes__", ())]),
              file=sys.stderr)
        return 1
    print(json.dumps(dataclasses.asdict(comparison), indent=2) if given.json
          else _table(comparison))
    return 0


if __name__ == "__main__":
    sys.exit(main())
