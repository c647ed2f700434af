"""How texts and questions become requests; the windows are those of `olmoectl eval`."""

from __future__ import annotations

import dataclasses
import math

from olmoe import _check
from olmoe.client import Client
from olmoe.corpus import Corpus, Question
from olmoe.results import ModelInfo

Tokens = tuple[int, ...]
Item = tuple[Tokens | str | None, Tokens | str]  # context and continuation, as of score_batch


@dataclasses.dataclass(frozen=True)
class Unit:
    """One request: a window, a document or a question."""

    items: tuple[Item, ...]
    windows: int  # sequences that the server makes of it
    question: Question | None = None


def cut_windows(tokens: int, window: int, stride: int,
                limit: int = 0) -> list[tuple[int, int, int]]:
    """(begin, first, end) of each window of a stream of tokens, at most `limit` (0 = all).

    It runs [begin, end - 1) and predicts [first, end): those that no window before predicted.
    """
    windows: list[tuple[int, int, int]] = []
    begin, first = 0, 1
    while first < tokens and (limit == 0 or len(windows) < limit):
        end = min(begin + window + 1, tokens)
        windows.append((begin, first, end))
        first = end
        begin += stride
    return windows


def prefix_token(model: ModelInfo) -> int:
    """Stands before a text without context."""
    return next((each for each in (model.eos_token_id, model.pad_token_id)
                 if each < model.vocab_size), 0)


@dataclasses.dataclass(frozen=True)
class Cutting:
    """How many tokens a unit has."""

    window: int  # 0: documents by themselves
    stride: int  # 1..window
    limit: int  # units of a data set; 0: all

    @classmethod
    def checked(cls, window: int, stride: int | None, limit: int) -> Cutting:
        """TypeError or ValueError names the argument."""
        window, limit = _check.integer("window", window), _check.integer("limit", limit)
        stride = _check.optional(_check.integer, "stride", stride, least=1)
        if stride is not None and not window:
            raise ValueError(f"stride must come with a window, is {stride}")
        if stride is not None and stride > window:
            raise ValueError(f"stride must be at most the window of {window}, is {stride}")
        return cls(window, stride or window, limit)

    def units(self, client: Client, model: ModelInfo, corpus: Corpus) -> list[Unit]:
        """ValueError where nothing is left to predict."""
        if corpus.questions:
            units = [Unit(tuple((question.context, each) for each in question.continuations),
                          len(question.continuations), question)
                     for question in corpus.questions[:self.limit or None]]
        elif self.window:
            stream = self._stream(client, model, corpus)
            units = [Unit(((stream[begin:first], stream[first:end]),), 1) for begin, first, end
                     in cut_windows(len(stream), self.window, self.stride, self.limit)]
        else:
            units = self._documents(client, model, corpus)
        if not units:
            raise ValueError(f"data: {corpus.name}: has no token to predict")
        return units

    def _stream(self, client: Client, model: ModelInfo, corpus: Corpus) -> Tokens:
        """END, then documents followed by END, as far as the limit needs it."""
        end = prefix_token(model)
        enough = (self.limit - 1) * self.stride + self.window + 1 if self.limit else math.inf
        stream = [end]
        for document in corpus.documents:
            if len(stream) >= enough:
                break
            stream += [*client.tokenize(document).ids, end]
        return tuple(stream if len(stream) <= enough else stream[:int(enough)])

    def _documents(self, client: Client, model: ModelInfo, corpus: Corpus) -> list[Unit]:
        units: list[Unit] = []
        for document in corpus.documents:
            if self.limit and len(units) == self.limit:
                break
            if tokens := client.tokenize(document).ids:
                units.append(Unit(((None, tokens),), -(-len(tokens) // model.max_context)))
        return units
