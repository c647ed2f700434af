"""Connections and streams under asyncio: what _calls has, for one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from olmoe import _calls, errors
from olmoe._calls import A, Method, Q
from olmoe._endpoint import Endpoint, PortClient

T = TypeVar("T")


class AsyncConnection:
    """A channel to one port, with its calls. Failures are raised as OlmoeError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = (
            grpc.aio.insecure_channel(endpoint.target, endpoint.options())
            if endpoint.credentials is None
            else grpc.aio.secure_channel(endpoint.target, endpoint.credentials,
                                         endpoint.options()))

    async def close(self) -> None:
        """Ends every call that is under way."""
        await self._channel.close()

    async def call(self, method: Method[Q, A], request: Q, timeout: float | None = None, *,
                   repeatable: bool = True) -> A:
        """`repeatable`: sending it twice does no harm."""
        call = self._channel.unary_unary(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        retries = _calls.Retries(self._endpoint.retries if repeatable else 0,
                                 self._endpoint.limit(timeout))
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

    def read(self, method: Method[Q, A], request: Q, timeout: float | None = None) -> _calls.Call:
        """The call of a stream of answers; never sent again."""
        call = self._channel.unary_stream(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        return _calls.Call(call(request, timeout=self._endpoint.limit(timeout),
                                metadata=self._endpoint.metadata), self._endpoint)

    async def write(self, method: Method[Q, A], requests: Sequence[Q],
                    timeout: float | None = None) -> A:
        """A stream of requests with one answer; never sent again."""
        call = self._channel.stream_unary(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        try:
            return await call(iter(requests), timeout=self._endpoint.limit(timeout),
                              metadata=self._endpoint.metadata)
        except grpc.aio.AioRpcError as rpc_error:
            raise errors.from_rpc_error(rpc_error, self._endpoint.explain) from None


class AsyncService(PortClient):
    """What both clients of a port have under asyncio. For one event loop."""

    def _open(self, endpoint: Endpoint) -> None:
        self._connection = AsyncConnection(endpoint)

    async def close(self) -> None:
        """Ends the connection and every call that is under way."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    async def health(self, *, timeout: float | None = None) -> bool:
        """See Client.health."""
        request = health_pb2.HealthCheckRequest(service=self._port.service)
        answer = await self._connection.call(_calls.HEALTH, request, timeout)
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


class AsyncWatch(Generic[T]):
    """An asynchronous iterator over what the server tells.

    The call is cancelled when this is closed, left as a context manager or forgotten; iterating
    then ends. For one task.
    """

    def __init__(self, call: _calls.Call, convert: Callable[[Any], T | None]) -> None:
        """`convert`: what a message says; None: nothing to tell."""
        self._call = call
        self._messages = call.messages.__aiter__()
        self._convert = convert
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            while (told := self._convert(await self._messages.__anext__())) is None:
                pass
            return told
        except grpc.aio.AioRpcError as rpc_error:
            raise errors.from_rpc_error(rpc_error, self._call.endpoint.explain) from None
        except asyncio.CancelledError:
            if self._closed:
                raise StopAsyncIteration from None
            self.close()
            raise

    def close(self) -> None:
        """Cancels the call; no effect on one that has ended."""
        self._closed = True
        self._call.messages.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
