"""The admin port: patch routers, read what they do."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf import duration_pb2

from olmoe import _calls, experts, plans, policies
from olmoe.patched import Patched, PatchStack
from olmoe.v1 import admin_pb2

# What is taken where a plan is asked for: a policy for all traffic, or arms.
Target = policies.PolicyLike | policies.Experiment


def _duration(seconds: float | None) -> duration_pb2.Duration | None:
    if seconds is None:
        return None
    message = duration_pb2.Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


class Admin(_calls.Service):
    """Calls of the admin port. Thread-safe; use it as a context manager or close it.

    The arguments are those of Client, with an admin's token. Only calls that can be sent twice
    without harm are sent again: all that read, `renew`, and `patch`, which has an idempotency key.
    Generations are those of PlanRecord; `expected_generation` makes a call a compare-and-swap:
    Conflict (GENERATION_MISMATCH) where another one is current. Durations are in seconds.
    """

    _health_name = "olmoe.v1.RoutingAdminService"

    def __init__(self, target: str = "127.0.0.1:50052", *, token: str | None = None,
                 ca: _calls.PathLike | None = None, cert: _calls.PathLike | None = None,
                 key: _calls.PathLike | None = None, tls: bool = False,
                 timeout: float | None = None, retries: int = 0) -> None:
        access = _calls.Access(token, ca, cert, key, tls)
        super().__init__(_calls.Connection(target, access, timeout, retries))
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
            expected_generation=expected_generation, validate_only=validate_only,
            idempotency_key=idempotency_key, ttl=_duration(ttl),
            wait_for_drain=_duration(wait_for_drain))
        _set_target(request, target, note)
        if probe:
            chosen = plans.Probe() if isinstance(probe, bool) else probe
            request.probe.CopyFrom(admin_pb2.Probe(text=chosen.text,
                                                   require_change=chosen.require_change))
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.PATCH, request, timeout))

    def unpatch(self, *, expected_generation: int | None = None,
                wait_for_drain: float | None = None,
                timeout: float | None = None) -> plans.PatchResult:
        """Back to the model's own routing. Not patched: a warning in the result."""
        request = admin_pb2.UnpatchRoutersRequest(expected_generation=expected_generation,
                                                  wait_for_drain=_duration(wait_for_drain))
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.UNPATCH, request, timeout, repeatable=False))

    def rollback(self, to_generation: int | None = None, *,
                 expected_generation: int | None = None,
                 timeout: float | None = None) -> plans.PatchResult:
        """Publishes the plan of an earlier generation again, without its ttl.

        None: the newest kept before the current. NotFound where the generation is not kept,
        Conflict where a calibration that it uses is gone.
        """
        request = admin_pb2.RollbackRoutingRequest(to_generation=to_generation,
                                                   expected_generation=expected_generation)
        return plans.PatchResult.from_proto(
            self._connection.call(_calls.ROLLBACK, request, timeout, repeatable=False))

    def renew(self, generation: int, ttl: float, *, timeout: float | None = None) -> None:
        """Lets the current plan live for `ttl` from now.

        Conflict where another one is current (GENERATION_MISMATCH), where it has no time to live
        (NO_TTL) or that has ended (EXPIRED).
        """
        request = admin_pb2.RenewRoutingRequest(generation=generation, ttl=_duration(ttl))
        self._connection.call(_calls.RENEW, request, timeout)

    def patched(self, target: Target, ttl: float = 60.0, *, note: str = "",
                probe: plans.Probe | bool = False) -> Patched:
        """A patch for the time of a `with` block: see Patched."""
        return Patched(self, self._patches, target, ttl, note=note, probe=probe)

    def routing(self, *, timeout: float | None = None) -> plans.Routing:
        """The current plan, and older ones that still have requests."""
        return plans.Routing.from_proto(
            self._connection.call(_calls.ROUTING, admin_pb2.GetRoutingRequest(), timeout))

    def history(self, *, page_size: int = 100,
                timeout: float | None = None) -> Iterator[plans.PlanRecord]:
        """All plans that are kept, newest first; read in pages of 1..100 as they are needed."""
        request = admin_pb2.ListRoutingHistoryRequest(page_size=page_size)
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
        request = admin_pb2.ExplainAssignmentRequest(unit_ids=units)
        if plan is not None:
            request.plan.CopyFrom(policies.experiment_to_proto(plan))
        answer = self._connection.call(_calls.EXPLAIN, request, timeout)
        return tuple(plans.UnitAssignment(each.unit_id, each.arm_id, each.bucket)
                     for each in answer.assignments)

    # ---- Experts

    def expert_stats(self, *, since: experts.ExpertStats | str = "", arms: Sequence[str] = (),
                     layers: Iterable[int] = (), kinds: Sequence[experts.Decision] = (),
                     timeout: float | None = None) -> experts.ExpertStats:
        """What the routers chose since an earlier answer, or since the server began.

        since: that answer, or its cursor; nothing is reset, so readers never disturb each other.
          Conflict (CURSOR_EXPIRED): begin anew without it.
        arms, layers, kinds: empty = all.
        """
        request = _stats_request(since, arms, layers, kinds)
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
            filter=_stats_request(since, arms, layers, kinds), interval=_duration(interval))
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
        request = admin_pb2.BuildCalibrationRequest(calibration_id=calibration_id,
                                                    trim_top=trim_top)
        if (live_tokens is None) == (not texts):
            raise ValueError("texts or live_tokens: one of the two")
        if live_tokens is None:
            request.texts.CopyFrom(admin_pb2.BuildCalibrationRequest.Texts(texts=texts))
        else:
            request.live.CopyFrom(admin_pb2.BuildCalibrationRequest.LiveTokens(
                tokens=live_tokens, arm_ids=arms))
        answer = self._connection.call(_calls.BUILD_CALIBRATION, request, timeout,
                                       repeatable=False)
        return plans.Calibration.from_proto(answer.calibration)

    def get_calibration(self, calibration_id: str, *,
                        timeout: float | None = None) -> tuple[plans.LayerCdf, ...]:
        """The tables, one a layer. NotFound where there are none."""
        request = admin_pb2.GetCalibrationRequest(calibration_id=calibration_id)
        call = self._connection.read(_calls.GET_CALIBRATION, request, timeout)
        return tuple(_calls.Watch(
            call, lambda message: plans.LayerCdf.from_proto(message.layer_cdf)))

    def put_calibration(self, calibration_id: str, layers: Iterable[plans.LayerCdf], *,
                        timeout: float | None = None) -> plans.Calibration:
        """Adds tables, every layer of the model once. The same again: no effect.

        Conflict where other tables have that name.
        """
        def requests() -> Iterator[admin_pb2.PutCalibrationRequest]:
            name = calibration_id
            for each in layers:
                yield admin_pb2.PutCalibrationRequest(
                    calibration_id=name, layer_cdf=admin_pb2.LayerCdf(
                        layer=each.layer, x0=each.x0, dx=each.dx, cdf=each.cdf,
                        survival=each.survival))
                name = ""
        answer = self._connection.write(_calls.PUT_CALIBRATION, requests(), timeout)
        return plans.Calibration.from_proto(answer.calibration)

    def delete_calibration(self, calibration_id: str, *, timeout: float | None = None) -> None:
        """NotFound where there is none, Conflict (CALIBRATION_IN_USE) while a plan needs it."""
        request = admin_pb2.DeleteCalibrationRequest(calibration_id=calibration_id)
        self._connection.call(_calls.DELETE_CALIBRATION, request, timeout, repeatable=False)

    # ---- Server

    def server_status(self, *, timeout: float | None = None) -> plans.ServerStatus:
        """What the server is doing."""
        return plans.ServerStatus.from_proto(self._connection.call(
            _calls.SERVER_STATUS, admin_pb2.GetServerStatusRequest(), timeout))

    def drain(self, grace: float = 0.0, *, timeout: float | None = None) -> int:
        """No new requests; those that were accepted have `grace` to finish.

        Returns how many had to be aborted.
        """
        request = admin_pb2.DrainRequest(grace=_duration(grace))
        return self._connection.call(_calls.DRAIN, request, timeout,
                                     repeatable=False).aborted_requests


def _set_target(request: admin_pb2.PatchRoutersRequest, target: Target, note: str) -> None:
    if not isinstance(target, policies.Experiment):
        if not note:
            request.policy.CopyFrom(policies.policy_to_proto(target))
            return
        target = policies.Experiment({"default": policies.Arm(target)})
    request.plan.CopyFrom(policies.experiment_to_proto(target))
    request.plan.note = note or target.note


def _stats_request(since: experts.ExpertStats | str, arms: Sequence[str], layers: Iterable[int],
                   kinds: Sequence[experts.Decision]) -> admin_pb2.GetExpertStatsRequest:
    cursor = since if isinstance(since, str) else since.cursor
    return admin_pb2.GetExpertStatsRequest(
        arm_ids=arms, layers=layers, kinds=[f"DECISION_KIND_{kind.name}" for kind in kinds],
        since_cursor=cursor)
