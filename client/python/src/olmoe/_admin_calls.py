"""The calls of both admin clients: what is sent, and what the answer becomes. Pure."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf import duration_pb2
from google.protobuf.message import Message

from olmoe import _calls, _check, experts, plans, policies
from olmoe._calls import Method
from olmoe.v1 import admin_pb2

T = TypeVar("T")

# What is taken where a plan is asked for: a policy for all traffic, or arms.
Target = policies.PolicyLike | policies.Experiment


@dataclasses.dataclass(frozen=True)
class Ask(Generic[T]):
    """A call that can be made: `read` makes of its answer what the method returns."""

    method: Method[Any, Any]
    request: Message
    read: Callable[[Any], T]
    repeatable: bool = True  # sending it twice does no harm


@dataclasses.dataclass(frozen=True)
class AskStream(Generic[T]):
    """The same of a stream of answers; None: the message tells nothing."""

    method: Method[Any, Any]
    request: Message
    read: Callable[[Any], T | None]


@dataclasses.dataclass(frozen=True)
class SendStream(Generic[T]):
    """The same of a stream of requests, all of them made before the first is sent."""

    method: Method[Any, Any]
    requests: Sequence[Message]
    read: Callable[[Any], T]


def _nothing(_: object) -> None:
    """What a method returns whose answer says nothing."""


def _duration(name: str, seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(_check.seconds(name, seconds) * 1e9))
    return message


def _generation(name: str, generation: int | None) -> int | None:
    return None if generation is None else _check.integer(name, generation, bits=64)


# ---- Plans

def patch(target: Target, *, expected_generation: int | None, ttl: float | None, note: str,
          probe: plans.Probe | bool, idempotency_key: str | None, validate_only: bool,
          wait_for_drain: float | None
          ) -> Ask[plans.PatchResult]:
    """See Admin.patch."""
    if idempotency_key is None:
        idempotency_key = "" if validate_only else str(uuid.uuid4())
    request = admin_pb2.PatchRoutersRequest(
        expected_generation=_generation("expected_generation", expected_generation),
        validate_only=_check.boolean("validate_only", validate_only),
        idempotency_key=_check.text("idempotency_key", idempotency_key),
        wait_for_drain=_duration("wait_for_drain", wait_for_drain))
    request.MergeFrom(patch_request(target, ttl=ttl, note=note, probe=probe))
    return Ask(_calls.PATCH, request, plans.PatchResult.from_proto)


def patch_request(target: Target, *, ttl: float | None, note: str,
                  probe: plans.Probe | bool) -> admin_pb2.PatchRoutersRequest:
    """What every patch says."""
    request = admin_pb2.PatchRoutersRequest(ttl=_duration("ttl", ttl))
    _set_target(request, target, _check.text("note", note))
    if isinstance(probe, bool):
        probe_or_none = plans.Probe() if probe else None
    else:
        probe_or_none = _check.instance("probe", probe, plans.Probe, "a Probe, True or False")
    if probe_or_none is not None:
        request.probe.CopyFrom(admin_pb2.Probe(text=probe_or_none.text,
                                               require_change=probe_or_none.require_change))
    return request


def _set_target(request: admin_pb2.PatchRoutersRequest, target: Target, note: str) -> None:
    if not isinstance(target, policies.Experiment):
        policy = policies.as_policy(target, "target")
        if not note:
            request.policy.CopyFrom(policies.policy_to_proto(policy))
            return
        target = policies.Experiment({"default": policies.Arm(policy)})
    request.plan.CopyFrom(policies.experiment_to_proto(target))
    request.plan.note = note or target.note


def unpatch(expected_generation: int | None, wait_for_drain: float | None
            ) -> Ask[plans.PatchResult]:
    """See Admin.unpatch."""
    request = admin_pb2.UnpatchRoutersRequest(
        expected_generation=_generation("expected_generation", expected_generation),
        wait_for_drain=_duration("wait_for_drain", wait_for_drain))
    return Ask(_calls.UNPATCH, request, plans.PatchResult.from_proto, repeatable=False)


def rollback(to_generation: int | None, expected_generation: int | None, ttl: float | None
             ) -> Ask[plans.PatchResult]:
    """See Admin.rollback."""
    request = admin_pb2.RollbackRoutingRequest(
        to_generation=_generation("to_generation", to_generation),
        expected_generation=_generation("expected_generation", expected_generation),
        ttl=_duration("ttl", ttl))
    return Ask(_calls.ROLLBACK, request, plans.PatchResult.from_proto, repeatable=False)


def renew(generation: int, ttl: float
          ) -> Ask[None]:
    """See Admin.renew."""
    request = admin_pb2.RenewRoutingRequest(
        generation=_check.integer("generation", generation, bits=64),
        ttl=_duration("ttl", _check.seconds("ttl", ttl)))
    return Ask(_calls.RENEW, request, _nothing)


def routing() -> Ask[plans.Routing]:
    """See Admin.routing."""
    return Ask(_calls.ROUTING, admin_pb2.GetRoutingRequest(), plans.Routing.from_proto)


def history(page_size: int) -> admin_pb2.ListRoutingHistoryRequest:
    """The first page of Admin.history."""
    return admin_pb2.ListRoutingHistoryRequest(
        page_size=_check.integer("page_size", page_size, least=1))


def history_page(request: admin_pb2.ListRoutingHistoryRequest
                 ) -> Ask[tuple[list[plans.PlanRecord], str]]:
    """A page, and the token of the next one; "" for the last."""
    return Ask(_calls.HISTORY, request, lambda page: (
        list(map(plans.PlanRecord.from_proto, page.records)), page.next_page_token))


def watch_routing() -> AskStream[plans.RoutingEvent]:
    """See Admin.watch_routing."""
    return AskStream(_calls.WATCH_ROUTING, admin_pb2.WatchRoutingRequest(),
                     plans.RoutingEvent.from_proto)


def explain(units: Sequence[str], plan: policies.Experiment | None
            ) -> Ask[tuple[plans.UnitAssignment, ...]]:
    """See Admin.explain."""
    request = admin_pb2.ExplainAssignmentRequest(unit_ids=_check.texts("units", units))
    if plan is not None:
        _check.instance("plan", plan, policies.Experiment, "an Experiment")
        request.plan.CopyFrom(policies.experiment_to_proto(plan))
    return Ask(_calls.EXPLAIN, request, lambda answer: tuple(
        plans.UnitAssignment(each.unit_id, each.arm_id, each.bucket)
        for each in answer.assignments))


# ---- Experts

def expert_stats(since: experts.ExpertStats | str, arms: Sequence[str], layers: Iterable[int],
                 kinds: Sequence[experts.Decision], *, current_plan: bool, last: float | None
                 ) -> Ask[experts.ExpertStats]:
    """See Admin.expert_stats."""
    request = _stats_request(since, arms, layers, kinds)
    request.current_plan = _check.boolean("current_plan", current_plan)
    if (duration := _duration("last", last)) is not None:
        request.since.CopyFrom(duration)
    return Ask(_calls.EXPERT_STATS, request, experts.ExpertStats.from_proto)


def watch_expert_stats(interval: float, since: experts.ExpertStats | str, arms: Sequence[str],
                       layers: Iterable[int], kinds: Sequence[experts.Decision]
                       ) -> AskStream[experts.ExpertStats]:
    """See Admin.watch_expert_stats."""
    request = admin_pb2.WatchExpertStatsRequest(
        filter=_stats_request(since, arms, layers, kinds),
        interval=_duration("interval", _check.seconds("interval", interval)))
    return AskStream(_calls.WATCH_EXPERT_STATS, request,
                     lambda message: experts.ExpertStats.from_proto(message.delta))


def _stats_request(since: experts.ExpertStats | str, arms: Sequence[str], layers: Iterable[int],
                   kinds: Sequence[experts.Decision]) -> admin_pb2.GetExpertStatsRequest:
    if not isinstance(since, str):
        since = _check.instance("since", since, experts.ExpertStats,
                                "an ExpertStats or its cursor").cursor
    decisions = _check.items("kinds", kinds, experts.checked_decision, "Decision")
    return admin_pb2.GetExpertStatsRequest(
        arm_ids=_check.texts("arms", arms), layers=_check.integers("layers", layers),
        kinds=[f"DECISION_KIND_{kind.name}" for kind in decisions],
        since_cursor=_check.text("since", since))


# ---- Calibrations

def calibrations() -> Ask[tuple[plans.Calibration, ...]]:
    """See Admin.calibrations."""
    return Ask(_calls.LIST_CALIBRATIONS, admin_pb2.ListCalibrationsRequest(),
               lambda answer: tuple(map(plans.Calibration.from_proto, answer.calibrations)))


def build_calibration(calibration_id: str, *, texts: Sequence[str], live_tokens: int | None,
                      arms: Sequence[str], trim_top: int
                      ) -> Ask[plans.Calibration]:
    """See Admin.build_calibration."""
    request = admin_pb2.BuildCalibrationRequest(
        calibration_id=_check.text("calibration_id", calibration_id),
        trim_top=_check.integer("trim_top", trim_top))
    listed, arm_ids = _check.texts("texts", texts), _check.texts("arms", arms)
    if (live_tokens is None) == (not listed):
        raise ValueError("texts or live_tokens: one of the two")
    if live_tokens is None:
        if arm_ids:
            raise ValueError("arms: with live_tokens only, texts are run by the model alone")
        request.texts.CopyFrom(admin_pb2.BuildCalibrationRequest.Texts(texts=listed))
    else:
        request.live.CopyFrom(admin_pb2.BuildCalibrationRequest.LiveTokens(
            tokens=_check.integer("live_tokens", live_tokens, bits=64), arm_ids=arm_ids))
    return Ask(_calls.BUILD_CALIBRATION, request, _calibration, repeatable=False)


def _calibration(answer: Any) -> plans.Calibration:
    return plans.Calibration.from_proto(answer.calibration)


def get_calibration(calibration_id: str
                    ) -> AskStream[plans.LayerCdf]:
    """See Admin.get_calibration."""
    request = admin_pb2.GetCalibrationRequest(
        calibration_id=_check.text("calibration_id", calibration_id))
    return AskStream(_calls.GET_CALIBRATION, request,
                     lambda message: plans.LayerCdf.from_proto(message.layer_cdf))


def put_calibration(calibration_id: str, layers: Iterable[plans.LayerCdf]
                    ) -> SendStream[plans.Calibration]:
    """See Admin.put_calibration."""
    name = _check.text("calibration_id", calibration_id)
    tables = _check.items("layers", layers, plans.LayerCdf.checked, "LayerCdf")
    return SendStream(_calls.PUT_CALIBRATION, [
        admin_pb2.PutCalibrationRequest(
            calibration_id=name if i == 0 else "", layer_cdf=admin_pb2.LayerCdf(
                layer=each.layer, x0=each.x0, dx=each.dx, cdf=each.cdf, survival=each.survival))
        for i, each in enumerate(tables)], _calibration)


def delete_calibration(calibration_id: str
                       ) -> Ask[None]:
    """See Admin.delete_calibration."""
    request = admin_pb2.DeleteCalibrationRequest(
        calibration_id=_check.text("calibration_id", calibration_id))
    return Ask(_calls.DELETE_CALIBRATION, request, _nothing, repeatable=False)


# ---- Routers

def list_routers() -> Ask[tuple[plans.Router, ...]]:
    """See Admin.list_routers."""
    return Ask(_calls.LIST_ROUTERS, admin_pb2.ListRoutersRequest(),
               lambda answer: tuple(map(plans.Router.from_proto, answer.routers)))


def get_router(router_id: str) -> AskStream[plans.RouterLayer]:
    """See Admin.get_router."""
    request = admin_pb2.GetRouterRequest(router_id=_check.text("router_id", router_id))
    return AskStream(_calls.GET_ROUTER, request,
                     lambda message: plans.RouterLayer.from_proto(message.router_layer))


def put_router(router_id: str, layers: Iterable[plans.RouterLayer]) -> SendStream[plans.Router]:
    """See Admin.put_router."""
    name = _check.text("router_id", router_id)
    weights = _check.items("layers", layers, plans.RouterLayer.checked, "RouterLayer")
    return SendStream(_calls.PUT_ROUTER, [
        admin_pb2.PutRouterRequest(router_id=name if i == 0 else "",
                                   router_layer=each.to_proto())
        for i, each in enumerate(weights)],
        lambda answer: plans.Router.from_proto(answer.router))


def delete_router(router_id: str) -> Ask[None]:
    """See Admin.delete_router."""
    request = admin_pb2.DeleteRouterRequest(router_id=_check.text("router_id", router_id))
    return Ask(_calls.DELETE_ROUTER, request, _nothing, repeatable=False)


# ---- Server

def server_status() -> Ask[plans.ServerStatus]:
    """See Admin.server_status."""
    return Ask(_calls.SERVER_STATUS, admin_pb2.GetServerStatusRequest(),
               plans.ServerStatus.from_proto)


def drain(grace: float) -> Ask[int]:
    """See Admin.drain."""
    request = admin_pb2.DrainRequest(grace=_duration("grace", _check.seconds("grace", grace)))
    return Ask(_calls.DRAIN, request, lambda answer: answer.aborted_requests,
               repeatable=False)
