"""What the admin calls return about plans, assignments, calibrations, routers and the server."""

from __future__ import annotations

import dataclasses
import datetime
import reprlib
import sys
from collections.abc import Sequence
from typing import Any

from google.protobuf import timestamp_pb2

from olmoe import _check, policies, results
from olmoe.v1 import admin_pb2


def utc(timestamp: timestamp_pb2.Timestamp) -> datetime.datetime:
    """With its time zone, UTC; microseconds."""
    return timestamp.ToDatetime(datetime.UTC)


@dataclasses.dataclass(frozen=True)
class PlanRecord:
    """A plan that was published."""

    generation: int  # 1, 2, 3, ...; survives restarts
    digest: str
    plan: policies.Experiment
    activate_time: datetime.datetime
    expire_time: datetime.datetime | None  # None = never
    actor: str  # who published it, by credential
    source: str  # "startup", "patch", "unpatch", "rollback", "expired", "file"
    in_flight_requests: int  # still pinned to it

    @classmethod
    def from_proto(cls, message: admin_pb2.PlanRecord) -> PlanRecord:
        """The record of a message."""
        expire_time = utc(message.expire_time) if message.HasField("expire_time") else None
        return cls(message.generation, message.digest,
                   policies.experiment_from_proto(message.plan), utc(message.activate_time),
                   expire_time, message.actor, message.source, message.in_flight_requests)


@dataclasses.dataclass(frozen=True)
class Routing:
    """What routes now."""

    current: PlanRecord
    draining: tuple[PlanRecord, ...]  # older generations that still have requests

    @classmethod
    def from_proto(cls, message: admin_pb2.GetRoutingResponse) -> Routing:
        """The routing of a message."""
        return cls(PlanRecord.from_proto(message.current),
                   tuple(PlanRecord.from_proto(each) for each in message.draining))


@dataclasses.dataclass(frozen=True)
class Probe(_check.Fields):
    """Runs each arm on a prompt before anything is published.

    text: <= 256 tokens; "" = a prompt of the server's.
    require_change: Conflict (PROBE_UNCHANGED) where an arm whose rule differs from the model's own
      gives bit-identical logits.
    """

    text: str = ""
    require_change: bool = False


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What an arm changes at the last position of the prompt."""

    arm: str
    max_abs_logit_difference: float  # against the model's own routing
    kl_divergence_nats: float  # model's own || arm
    top1_changed: bool
    mean_experts_per_token: float
    layers_covered: int  # routers that the policy applies to

    @classmethod
    def from_proto(cls, message: admin_pb2.ProbeResult) -> ProbeResult:
        """The result of a message."""
        return cls(message.arm_id, message.max_abs_logit_difference, message.kl_divergence_nats,
                   message.top1_changed, message.mean_experts_per_token, message.layers_covered)


@dataclasses.dataclass(frozen=True)
class PatchResult:
    """What a patch did."""

    current: PlanRecord  # after the call
    previous_generation: int
    in_flight_on_previous: int  # requests that go on with it
    swap_duration_s: float  # how long admission was blocked
    changed: bool  # False: validate_only, or the same plan again
    warnings: tuple[str, ...]
    probe_results: tuple[ProbeResult, ...]
    checked: PlanRecord | None = None  # validate_only: the plan that was checked

    @classmethod
    def from_proto(cls, message: admin_pb2.PatchRoutersResponse) -> PatchResult:
        """The result of a message."""
        return cls(PlanRecord.from_proto(message.current), message.previous_generation,
                   message.in_flight_on_previous, results.seconds(message.swap_duration),
                   message.changed, tuple(message.warnings),
                   tuple(ProbeResult.from_proto(each) for each in message.probe_results),
                   PlanRecord.from_proto(message.checked) if message.HasField("checked") else None)


@dataclasses.dataclass(frozen=True)
class RoutingEvent:
    """One of: a plan that is current, a generation that no request uses any more."""

    current: PlanRecord | None = None
    drained_generation: int | None = None

    @classmethod
    def from_proto(cls, message: admin_pb2.WatchRoutingResponse) -> RoutingEvent:
        """The event of a message."""
        if message.HasField("current"):
            return cls(current=PlanRecord.from_proto(message.current))
        return cls(drained_generation=message.drained_generation)


@dataclasses.dataclass(frozen=True)
class UnitAssignment:
    """The arm of a unit."""

    unit: str
    arm: str
    bucket: int  # 0..sum of weights - 1


@dataclasses.dataclass(frozen=True)
class LayerCdf(_check.Fields):
    """Router-logit distribution of one layer, at x0, x0 + dx, x0 + 2 dx, ..."""

    layer: int
    x0: float  # logit of the first point
    dx: float  # > 0
    cdf: Sequence[float] = ()  # [points], non-decreasing, in [0, 1], 2..65536 points
    survival: Sequence[float] = ()  # [points], 1 - cdf without its rounding; where set, it counts

    @staticmethod
    def checked(name: str, value: object) -> LayerCdf:
        """TypeError, naming it, where it is no LayerCdf."""
        return _check.instance(name, value, LayerCdf, "a LayerCdf")

    @classmethod
    def from_proto(cls, message: admin_pb2.LayerCdf) -> LayerCdf:
        """The table of a message."""
        return cls(message.layer, message.x0, message.dx, tuple(message.cdf),
                   tuple(message.survival))


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Tables of all layers under a name."""

    calibration_id: str
    digest: str
    num_layers: int
    tokens: int  # that it was built from; 0: imported
    trim_top: int  # highest logits of every token that were left out
    in_use: bool  # by the current plan or one that still has requests

    @classmethod
    def from_proto(cls, message: admin_pb2.CalibrationInfo) -> Calibration:
        """The calibration of a message."""
        return cls(message.calibration_id, message.digest, message.num_layers, message.tokens,
                   message.trim_top, message.in_use)


