"""Tasks of lm-eval under several policies or arms, compared document by document."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from olmoe import _bootstrap, _check, _optional
from olmoe.lm_eval.model import OlmoeLM

with _optional.extra("lm-eval"):
    import lm_eval


@dataclasses.dataclass(frozen=True)
class PairedRow:
    """A metric of a task under one subject. None: does not apply."""

    task: str
    metric: str
    filter: str  # lm-eval's; "none" for most tasks
    subject: str
    documents: int
    value: float | None  # as lm-eval reports it
    # To the first subject, the mean over documents. Of a perplexity: of its logarithm, nats per
    # word, byte or document. None for the first, and for metrics that are no mean over documents.
    difference: float | None
    stderr: float | None  # of the difference, paired; None for fewer than two documents
    difference_low: float | None  # 95% paired bootstrap interval
    difference_high: float | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` measured."""

    rows: tuple[PairedRow, ...]  # of each task and metric the subjects, in their order
    answered: Mapping[str, Mapping[str, Any]]  # by subject: arm, policy, generations, model


# A document's contribution to a metric: (amount, weight); the metric is a function of the sum of
# the one over the sum of the other.
_Part = tuple[float, float]


def _loss(value: Sequence[float]) -> _Part:
    log_likelihood, weight = value
    return -log_likelihood, weight


# Metrics whose values are no plain numbers to be averaged.
_PARTS: dict[str, Callable[[Any], _Part]] = {
    "word_perplexity": _loss,
    "byte_perplexity": _loss,
    "bits_per_byte": lambda value: (-value[0] / math.log(2), value[1]),
    "perplexity": lambda value: (-value, 1.0),
}


def _part(metric: str, value: Any) -> _Part | None:
    """None: a metric of the whole task, such as a correlation."""
    if metric in _PARTS:
        return _PARTS[metric](value)
    try:
        return float(value), 1.0
    except (TypeError, ValueError):
        return None


_Documents = dict[int, dict[str, Any]]  # lm-eval's samples by doc_id


def _by_filter(samples: Sequence[dict[str, Any]]) -> dict[str, _Documents]:
    filters: dict[str, _Documents] = {}
    for sample in samples:
        filters.setdefault(sample["filter"], {})[sample["doc_id"]] = sample
    return filters


def _difference(metric: str, first: _Documents, mine: _Documents,
                seed: int) -> tuple[float | None, ...]:
    """(mean, standard error, low, high)"""
    differences, weights = [], []
    for document, before in first.items():
        after = mine[document]
        if before["doc_hash"] != after["doc_hash"]:
            raise ValueError(f"document {document} is not the same for all subjects: does the task "
                             "choose at random?")
        old, new = _part(metric, before[metric]), _part(metric, after[metric])
        if old is None or new is None:
            return None, None, None, None
        differences.append(new[0] - old[0])
        weights.append(new[1])
    low, high = _bootstrap.interval(differences, weights, seed) or (None, None)
    return (_bootstrap.mean(differences, weights),
            _bootstrap.standard_error(differences, weights), low, high)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _rows(results: Mapping[str, Any], seed: int) -> list[PairedRow]:
    rows = []
    first = next(iter(results.values()))
    for task, samples in first["samples"].items():
        for name, documents in _by_filter(samples).items():
            for metric in next(iter(documents.values()))["metrics"]:
                for subject, result in results.items():
                    mine = _by_filter(result["samples"][task])[name]
                    difference: tuple[float | None, ...] = (None,) * 4
                    if result is not first:
                        difference = _difference(metric, documents, mine, seed)
                    rows.append(PairedRow(
                        task, metric, name, subject, len(mine),
                        _number(result["results"][task].get(f"{metric},{name}")), *difference))
    return rows


def compare(models: Mapping[str, OlmoeLM], tasks: Sequence[str], *, seed: int = 1,
            **options: Any) -> Comparison:
    """Runs the tasks under each of the models and compares the others with the first.

    models: by name, each with an arm or a policy of its own.
    seed: of the bootstrap, 0..2^64 - 1.
    options: lm_eval.simple_evaluate's, such as limit, num_fewshot and task_manager.

    Errors are lm-eval's and those of the calls; Conflict (ABORTED) where the routing of a subject
    changed meanwhile.
    """
    seed = _check.integer("seed", seed, bits=64)
    results = {}
    for name, model in models.items():
        _check.instance(f"models[{name!r}]", model, OlmoeLM, "an OlmoeLM")
        results[name] = lm_eval.simple_evaluate(
            model=model, tasks=list(tasks), bootstrap_iters=0, log_samples=True, **options)
    answered = {name: model.get_model_info()["olmoe"] for name, model in models.items()}
    return Comparison(tuple(_rows(results, seed)), answered)
