"""The calls of the API and the connections that they go over."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from olmoe import _check, errors
from olmoe._endpoint import Endpoint, PortClient
from olmoe.v1 import admin_pb2 as admin
from olmoe.v1 import inference_pb2 as inference

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Method(Generic[Q, A]):
    """A call: its path, and the types of its messages."""

    path: str
    request: type[Q]
    answer: type[A]


_INFERENCE = "/olmoe.v1.InferenceService/"
_ADMIN = "/olmoe.v1.RoutingAdminService/"

GENERATE = Method(_INFERENCE + "Generate", inference.GenerateRequest, inference.GenerateResponse)
GENERATE_STREAM = Method(_INFERENCE + "GenerateStream", inference.GenerateRequest,
                         inference.GenerateStreamResponse)
SCORE = Method(_INFERENCE + "Score", inference.ScoreRequest, inference.ScoreResponse)
TOKENIZE = Method(_INFERENCE + "Tokenize", inference.TokenizeRequest, inference.TokenizeResponse)
DETOKENIZE = Method(_INFERENCE + "Detokenize", inference.DetokenizeRequest,
                    inference.DetokenizeResponse)
MODEL_INFO = Method(_INFERENCE + "GetModelInfo", inference.GetModelInfoRequest,
                    inference.GetModelInfoResponse)
HEALTH = Method("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest,
                health_pb2.HealthCheckResponse)

PATCH = Method(_ADMIN + "PatchRouters", admin.PatchRoutersRequest, admin.PatchRoutersResponse)
UNPATCH = Method(_ADMIN + "UnpatchRouters", admin.UnpatchRoutersRequest,
                 admin.PatchRoutersResponse)
ROLLBACK = Method(_ADMIN + "RollbackRouting", admin.RollbackRoutingRequest,
                  admin.PatchRoutersResponse)
RENEW = Method(_ADMIN + "RenewRouting", admin.RenewRoutingRequest, admin.RenewRoutingResponse)
ROUTING = Method(_ADMIN + "GetRouting", admin.GetRoutingRequest, admin.GetRoutingResponse)
HISTORY = Method(_ADMIN + "ListRoutingHistory", admin.ListRoutingHistoryRequest,
                 admin.ListRoutingHistoryResponse)
WATCH_ROUTING = Method(_ADMIN + "WatchRouting", admin.WatchRoutingRequest,
                       admin.WatchRoutingResponse)
EXPLAIN = Method(_ADMIN + "ExplainAssignment", admin.ExplainAssignmentRequest,
                 admin.ExplainAssignmentResponse)
EXPERT_STATS = Method(_ADMIN + "GetExpertStats", admin.GetExpertStatsRequest,
                      admin.GetExpertStatsResponse)
WATCH_EXPERT_STATS = Method(_ADMIN + "WatchExpertStats", admin.WatchExpertStatsRequest,
                            admin.WatchExpertStatsResponse)
BUILD_CALIBRATION = Method(_ADMIN + "BuildCalibration", admin.BuildCalibrationRequest,
                           admin.BuildCalibrationResponse)
PUT_CALIBRATION = Method(_ADMIN + "PutCalibration", admin.PutCalibrationRequest,
                         admin.PutCalibrationResponse)
GET_CALIBRATION = Method(_ADMIN + "GetCalibration", admin.GetCalibrationRequest,
                         admin.GetCalibrationResponse)
LIST_CALIBRATIONS = Method(_ADMIN + "ListCalibrations", admin.ListCalibrationsRequest,
                           admin.ListCalibrationsResponse)
DELETE_CALIBRATION = Method(_ADMIN + "DeleteCalibration", admin.DeleteCalibrationRequest,
                            admin.DeleteCalibrationResponse)
PUT_ROUTER = Method(_ADMIN + "PutRouter", admin.PutRouterRequest, admin.PutRouterResponse)
GET_ROUTER = Method(_ADMIN + "GetRouter", admin.GetRouterRequest, admin.GetRouterResponse)
LIST_ROUTERS = Method(_ADMIN + "ListRouters", admin.ListRoutersRequest, admin.ListRoutersResponse)
DELETE_ROUTER = Method(_ADMIN + "DeleteRouter", admin.DeleteRouterRequest,
                       admin.DeleteRouterResponse)
SERVER_STATUS = Method(_ADMIN + "GetServerStatus", admin.GetServerStatusRequest,
                       admin.GetServerStatusResponse)
DRAIN = Method(_ADMIN + "Drain", admin.DrainRequest, admin.DrainResponse)

class Retries:
    """When a call that may be sent again is. One for each call; not thread-safe.

    At most `count` times, where the server says when (RetryInfo) or cannot be reached, and only
    while `timeout` seconds for all attempts together are not over.
    """

    def __init__(self, count: int, timeout: float | None) -> None:
        self._left = count
        self._attempts = 0
        self._end = None if timeout is None else time.monotonic() + timeout

    def timeout(self) -> float | None:
        """Of the next attempt, seconds."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def delay(self, error: errors.OlmoeError) -> float | None:
        """How long to wait before the next attempt, seconds; None: there is none."""
        again = error.retry_after is not None or isinstance(error, errors.Unavailable)
        if self._left == 0 or not again:
            return None
        self._left -= 1
        self._attempts += 1
        backoff = min(0.1 * 2 ** (self._attempts - 1), 5.0) * random.uniform(1.0, 1.5)
        delay = max(backoff, error.retry_after or 0.0)
        left = self.timeout()
        return None if left is not None and delay >= left else delay


