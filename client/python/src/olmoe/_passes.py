"""One data set under one policy: requests in flight, and what their replies say."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import TypeVar

from olmoe import _check, errors
from olmoe._units import Item, Unit
from olmoe.client import Client
from olmoe.policies import Policy, PolicyLike, as_policy, policy_to_proto
from olmoe.results import ScoreBatch

T = TypeVar("T")

# The same as olmoectl's: so a plan of several arms gives both the same one.
_UNIT = "olmoectl-eval"
_MAX_REFUSALS = 100  # of one request in a row: then the server is not only busy


@dataclasses.dataclass(frozen=True)
class Subject:
    """A routing to evaluate; neither policy nor arm: what the server routes with."""

    name: str
    policy: Policy | None = None
    arm: str | None = None


def subjects(policies: Sequence[PolicyLike], arms: Sequence[str]) -> list[Subject]:
    """The policies, then the arms, each with a name; neither: what the server routes with.

    ValueError where two have one name.
    """
    listed: list[Policy] = _check.items("policies", policies, lambda name, each: as_policy(
        each, name), "policies")
    made = [Subject(policy_to_proto(policy).policy_id, policy=policy) for policy in listed]
    made += [Subject(f"arm {arm}", arm=arm) for arm in _check.texts("arms", arms)]
    names = [subject.name for subject in made]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'policies: two are called "{name}": give one a name, as in '
                             '"mine@top-k=4"')
    return made or [Subject("served")]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a unit gave."""

    nll: float  # nats; of a question: of its right continuation
    tokens: int  # predicted for it
    greedy: int  # of these, those that were the most likely token
    rows: int  # tokens run through the layers, contexts included
    activations: int  # (token, layer, expert) triples run
    correct: bool = False  # of a question: the likeliest continuation is right
    correct_norm: bool = False  # the same by log-probability per byte


def _read(batch: ScoreBatch, unit: Unit) -> Result | None:
    """None: a question that cannot be asked."""
    if any(score.error is not None for score in batch.scores):
        return None
    if len(batch.scores) != len(unit.items) or batch.usage.prompt_tokens <= unit.windows:
        raise errors.Internal("the server's reply does not have what was asked for",
                              code="INTERNAL")
    scored, correct, correct_norm = batch.scores[0], False, False
    if unit.question is not None:
        sums = [score.logprob_sum for score in batch.scores]
        sizes = [max(1, len(each.encode()) - each.startswith(" "))
                 for each in unit.question.continuations]
        norms = [total / size for total, size in zip(sums, sizes, strict=True)]
        scored = batch.scores[unit.question.label]
        correct = sums.index(max(sums)) == unit.question.label
        correct_norm = norms.index(max(norms)) == unit.question.label
    if scored.token_count == 0 or not math.isfinite(scored.logprob_sum):
        raise errors.Internal("the server's reply has no finite log-probabilities",
                              code="INTERNAL")
    # The last token of a sequence is predicted and never run.
    return Result(-scored.logprob_sum, scored.token_count,
                  sum(token.rank == 1 for token in scored.tokens),
                  batch.usage.prompt_tokens - unit.windows, batch.usage.expert_activations,
                  correct, correct_norm)


def patiently(call: Callable[[], T], over: threading.Event | None = None) -> T:
    """What `call` returns. A full server is asked again after the delay that it names.

    over: ends the waiting.
    """
    over = over or threading.Event()
    refusals = 0
    while True:
        try:
            return call()
        except errors.Busy as error:
            refusals += 1
            if error.retry_after is None or refusals > _MAX_REFUSALS or over.wait(
                    min(max(error.retry_after, 0.01), 5.0)):
                raise


def score(client: Client, subject: Subject, items: Sequence[Item],
          over: threading.Event | None = None) -> ScoreBatch:
    """A request under the subject, asked patiently."""
    return patiently(lambda: client.score_batch(
        items, per_token=True, unit=_UNIT, policy=subject.policy, arm=subject.arm), over)


class Pass:
    """One data set under one subject, once. `digest`: of the subject's policy."""

    def __init__(self, client: Client, subject: Subject, digest: str, name: str,
                 units: Sequence[Unit]) -> None:
        self._client = client
        self._subject = subject
        self._digest = digest
        self._name = name
        self._units = units
        self._over = threading.Event()

    def run(self, in_flight: int) -> list[Result | None]:
        """In the order of the units; None: a question that cannot be asked.

        The first error ends it; it names the unit. Conflict (ABORTED) where the subject's policy
        is another one meanwhile.
        """
        with futures.ThreadPoolExecutor(in_flight, "olmoe-evaluate") as threads:
            work = [threads.submit(self._one, index) for index in range(len(self._units))]
            try:
                return [each.result() for each in work]
            finally:
                self._over.set()
                threads.shutdown(cancel_futures=True)

    def _one(self, index: int) -> Result | None:
        unit = self._units[index]
        try:
            batch = score(self._client, self._subject, unit.items, self._over)
            if batch.stamp.policy_digest != self._digest:
                raise errors.Conflict("the server's routing has changed during the evaluation",
                                      code="ABORTED")
            return _read(batch, unit)
        except errors.OlmoeError as error:
            if error.reason == "CONTINUATION_MERGED":
                return None
            error.add_note(f"{self._name}, unit {index + 1} of {len(self._units)}, "
                           f"{self._subject.name}")
            raise
