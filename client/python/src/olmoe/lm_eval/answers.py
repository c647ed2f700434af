"""Calls under one routing, and which routing answered them."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Self

from olmoe import _check, _optional, errors
from olmoe._passes import Subject
from olmoe._requests import Sampling
from olmoe._units import Item, prefix_token
from olmoe.client import Client
from olmoe.results import ModelInfo, Score, Stamp

with _optional.extra("lm-eval"):
    from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text

# What Generate takes of them; the rest is cut off here, which gives the same text.
_MAX_STOPS = 64
_MAX_STOP_BYTES = 256

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
             "frequency_penalty", "seed")


@dataclasses.dataclass(frozen=True)
class Continuation:
    """A request of generate_until."""

    context: str
    until: tuple[str, ...]
    max_new_tokens: int
    sampling: Sampling

    @classmethod
    def of(cls, context: str, kwargs: Mapping[str, Any], max_gen_toks: int, seed: int) -> Self:
        """Of what a task gives. ValueError for what the server does not do.

        max_gen_toks: where the task does not say how many.
        """
        given = dict(normalize_gen_kwargs(dict(kwargs), max_gen_toks))
        given.pop("do_sample")
        until = [each for each in given.pop("until") or () if each]
        tokens = given.pop("max_gen_toks")
        unknown = [name for name in given if name not in _SAMPLING]
        if unknown:
            raise ValueError(f"generation_kwargs: {', '.join(unknown)}: the model olmoe has until, "
                             f"max_gen_toks, do_sample, {', '.join(_SAMPLING)}")
        sampling: Any = {"temperature": 0.0, "seed": seed, **given}
        return cls(context, tuple(_check.texts("until", until)), tokens, sampling)

    def stops(self) -> list[str]:
        """Those that the server can look for."""
        return [each for each in self.until if len(each.encode()) <= _MAX_STOP_BYTES][:_MAX_STOPS]

    def prompt(self, ids: Sequence[int], model: ModelInfo) -> tuple[int, ...]:
        """The last tokens of the context that leave room for the new ones; never none."""
        room = model.max_context - self.max_new_tokens
        if room < 1:
            raise ValueError(f"max_gen_toks must be less than the model's context of "
                             f"{model.max_context} tokens, is {self.max_new_tokens}")
        return tuple(ids[-room:]) or (prefix_token(model),)


class Answers:
    """The calls of one evaluation, all under one routing, and the stamps of their replies.

    Thread-safe.
    """

    def __init__(self, client: Client, model: ModelInfo, subject: Subject, unit: str) -> None:
        self._client = client
        self._model = model
        self._routing: Any = {"policy": subject.policy, "arm": subject.arm, "unit": unit}
        self._prefix = prefix_token(model)
        self._prefix_text = client.detokenize([self._prefix])
        self._lock = threading.Lock()
        self._first: Stamp | None = None
        self._generations: set[int] = set()

    def score(self, items: Sequence[Item]) -> tuple[Score, ...]:
        """InvalidRequest where an item cannot be scored; Conflict (ABORTED) where another arm or
        policy answers than before."""
        batch = self._client.score_batch(items, **self._routing)
        self._keep(batch.stamp)
        for (context, continuation), score in zip(items, batch.scores, strict=True):
            if score.error is not None:
                error = errors.InvalidRequest(score.error, code="INVALID_ARGUMENT")
                error.add_note(f"context {context!r}, continuation {continuation!r}")
                raise error
        return batch.scores

    def pair(self, context: str, continuation: str) -> Item:
        """What lm-eval scores: a text without context that begins with the prefix token has that
        for its context, instead of two of them."""
        if context or not continuation.startswith(self._prefix_text):
            return context, continuation
        ids = self._client.tokenize(continuation).ids
        return ids[:1], ids[1:]

    def generate(self, asked: Continuation) -> str:
        """The continuation up to its first stop; Conflict as of `score`."""
        prompt = asked.prompt(self._client.tokenize(asked.context).ids, self._model)
        options: Any = {**asked.sampling, **self._routing, "stop": asked.stops()}
        reply = self._client.generate(prompt, asked.max_new_tokens, **options)
        self._keep(reply.stamp)
        text: str = postprocess_generated_text(reply.text, list(asked.until), None)
        return text

    def _keep(self, stamp: Stamp) -> None:
        with self._lock:
            first = self._first = self._first or stamp
            self._generations.add(stamp.generation)
        if (stamp.arm, stamp.policy_digest) != (first.arm, first.policy_digest):
            raise errors.Conflict(
                f"the routing has changed during the evaluation: arm {first.arm} with policy "
                f"{first.policy_id} ({first.policy_digest[:12]}) answered in generation "
                f"{first.generation}, arm {stamp.arm} with policy {stamp.policy_id} "
                f"({stamp.policy_digest[:12]}) in generation {stamp.generation}", code="ABORTED")

    def told(self) -> dict[str, Any]:
        """Arm and policy of the replies, and between which generations they came."""
        with self._lock:
            first, generations = self._first, sorted(self._generations)
        if first is None:
            return {}
        return {"arm": first.arm, "policy_id": first.policy_id,
                "policy_digest": first.policy_digest, "first_generation": generations[0],
                "last_generation": generations[-1], "generations": len(generations)}


def calls(pairs: Sequence[Item], size: int, most: int) -> list[list[Item]]:
    """What goes into one Score call each: `size` items, or, up to `most`, those after one another
    whose context is equal."""
    made: list[list[Item]] = []
    for pair in pairs:
        last = made[-1] if made else []
        same = bool(last) and pair[0] is not None and last[-1][0] == pair[0]
        if last and len(last) < (most if same else size):
            last.append(pair)
        else:
            made.append([pair])
    return made