@dataclasses.dataclass(frozen=True)
class Call:
    """A stream that comes, and where from."""

    messages: Any
    endpoint: Endpoint


class Connection:
    """A channel to one port, with its calls. Failures are raised as OlmoeError.

    Thread-safe.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = (
            grpc.insecure_channel(endpoint.target, endpoint.options())
            if endpoint.credentials is None
            else grpc.secure_channel(endpoint.target, endpoint.credentials, endpoint.options()))

    def close(self) -> None:
        """Ends every call that is under way."""
        self._channel.close()

    def call(self, method: Method[Q, A], request: Q, timeout: float | None = None, *,
             repeatable: bool = True) -> A:
        """`repeatable`: sending it twice does no harm."""
        call = self._channel.unary_unary(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        retries = Retries(self._endpoint.retries if repeatable else 0,
                          self._endpoint.limit(timeout))
        while True:
            try:
                return call(request, timeout=retries.timeout(), metadata=self._endpoint.metadata)
            except grpc.RpcError as rpc_error:
                error = errors.from_rpc_error(rpc_error, self._endpoint.explain)
            delay = retries.delay(error)
            if delay is None:
                raise error
            time.sleep(delay)

    def read(self, method: Method[Q, A], request: Q, timeout: float | None = None) -> Call:
        """The call of a stream of answers; never sent again."""
        call = self._channel.unary_stream(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        return Call(call(request, timeout=self._endpoint.limit(timeout),
                         metadata=self._endpoint.metadata), self._endpoint)

    def write(self, method: Method[Q, A], requests: Iterator[Q],
              timeout: float | None = None) -> A:
        """A stream of requests with one answer; never sent again."""
        call = self._channel.stream_unary(
            method.path, request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString)
        try:
            return call(requests, timeout=self._endpoint.limit(timeout),
                        metadata=self._endpoint.metadata)
        except grpc.RpcError as rpc_error:
            raise errors.from_rpc_error(rpc_error, self._endpoint.explain) from None


class Service(PortClient):
    """What both clients of a port have: a connection to close, and its health. Thread-safe."""

    def _open(self, endpoint: Endpoint) -> None:
        self._connection = Connection(endpoint)

    def close(self) -> None:
        """Ends the connection and every call that is under way."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def health(self, *, timeout: float | None = None) -> bool:
        """Whether the server takes requests. Needs no token. Unavailable: not reachable."""
        request = health_pb2.HealthCheckRequest(service=self._port.service)
        answer = self._connection.call(HEALTH, request, timeout)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Returns when the server takes requests. DeadlineExceeded after `timeout` seconds."""
        end = wait_end(timeout)
        problem = "it is not serving"
        while (left := end - time.monotonic()) > 0:
            try:
                if self.health(timeout=left):
                    return
            except errors.Unavailable as error:
                problem = error.message
            time.sleep(max(0.0, min(READY_POLL_S, end - time.monotonic())))
        raise not_ready(timeout, problem)


READY_POLL_S = 0.1


def wait_end(timeout: float) -> float:
    """When a wait is over, on the monotonic clock."""
    longest = _check.wait("timeout", timeout)
    return math.inf if longest is None else time.monotonic() + longest


def not_ready(timeout: float, problem: str) -> errors.DeadlineExceeded:
    """What wait_ready raises."""
    return errors.DeadlineExceeded(f"not ready after {timeout:g} s: {problem}",
                                   code="DEADLINE_EXCEEDED")


class Watch(Generic[T]):
    """An iterator over what the server tells.

    The call is cancelled when this is closed, left as a context manager or forgotten; iterating
    then ends. One thread iterates; any may close.
    """

    def __init__(self, call: Call, convert: Callable[[Any], T | None]) -> None:
        """`convert`: what a message says; None: nothing to tell."""
        self._call = call
        self._convert = convert
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            while (told := self._convert(next(self._call.messages))) is None:
                pass
            return told
        except grpc.RpcError as rpc_error:
            if self._closed:
                raise StopIteration from None
            raise errors.from_rpc_error(rpc_error, self._call.endpoint.explain) from None

    def close(self) -> None:
        """Cancels the call; no effect on one that has ended."""
        self._closed = True
        self._call.messages.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
