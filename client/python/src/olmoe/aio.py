"""The public port under asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, Unpack

import grpc
from grpc_health.v1 import health_pb2

from olmoe import _calls, _endpoint, _requests, errors, results
from olmoe._endpoint import Access, Endpoint, PathLike
from olmoe._requests import Prompt, Sampling, Scoring
from olmoe.v1 import inference_pb2


class AsyncCompletionStream:
    """A completion under way: an asynchronous iterator over its parts.

    Closing it, leaving its `async with` block or forgetting it cancels the completion. For one
    task.
    """

    def __init__(self, call: _calls.Call) -> None:
        self._call = call
        self._messages = call.messages.__aiter__()
        self._parts = results.StreamParts()
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> results.Delta:
        try:
            while (delta := self._parts.add(await self._messages.__anext__())) is None:
                pass
            return delta
        except grpc.aio.AioRpcError as rpc_error:
            raise errors.from_rpc_error(rpc_error, self._call.endpoint.explain) from None
        except asyncio.CancelledError:
            if self._closed:
                raise StopAsyncIteration from None
            self.close()
            raise

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

    def close(self) -> None:
        """Cancels the completion; no effect on one that has ended."""
        self._closed = True
        self._call.messages.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class AsyncClient:
    """Client, under asyncio: the same arguments, calls and errors. For one event loop."""

    def __init__(self, target: str | None = None, *, token: str | None = None,
                 token_file: PathLike | None = None, ca: PathLike | None = None,
                 cert: PathLike | None = None, key: PathLike | None = None,
                 tls: bool | None = None, timeout: float | None = None,
                 retries: int = 0) -> None:
        access = Access(token, token_file, ca, cert, key, tls)
        endpoint = Endpoint(_endpoint.PUBLIC, target, access, timeout=timeout, retries=retries)
        self._endpoint = endpoint
        self._channel = (
            grpc.aio.insecure_channel(endpoint.target, endpoint.options())
            if endpoint.credentials is None
            else grpc.aio.secure_channel(endpoint.target, endpoint.credentials,
                                         endpoint.options()))

    async def close(self) -> None:
        """Ends the connection and every call that is under way."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    async def _send(self, method: _calls.Method[_calls.Q, _calls.A], request: _calls.Q,
                    timeout: float | None = None) -> _calls.A:
        call = self._channel.unary_unary(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        retries = _calls.Retries(self._endpoint.retries, self._endpoint.limit(timeout))
        while True:
            try:
                return await call(request, timeout=retries.timeout(),
                                  metadata=self._endpoint.metadata)
            except grpc.aio.AioRpcError as rpc_error:
                error = errors.from_rpc_error(rpc_error, self._endpoint.explain)
            delay = retries.delay(error)
            if delay is None:
                raise error
            await asyncio.sleep(delay)

    async def generate(self, prompt: Prompt, max_new_tokens: int = 64,
                       **options: Unpack[Sampling]) -> results.Completion:
        """See Client.generate."""
        request = _requests.generate(prompt, max_new_tokens, options)
        return results.Completion.from_proto(
            await self._send(_calls.GENERATE, request, options.get("timeout")))

    def stream(self, prompt: Prompt, max_new_tokens: int = 64,
               **options: Unpack[Sampling]) -> AsyncCompletionStream:
        """See Client.stream."""
        request = _requests.generate(prompt, max_new_tokens, options)
        timeout = options.get("timeout")
        call = self._channel.unary_stream(
            _calls.GENERATE_STREAM.path,
            request_serializer=inference_pb2.GenerateRequest.SerializeToString,
            response_deserializer=inference_pb2.GenerateStreamResponse.FromString)
        return AsyncCompletionStream(_calls.Call(
            call(request, timeout=self._endpoint.limit(timeout), metadata=self._endpoint.metadata),
            self._endpoint))

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
            await self._send(_calls.SCORE, request, options.get("timeout")))

    async def tokenize(self, text: str, *, add_special_tokens: bool = False,
                       timeout: float | None = None) -> results.Tokens:
        """See Client.tokenize."""
        request = _requests.tokenize(text, add_special_tokens)
        return results.Tokens.from_proto(await self._send(_calls.TOKENIZE, request, timeout))

    async def detokenize(self, ids: Sequence[int], *, skip_special_tokens: bool = False,
                         timeout: float | None = None) -> str:
        """See Client.detokenize."""
        request = _requests.detokenize(ids, skip_special_tokens)
        return (await self._send(_calls.DETOKENIZE, request, timeout)).text

    async def model_info(self, *, timeout: float | None = None) -> results.ModelInfo:
        """See Client.model_info."""
        return results.ModelInfo.from_proto(await self._send(
            _calls.MODEL_INFO, inference_pb2.GetModelInfoRequest(), timeout))

    async def health(self, *, timeout: float | None = None) -> bool:
        """See Client.health."""
        request = health_pb2.HealthCheckRequest(service="olmoe.v1.InferenceService")
        answer = await self._send(_calls.HEALTH, request, timeout)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def wait_ready(self, timeout: float = 60.0) -> None:
        """See Client.wait_ready."""
        end = _calls.wait_end(timeout)
        problem = "it is not serving"
        while (left := end - time.monotonic()) > 0:
            try:
                if await self.health(timeout=left):
                    return
            except errors.Unavailable as error:
                problem = error.message
            await asyncio.sleep(max(0.0, min(_calls.READY_POLL_S, end - time.monotonic())))
        raise _calls.not_ready(timeout, problem)
