"""The public port under asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from olmoe import _calls, _endpoint, _requests, errors, results
from olmoe._aio_calls import AsyncService, AsyncWatch
from olmoe._requests import Prompt, Sampling, Scoring
from olmoe.v1 import inference_pb2


class AsyncCompletionStream(AsyncWatch[results.Delta]):
    """A completion under way: an asynchronous iterator over its parts.

    Closing it, leaving its `async with` block or forgetting it cancels the completion. For one
    task.
    """

    def __init__(self, call: _calls.Call) -> None:
        self._parts = results.StreamParts()
        super().__init__(call, self._parts.add)

    @property
    def started(self) -> results.Started | None:
        """The stamp and the size of the prompt; None before the first part came."""
        return self._parts.started

    async def result(self) -> results.Completion:
        """The whole completion; reads what is left of the stream.

        Cancelled where the stream was closed before its end.
        """
        async for _ in self:
            pass
        if self._parts.result is None:
            raise errors.Cancelled("the stream was closed before its end", code="CANCELLED")
        return self._parts.result


class AsyncClient(AsyncService):
    """Client, under asyncio: the same arguments, calls and errors. For one event loop."""

    _port = _endpoint.PUBLIC

    async def generate(self, prompt: Prompt, max_new_tokens: int = 64,
                       **options: Unpack[Sampling]) -> results.Completion:
        """See Client.generate."""
        request = _requests.generate(prompt, max_new_tokens, options)
        return results.Completion.from_proto(
            await self._connection.call(_calls.GENERATE, request, options.get("timeout")))

    def stream(self, prompt: Prompt, max_new_tokens: int = 64,
               **options: Unpack[Sampling]) -> AsyncCompletionStream:
        """See Client.stream."""
        request = _requests.generate(prompt, max_new_tokens, options)
        return AsyncCompletionStream(
            self._connection.read(_calls.GENERATE_STREAM, request, options.get("timeout")))

    async def score(self, context: Prompt, continuation: Prompt,
                    **options: Unpack[Scoring]) -> results.Score:
        """See Client.score."""
        item = _requests.score_item(context, continuation)
        return (await self._score([item], options)).scores[0]

    async def score_rolling(self, text: Prompt, **options: Unpack[Scoring]) -> results.Score:
        """See Client.score_rolling."""
        return (await self._score([_requests.score_item(None, text)], options)).scores[0]

    async def score_batch(self, items: Sequence[tuple[Prompt | None, Prompt]],
                          **options: Unpack[Scoring]) -> results.ScoreBatch:
        """See Client.score_batch."""
        return await self._score(_requests.score_items(items), options)

    async def _score(self, items: list[inference_pb2.ScoreItem],
                     options: Scoring) -> results.ScoreBatch:
        request = _requests.score(items, options)
        return results.ScoreBatch.from_proto(
            await self._connection.call(_calls.SCORE, request, options.get("timeout")))

    async def tokenize(self, text: str, *, add_special_tokens: bool = False,
                       timeout: float | None = None) -> results.Tokens:
        """See Client.tokenize."""
        request = _requests.tokenize(text, add_special_tokens)
        return results.Tokens.from_proto(
            await self._connection.call(_calls.TOKENIZE, request, timeout))

    async def detokenize(self, ids: Sequence[int], *, skip_special_tokens: bool = False,
                         timeout: float | None = None) -> str:
        """See Client.detokenize."""
        request = _requests.detokenize(ids, skip_special_tokens)
        return (await self._connection.call(_calls.DETOKENIZE, request, timeout)).text

    async def model_info(self, *, timeout: float | None = None) -> results.ModelInfo:
        """See Client.model_info."""
        return results.ModelInfo.from_proto(await self._connection.call(
            _calls.MODEL_INFO, inference_pb2.GetModelInfoRequest(), timeout))
