"""What a failed call raises: one class a kind of failure, with the server's details.

The server says with google.rpc messages which fields are wrong, why in one machine-readable
word, and when to try again; `OlmoeError` has them as attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2


@dataclasses.dataclass(frozen=True)
class Violation:
    """A field that the server refuses."""

    field: str  # as in the .proto: "policy.apply.top_k.k"
    description: str


@dataclasses.dataclass(frozen=True)
class Precondition:
    """What has to be true first."""

    kind: str  # "CALIBRATION_IN_USE"
    subject: str  # what it is about: a name
    description: str


class OlmoeError(Exception):
    """A call that failed.

    code: the name of the gRPC status, "NOT_FOUND".
    message: the server's sentence.
    reason: one word for programs, "GENERATION_MISMATCH", or the kind of the first precondition; ""
      where the server gave none.
    metadata: what belongs to the reason, {"current_generation": "7"}.
    violations: the fields that were refused, all at once.
    preconditions: what has to be true first.
    retry_after: seconds after which the same call may succeed; None: trying again is no use, or
      the server does not know.
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", reason: str = "",
                 metadata: dict[str, str] | None = None,
                 violations: tuple[Violation, ...] = (),
                 retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations
        self.preconditions: tuple[Precondition, ...] = ()
        self.retry_after = retry_after

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        lines = [f"{self.code}{reason}: {self.message}"]
        # The server's message lists the violations too, where it is not made by a proxy.
        lines += [f"  {violation.field}: {violation.description}" for violation in self.violations
                  if violation.description not in self.message]
        return "\n".join(lines)


class InvalidRequest(OlmoeError):
    """INVALID_ARGUMENT, OUT_OF_RANGE: the request itself; see `violations`."""


class NotFound(OlmoeError):
    """NOT_FOUND: no such generation, arm, calibration or router."""


class Conflict(OlmoeError):
    """ABORTED, FAILED_PRECONDITION, ALREADY_EXISTS: not as things are now; see `reason`."""


class PatchReplaced(Conflict):
    """The plan of an Admin.patched block was no longer current at its end: somebody else's is,
    and stays."""


class Busy(OlmoeError):
    """RESOURCE_EXHAUSTED: the queue is full, or the request needs more than there is.

    With `retry_after` waiting helps; without it, it does not.
    """


class Unauthenticated(OlmoeError):
    """UNAUTHENTICATED: no token, or one that the server does not know."""


class PermissionDenied(OlmoeError):
    """PERMISSION_DENIED: this token, this arm or an inline policy is not allowed."""


class Unavailable(OlmoeError):
    """UNAVAILABLE: not reachable, TLS that does not fit, or draining."""


class DeadlineExceeded(OlmoeError):
    """DEADLINE_EXCEEDED: the timeout of the call."""


class Cancelled(OlmoeError):
    """CANCELLED: by this client, or by the server as it went down."""


class Internal(OlmoeError):
    """Every other status: a defect of the server, or something between that is no server."""


_KINDS: dict[str, type[OlmoeError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ABORTED": Conflict,
    "FAILED_PRECONDITION": Conflict,
    "ALREADY_EXISTS": Conflict,
    "RESOURCE_EXHAUSTED": Busy,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "CANCELLED": Cancelled,
}
_DETAILS_KEY = "grpc-status-details-bin"


def make_error(code: str, message: str, details: bytes | None) -> OlmoeError:
    """The exception of a status; `details`: a serialized google.rpc.Status, if there is one."""
    status = status_pb2.Status()
    try:
        status.ParseFromString(details or b"")
    except Exception:  # pylint: disable=broad-except
        # Of something between that garbles trailers: the status is what counts.
        status.Clear()
    error = _KINDS.get(code, Internal)(message, code=code)
    for detail in status.details:
        _add_detail(error, detail)
    return error


def from_rpc_error(error: grpc.RpcError | grpc.aio.AioRpcError,
                   explain: Callable[[grpc.StatusCode, str], str]) -> OlmoeError:
    """The exception of a failed call, synchronous or not.

    explain: makes of code and message one that says what may be the reason.
    """
    code: grpc.StatusCode = error.code()
    trailers: Any = error.trailing_metadata() or ()
    packed = next((value for key, value in trailers if key == _DETAILS_KEY), None)
    return make_error(code.name, explain(code, error.details() or ""),
                      packed if isinstance(packed, bytes) else None)


def _add_detail(error: OlmoeError, detail: any_pb2.Any) -> None:
    bad_request = error_details_pb2.BadRequest()
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    failure = error_details_pb2.PreconditionFailure()
    if detail.Unpack(bad_request):
        error.violations += tuple(Violation(each.field, each.description)
                                  for each in bad_request.field_violations)
    elif detail.Unpack(info):
        error.reason = info.reason
        error.metadata = dict(info.metadata)
    elif detail.Unpack(retry):
        error.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    elif detail.Unpack(failure):
        error.preconditions += tuple(Precondition(each.type, each.subject, each.description)
                                     for each in failure.violations)
        error.reason = error.reason or next((each.kind for each in error.preconditions), "")
