"""The admin port: patch routers, read what they do."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import duration_pb2

from olmoe import _calls, _check, _endpoint, experts, plans, policies
from olmoe._endpoint import Access, Endpoint, PathLike
from olmoe.patched import Patched, PatchStack
from olmoe.v1 import admin_pb2

# What is taken where a plan is asked for: a policy for all traffic, or arms.
Target = policies.PolicyLike | policies.Experiment


def _duration(name: str, seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(_check.seconds(name, seconds) * 1e9))
    return message


def _generation(name: str, generation: int | None) -> int | None:
    return None if generation is None else _check.integer(name, generation, bits=64)


class Admin(_calls.Service):
    """Calls of the admin port. Thread-safe; use it as a context manager or close it.

    The arguments are those of Client, with an admin's token. Only calls that can be sent twice
    without harm are sent again: all that read, `renew`, and `patch`, which has an idempotency key.
    Generations are those of PlanRecord; `expected_generation` makes a call a compare-and-swap:
    Conflict (GENERATION_MISMATCH) where another one is current. Durations are in seconds.
    """

    _health_name = "olmoe.v1.RoutingAdminService"

    def __init__(self, target: str | None = None, *, token: str | None = None,
                 token_file: PathLike | None = None, ca: PathLike | None = None,
                 cert: PathLike | None = None, key: PathLike | None = None,
                 tls: bool | None = None, timeout: float | None = None,
                 retries: int = 0) -> None:
        access = Access(token, token_file, ca, cert, key, tls)
        super().__init__(_calls.Connection(Endpoint(
            _endpoint.ADMIN, target, access, timeout=timeout, retries=retries)))
        self._patches = PatchStack()

    # ---- Plans

    def patch(self, target: Target, *, expected_generation: int | None = None,
              ttl: float | None = None, note: str = "", probe: plans.Probe | bool = False,
              idempotency_key: str | None = None, validate_only: bool = False,
              wait_for_drain: float | None = None,
              timeout: float | None = None) -> plans.PatchResult:
        """Changes the routers for all requests that are admitted from now on.

        target: a policy for all traffic, or an Experiment.
        ttl: 1 ms..10 years; when it ends, the plan before comes back. None: until it is replaced.
        note: <= 256 bytes, kept in the history; makes of a policy a plan of one arm, "default".
        probe: run each arm on a prompt first; True is Probe(). Conflict (PROBE_UNCHANGED): see
          there.
        idempotency_key: the same key with the same content gives the first answer again. None: a
          new one for each call of this method.
        validate_only: only check.
        wait_for_drain: wait, at most this long, until no request uses an older plan.
        InvalidRequest names every field that is wrong.
        """
        if idempotency_key is None:
            idempotency_key = "" if validate_only else str(uuid.uuid4())
        request = admin_pb2.PatchRoutersRequest(
            expected_generation=_generation("expected_generation", expected_generation),
            validate_only=_check.boolean("validate_only", validate_only),
            idempotency_key=_check.text("idempotency_key", idempotency_key),
            wait_for_drain=_duration("wait_for_drain", wait_for_drain))
        request.MergeFrom(_patch_request(target, ttl=ttl, note=note, probe=probe))
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.PATCH, request, timeout))

    def unpatch(self, *, expected_generation: int | None = None,
                wait_for_drain: float | None = None,
                timeout: float | None = None) -> plans.PatchResult:
        """Back to the model's own routing. Not patched: a warning in the result."""
        request = admin_pb2.UnpatchRoutersRequest(
            expected_generation=_generation("expected_generation", expected_generation),
            wait_for_drain=_duration("wait_for_drain", wait_for_drain))
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.UNPATCH, request, timeout, repeatable=False))

    def rollback(self, to_generation: int | None = None, *,
                 expected_generation: int | None = None, ttl: float | None = None,
                 timeout: float | None = None) -> plans.PatchResult:
        """Publishes the plan of an earlier generation again.

        to_generation: None = the newest kept before the current.
        ttl: seconds, as of a patch; None = the plan stays, and a warning tells of a ttl that is lost.
        NotFound where the generation is not kept,
        Conflict where a calibration or router that it uses is gone.
        """
        request = admin_pb2.RollbackRoutingRequest(
            to_generation=_generation("to_generation", to_generation),
            expected_generation=_generation("expected_generation", expected_generation),
            ttl=_duration("ttl", ttl))
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.ROLLBACK, request, timeout, repeatable=False))

    def renew(self, generation: int, ttl: float, *, timeout: float | None = None) -> None:
        """Lets the current plan live for `ttl` from now.

        Conflict where another one is current (GENERATION_MISMATCH), where it has no time to live
        (NO_TTL) or that has ended (EXPIRED).
        """
        request = admin_pb2.RenewRoutingRequest(
            generation=_check.integer("generation", generation, bits=64),
            ttl=_duration("ttl", _check.seconds("ttl", ttl)))
        self._connection.call(_calls.RENEW, request, timeout)

    def patched(self, target: Target, ttl: float = 60.0, *, note: str = "",
                probe: plans.Probe | bool = False) -> Patched:
        """A patch for the time of a `with` block: see Patched."""
        # What cannot be sent is told here, and not at the beginning of the block.
        _patch_request(target, ttl=_check.seconds("ttl", ttl), note=note, probe=probe)
        return Patched(self, self._patches, target, ttl, note=note, probe=probe)

    def routing(self, *, timeout: float | None = None) -> plans.Routing:
        """The current plan, and older ones that still have requests."""
        return plans.Routing.from_proto(
            self._connection.call(_calls.ROUTING, admin_pb2.GetRoutingRequest(), timeout))

    def history(self, *, page_size: int = 100,
                timeout: float | None = None) -> Iterator[plans.PlanRecord]:
        """All plans that are kept, newest first; read in pages of 1..100 as they are needed."""
        request = admin_pb2.ListRoutingHistoryRequest(
            page_size=_check.integer("page_size", page_size, least=1))
        return self._records(request, _check.wait("timeout", timeout))

    def _records(self, request: admin_pb2.ListRoutingHistoryRequest,
                 timeout: float | None) -> Iterator[plans.PlanRecord]:
        while True:
            page = self._connection.call(_calls.HISTORY, request, timeout)
            yield from map(plans.PlanRecord.from_proto, page.records)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def watch_routing(self, *,
                      timeout: float | None = None) -> _calls.Watch[plans.RoutingEvent]:
        """The current plan, then each change. Ends with Unavailable when the server drains."""
        call = self._connection.read(_calls.WATCH_ROUTING, admin_pb2.WatchRoutingRequest(),
                                     timeout)
        return _calls.Watch(call, plans.RoutingEvent.from_proto)

    def explain(self, units: Sequence[str], plan: policies.Experiment | None = None, *,
                timeout: float | None = None) -> tuple[plans.UnitAssignment, ...]:
        """The arms of <= 1000 units, under the current plan or another one; in their order."""
        request = admin_pb2.ExplainAssignmentRequest(unit_ids=_check.texts("units", units))
        if plan is not None:
            _check.instance("plan", plan, policies.Experiment, "an Experiment")
            request.plan.CopyFrom(policies.experiment_to_proto(plan))
        answer = self._connection.call(_calls.EXPLAIN, request, timeout)
        return tuple(plans.UnitAssignment(each.unit_id, each.arm_id, each.bucket)
                     for each in answer.assignments)

    # ---- Experts

    def expert_stats(self, *, since: experts.ExpertStats | str = "", arms: Sequence[str] = (),
                     layers: Iterable[int] = (), kinds: Sequence[experts.Decision] = (),
                     current_plan: bool = False, last: float | None = None,
                     timeout: float | None = None) -> experts.ExpertStats:
        """What the routers chose since an earlier answer, for a while, or since the server began.

        since: that answer, or its cursor; nothing is reset, so readers never disturb each other.
          Conflict (CURSOR_EXPIRED): begin anew without it.
        arms, layers, kinds: empty = all. InvalidRequest for an arm that neither the current plan has
          nor anything was counted of.
        current_plan: only what the policies of the current plan's arms counted.
        last: seconds, 1..86400, without since; about so far back, see start_time of the answer.
        """
        request = _stats_request(since, arms, layers, kinds)
        request.current_plan = _check.boolean("current_plan", current_plan)
        if (duration := _duration("last", last)) is not None:
            request.since.CopyFrom(duration)
        return experts.ExpertStats.from_proto(
            self._connection.call(_calls.EXPERT_STATS, request, timeout))

    def watch_expert_stats(self, interval: float = 1.0, *,
                           since: experts.ExpertStats | str = "", arms: Sequence[str] = (),
                           layers: Iterable[int] = (), kinds: Sequence[experts.Decision] = ()
                           ) -> _calls.Watch[experts.ExpertStats]:
        """The counts since `since` at once, then every interval, 0.1 s..1 h, those since the last.

        Together they are all that was counted. Ends with Unavailable when the server drains.
        """
        request = admin_pb2.WatchExpertStatsRequest(
            filter=_stats_request(since, arms, layers, kinds),
            interval=_duration("interval", _check.seconds("interval", interval)))
        call = self._connection.read(_calls.WATCH_EXPERT_STATS, request)
        return _calls.Watch(call, lambda message: experts.ExpertStats.from_proto(message.delta))

    # ---- Calibrations

    def calibrations(self, *, timeout: float | None = None) -> tuple[plans.Calibration, ...]:
        """All of them."""
        answer = self._connection.call(_calls.LIST_CALIBRATIONS,
                                       admin_pb2.ListCalibrationsRequest(), timeout)
        return tuple(map(plans.Calibration.from_proto, answer.calibrations))

    def build_calibration(self, calibration_id: str, *, texts: Sequence[str] = (),
                          live_tokens: int | None = None, arms: Sequence[str] = (),
                          trim_top: int = 0, timeout: float | None = None) -> plans.Calibration:
        """Tables from router logits.

        Either `texts`, 1..10000, under the model's own routing; or the next `live_tokens`, 1..1e9,
        of requests of `arms` (empty = all): then it returns when they are in.
        trim_top: leave the highest logits of every token out, 0..num_experts - 2.
        Conflict where other tables have that name.
        """
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
        answer = self._connection.call(_calls.BUILD_CALIBRATION, request, timeout,
                                       repeatable=False)
        return plans.Calibration.from_proto(answer.calibration)

    def get_calibration(self, calibration_id: str, *,
                        timeout: float | None = None) -> tuple[plans.LayerCdf, ...]:
        """The tables, one a layer. NotFound where there are none."""
        request = admin_pb2.GetCalibrationRequest(
            calibration_id=_check.text("calibration_id", calibration_id))
        call = self._connection.read(_calls.GET_CALIBRATION, request, timeout)
        return tuple(_calls.Watch(
            call, lambda message: plans.LayerCdf.from_proto(message.layer_cdf)))

    def put_calibration(self, calibration_id: str, layers: Iterable[plans.LayerCdf], *,
                        timeout: float | None = None) -> plans.Calibration:
        """Adds tables, every layer of the model once. The same again: no effect.

        Conflict where other tables have that name.
        """
        # Checked first: what an iterator of requests raises is lost in gRPC.
        name = _check.text("calibration_id", calibration_id)
        tables = _check.items("layers", layers, plans.LayerCdf.checked, "LayerCdf")

        def requests() -> Iterator[admin_pb2.PutCalibrationRequest]:
            for i, each in enumerate(tables):
                yield admin_pb2.PutCalibrationRequest(
                    calibration_id=name if i == 0 else "", layer_cdf=admin_pb2.LayerCdf(
                        layer=each.layer, x0=each.x0, dx=each.dx, cdf=each.cdf,
                        survival=each.survival))
        answer = self._connection.write(_calls.PUT_CALIBRATION, requests(), timeout)
        return plans.Calibration.from_proto(answer.calibration)

    def delete_calibration(self, calibration_id: str, *, timeout: float | None = None) -> None:
        """NotFound where there is none, Conflict (CALIBRATION_IN_USE) while a plan needs it."""
        request = admin_pb2.DeleteCalibrationRequest(
            calibration_id=_check.text("calibration_id", calibration_id))
        self._connection.call(_calls.DELETE_CALIBRATION, request, timeout, repeatable=False)

    # ---- Routers

    def list_routers(self, *, timeout: float | None = None) -> tuple[plans.Router, ...]:
        """All of them, beside the model's own."""
        answer = self._connection.call(_calls.LIST_ROUTERS, admin_pb2.ListRoutersRequest(),
                                       timeout)
        return tuple(map(plans.Router.from_proto, answer.routers))

    def get_router(self, router_id: str = "", *,
                   timeout: float | None = None) -> tuple[plans.RouterLayer, ...]:
        """The weights, one a layer; "" = the model's own. NotFound where there are none."""
        request = admin_pb2.GetRouterRequest(router_id=_check.text("router_id", router_id))
        call = self._connection.read(_calls.GET_ROUTER, request, timeout)
        return tuple(_calls.Watch(
            call, lambda message: plans.RouterLayer.from_proto(message.router_layer)))

    def put_router(self, router_id: str, layers: Iterable[plans.RouterLayer], *,
                   timeout: float | None = None) -> plans.Router:
        """Adds weights of some layers, none twice; policies name them as their `router`.

        The same again: no effect. Conflict where other weights have that name.
        """
        name = _check.text("router_id", router_id)
        weights = _check.items("layers", layers, plans.RouterLayer.checked, "RouterLayer")

        def requests() -> Iterator[admin_pb2.PutRouterRequest]:
            for i, each in enumerate(weights):
                yield admin_pb2.PutRouterRequest(router_id=name if i == 0 else "",
                                                 router_layer=each.to_proto())
        answer = self._connection.write(_calls.PUT_ROUTER, requests(), timeout)
        return plans.Router.from_proto(answer.router)

    def delete_router(self, router_id: str, *, timeout: float | None = None) -> None:
        """NotFound where there is none, Conflict (ROUTER_IN_USE) while a plan needs it."""
        request = admin_pb2.DeleteRouterRequest(router_id=_check.text("router_id", router_id))
        self._connection.call(_calls.DELETE_ROUTER, request, timeout, repeatable=False)

    # ---- Server

    def server_status(self, *, timeout: float | None = None) -> plans.ServerStatus:
        """What the server is doing."""
        return plans.ServerStatus.from_proto(self._connection.call(
            _calls.SERVER_STATUS, admin_pb2.GetServerStatusRequest(), timeout))

    def drain(self, grace: float = 0.0, *, timeout: float | None = None) -> int:
        """No new requests; those that were accepted have `grace` to finish.

        Returns how many had to be aborted.
        """
        request = admin_pb2.DrainRequest(grace=_duration("grace", _check.seconds("grace", grace)))
        return self._connection.call(_calls.DRAIN, request, timeout,
                                     repeatable=False).aborted_requests


def _patch_request(target: Target, *, ttl: float | None, note: str,
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
