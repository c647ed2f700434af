"""Routing policies by perplexity and accuracy: `olmoectl eval` from Python, number for number."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from olmoe import _check
from olmoe._passes import Pass, Result, Subject, score, subjects
from olmoe._units import Cutting, prefix_token
from olmoe.client import Client
from olmoe.corpus import Corpus
from olmoe.policies import PolicyLike
from olmoe.results import ModelInfo

if TYPE_CHECKING:
    import pandas

Data = str | os.PathLike[str] | Corpus

_MAX_IN_FLIGHT = 32


@dataclasses.dataclass(frozen=True)
class EvaluationRow:
    """One data set under one policy. None: does not apply."""

    data: str
    policy: str
    policy_digest: str
    kind: str  # "text", "multiple_choice"
    units: int  # windows, documents or questions
    skipped: int  # questions left out: a continuation merges into the context
    tokens: int  # predicted; of questions: of the right continuations
    loss: float  # nats per predicted token
    perplexity: float | None
    token_accuracy: float | None  # share of tokens that were the most likely one
    acc: float | None  # share of questions whose likeliest continuation is right
    acc_norm: float | None  # the same by log-probability per byte
    experts_per_token: float  # in a layer
    activations_per_token: float  # experts run for a token in all layers
    tokens_per_second: float
    difference: float | None  # of loss (text) or acc, to the first policy
    difference_low: float | None  # 95% paired bootstrap interval; None for fewer than two units
    difference_high: float | None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured."""

    model: ModelInfo
    window: int
    stride: int
    limit: int
    seed: int
    rows: tuple[EvaluationRow, ...]  # of each data set the policies, in their order

    def to_frame(self) -> pandas.DataFrame:
        """A row for each data set and policy. ImportError without pandas (`olmoe[analysis]`)."""
        from olmoe import frames
        return frames.of_evaluation(self)


def _corpora(data: Data | Iterable[Data], lines: bool) -> list[Corpus]:
    def corpus(name: str, each: Data) -> Corpus:
        if not isinstance(each, str | os.PathLike | Corpus):
            raise TypeError(f"{name} must be a path or a Corpus, not {each!r}")
        return each if isinstance(each, Corpus) else Corpus.read(each, lines=lines)
    if isinstance(data, str | os.PathLike | Corpus):
        return [corpus("data", data)]
    return _check.items("data", data, corpus, "paths or Corpus")


@dataclasses.dataclass(frozen=True)
class _Sums:
    """The units of a pass together, those that could be asked."""

    results: list[Result]
    skipped: int
    seconds: float

    @classmethod
    def of(cls, corpus: Corpus, results: Sequence[Result | None], seconds: float) -> _Sums:
        """ValueError where there is none."""
        asked = [each for each in results if each is not None]
        if not asked:
            raise ValueError(f"data: {corpus.name}: no question can be asked: of each a "
                             "continuation merges into its context, so it has no token to score")
        return cls(asked, len(results) - len(asked), seconds)

    def total(self, name: str) -> float:
        """One by one, in order: the same bits as olmoectl's. Exact where it counts."""
        total = 0.0
        for each in self.results:
            total += getattr(each, name)
        return total


def _difference(first: _Sums, mine: _Sums, choice: bool,
                seed: int) -> tuple[float, float | None, float | None]:
    """(mean, low, high), to the first policy."""
    from olmoe import _bootstrap
    pairs = list(zip(first.results, mine.results, strict=True))
    weights = [1.0 if choice else float(each.tokens) for _, each in pairs]
    differences = [float(each.correct) - float(before.correct) if choice
                   else each.nll - before.nll for before, each in pairs]
    low, high = _bootstrap.interval(differences, weights, seed) or (None, None)
    return _bootstrap.mean(differences, weights), low, high


def _row(model: ModelInfo, corpus: Corpus, subject: Subject, digest: str, first: _Sums,
         mine: _Sums, seed: int) -> EvaluationRow:
    choice = bool(corpus.questions)
    units, tokens, rows = len(mine.results), mine.total("tokens"), mine.total("rows")
    loss, activations = mine.total("nll") / tokens, mine.total("activations") / rows
    difference, low, high = (None, None, None) if mine is first else _difference(
        first, mine, choice, seed)
    return EvaluationRow(
        data=corpus.name, policy=subject.name, policy_digest=digest,
        kind="multiple_choice" if choice else "text", units=units, skipped=mine.skipped,
        tokens=int(tokens), loss=loss, perplexity=None if choice else math.exp(loss),
        token_accuracy=None if choice else mine.total("greedy") / tokens,
        acc=mine.total("correct") / units if choice else None,
        acc_norm=mine.total("correct_norm") / units if choice else None,
        experts_per_token=activations / model.num_layers, activations_per_token=activations,
        tokens_per_second=rows / mine.seconds, difference=difference, difference_low=low,
        difference_high=high)


def evaluate(client: Client, data: Data | Iterable[Data], policies: Sequence[PolicyLike] = (), *,
             arms: Sequence[str] = (), window: int = 0, stride: int | None = None, limit: int = 0,
             lines: bool = False, in_flight: int = 8, seed: int = 1) -> Evaluation:
    """Compares policies on texts and questions; nothing is patched.

    The numbers are those of `olmoectl eval` with the same arguments: docs/guide/evaluation.md says
    which tokens are predicted, and what the numbers mean.

    data: files, or a Corpus each.
    policies: the others are compared with the first. They go with the requests:
      PermissionDenied unless the server allows it. Neither policies nor arms: what the server
      routes with.
    arms: of the server's plan, which must allow it; they come after the policies.
    window: tokens of a window, at most the model's context; 0: each document by itself.
    stride: tokens from one window to the next, 1..window; None: the window.
    limit: only the first of each data set's windows, documents or questions; 0: all.
    lines: every line of a text file is a document.
    in_flight: requests at a time, 1..32.
    seed: of the bootstrap, 0..2^64 - 1.

    Errors are those of the calls, and name the unit; Conflict (ABORTED) where the routing of a
    policy changed meanwhile. Differences need numpy (`olmoe[analysis]`).
    """
    _check.instance("client", client, Client, "a Client")
    cutting = Cutting.checked(window, stride, limit)
    listed = subjects(policies, arms)
    seed = _check.integer("seed", seed, bits=64)
    in_flight = _check.integer("in_flight", in_flight, least=1)
    if in_flight > _MAX_IN_FLIGHT:
        raise ValueError(f"in_flight must be 1..{_MAX_IN_FLIGHT}, is {in_flight}")
    corpora = _corpora(data, _check.boolean("lines", lines))
    if len(listed) > 1:
        from olmoe import _bootstrap  # noqa: F401  What is absent is told before hours are spent.
    model = client.model_info()
    if cutting.window > model.max_context:
        raise ValueError(f"window must be at most the model's context of {model.max_context} "
                         f"tokens, is {window}")
    # A policy that the server refuses is told first, too.
    digests = [score(client, subject, [((), (prefix_token(model),))]).stamp.policy_digest
               for subject in listed]
    rows = []
    for corpus in corpora:
        units = cutting.units(client, model, corpus)
        first = None
        for subject, digest in zip(listed, digests, strict=True):
            start = time.monotonic()
            results = Pass(client, subject, digest, corpus.name, units).run(in_flight)
            sums = _Sums.of(corpus, results, time.monotonic() - start)
            first = first or sums
            rows.append(_row(model, corpus, subject, digest, first, sums, seed))
    return Evaluation(model, cutting.window, cutting.stride, cutting.limit, seed, tuple(rows))