def _little_endian(name: str, value: Any) -> bytes:
    """Bytes as they are, and the values of an array of float32 in C order."""
    try:
        view = memoryview(value)
    except (TypeError, ValueError):
        view = None
    if view is None or view.format not in ("B", "b", "c", "f", "<f"):
        raise TypeError(f"{name} must be bytes or an array of float32, not {reprlib.repr(value)}")
    data = view.tobytes()
    if view.itemsize == 1 or sys.byteorder == "little" or view.format == "<f":
        return data
    return b"".join(data[i:i + 4][::-1] for i in range(0, len(data), 4))


def _dtype(name: str, value: object) -> str:
    if value not in ("float32", "bfloat16"):
        raise TypeError(f"{name} must be 'float32' or 'bfloat16', not {reprlib.repr(value)}")
    return str(value)


@dataclasses.dataclass(frozen=True)
class RouterLayer(_check.Fields):
    """Router weights of one layer, [num_experts][hidden_size]: model.layers.N.mlp.gate.weight.

    `weights` may be given as an array of float32, of numpy for one; it is kept as bytes.
    """

    layer: int  # 0-based
    weights: bytes = dataclasses.field(repr=False)  # row-major, little-endian, of `dtype`
    dtype: str = "float32"  # or "bfloat16"

    _checks = {"bytes": _little_endian, "str": _dtype}

    @staticmethod
    def checked(name: str, value: object) -> RouterLayer:
        """TypeError, naming it, where it is no RouterLayer."""
        return _check.instance(name, value, RouterLayer, "a RouterLayer")

    @property
    def float32(self) -> bytes:
        """The values as little-endian float32, exactly; for numpy.frombuffer(..., "<f4")."""
        if self.dtype == "float32":
            return self.weights
        wide = bytearray(2 * len(self.weights))  # a bfloat16 is the upper half of a float32
        wide[2::4] = self.weights[0::2]
        wide[3::4] = self.weights[1::2]
        return bytes(wide)

    def to_proto(self) -> admin_pb2.RouterLayer:
        """The message of it."""
        message = admin_pb2.RouterLayer(layer=self.layer)
        setattr(message, self.dtype, self.weights)
        return message

    @classmethod
    def from_proto(cls, message: admin_pb2.RouterLayer) -> RouterLayer:
        """The weights of a message."""
        dtype = message.WhichOneof("weight") or "float32"
        return cls(message.layer, getattr(message, dtype), dtype)


@dataclasses.dataclass(frozen=True)
class Router:
    """Router weights under a name."""

    router_id: str
    digest: str
    layers: tuple[int, ...]  # ascending; the model's own route the others
    in_use: bool  # by the current plan or one that still has requests

    @classmethod
    def from_proto(cls, message: admin_pb2.RouterInfo) -> Router:
        """The router of a message."""
        return cls(message.router_id, message.digest, tuple(message.layers), message.in_use)


@dataclasses.dataclass(frozen=True)
class RequestStatus:
    """A request that runs or waits."""

    request_id: str
    method: str
    generation: int
    arm: str
    prompt_tokens: int
    completion_tokens: int  # so far
    age_s: float


@dataclasses.dataclass(frozen=True)
class ServerStatus:
    """What the server is doing."""

    start_time: datetime.datetime
    running_requests: int
    queued_requests: int
    kv_cache_used_bytes: int
    kv_cache_capacity_bytes: int
    draining: bool
    requests: tuple[RequestStatus, ...]
    drain_time: datetime.datetime | None = None  # draining: since when
    prefix_cache_bytes: int = 0  # of the KV cache: prompts that are kept, in use or not
    cached_prompt_tokens: int = 0  # not computed again, since the start

    @classmethod
    def from_proto(cls, message: admin_pb2.GetServerStatusResponse) -> ServerStatus:
        """The status of a message."""
        requests = tuple(
            RequestStatus(each.request_id, each.method, each.routing.generation,
                          each.routing.arm_id, each.prompt_tokens, each.completion_tokens,
                          results.seconds(each.age)) for each in message.requests)
        return cls(utc(message.start_time), message.running_requests, message.queued_requests,
                   message.kv_cache_used_bytes, message.kv_cache_capacity_bytes, message.draining,
                   requests, utc(message.drain_time) if message.HasField("drain_time") else None,
                   message.prefix_cache_bytes, message.cached_prompt_tokens)
