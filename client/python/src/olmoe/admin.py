"""The admin port: patch routers, read what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Self, TypeVar

from olmoe import _admin_calls, _calls, _check, _endpoint, experts, plans, policies
from olmoe._admin_calls import Target
from olmoe._endpoint import Endpoint
from olmoe.patched import Patched, PatchStack
from olmoe.v1 import admin_pb2

T = TypeVar("T")


class Admin(_calls.Service):
    """Calls of the admin port. Thread-safe; use it as a context manager or close it.

    The arguments are those of Client, with an admin's token. Only calls that can be sent twice
    without harm are sent again: all that read, `renew`, and `patch`, which has an idempotency key.
    Generations are those of PlanRecord; `expected_generation` makes a call a compare-and-swap:
    Conflict (GENERATION_MISMATCH) where another one is current. Durations are in seconds.
    """

    _port = _endpoint.ADMIN

    @classmethod
    def _over(cls, endpoint: Endpoint) -> Self:
        """With a connection of its own to the endpoint of another client."""
        admin = cls.__new__(cls)
        admin._open(endpoint)
        return admin

    def _open(self, endpoint: Endpoint) -> None:
        super()._open(endpoint)
        self._patches = PatchStack()

    def _ask(self, ask: _admin_calls.Ask[T], timeout: float | None) -> T:
        return ask.read(self._connection.call(ask.method, ask.request, timeout,
                                              repeatable=ask.repeatable))

    def _watch(self, ask: _admin_calls.AskStream[T],
               timeout: float | None = None) -> _calls.Watch[T]:
        return _calls.Watch(self._connection.read(ask.method, ask.request, timeout), ask.read)

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
        return self._ask(_admin_calls.patch(
            target, expected_generation=expected_generation, ttl=ttl, note=note, probe=probe,
            idempotency_key=idempotency_key, validate_only=validate_only,
            wait_for_drain=wait_for_drain), timeout)

    def unpatch(self, *, expected_generation: int | None = None,
                wait_for_drain: float | None = None,
                timeout: float | None = None) -> plans.PatchResult:
        """Back to the model's own routing. Not patched: a warning in the result."""
        return self._ask(_admin_calls.unpatch(expected_generation, wait_for_drain), timeout)

    def rollback(self, to_generation: int | None = None, *,
                 expected_generation: int | None = None, ttl: float | None = None,
                 timeout: float | None = None) -> plans.PatchResult:
        """Publishes the plan of an earlier generation again.

        to_generation: None = the newest kept before the current.
        ttl: seconds, as of a patch; None = the plan stays, and a warning tells of a ttl that is lost.
        NotFound where the generation is not kept,
        Conflict where a calibration or router that it uses is gone.
        """
        return self._ask(_admin_calls.rollback(to_generation, expected_generation, ttl), timeout)

    def renew(self, generation: int, ttl: float, *, timeout: float | None = None) -> None:
        """Lets the current plan live for `ttl` from now.

        Conflict where another one is current (GENERATION_MISMATCH), where it has no time to live
        (NO_TTL) or that has ended (EXPIRED).
        """
        self._ask(_admin_calls.renew(generation, ttl), timeout)

    def patched(self, target: Target, ttl: float = 60.0, *, note: str = "",
                probe: plans.Probe | bool = False) -> Patched:
        """A patch for the time of a `with` block: see Patched."""
        # What cannot be sent is told here, and not at the beginning of the block.
        _admin_calls.patch_request(target, ttl=_check.seconds("ttl", ttl), note=note, probe=probe)
        return Patched(self, self._patches, target, ttl, note=note, probe=probe)

    def routing(self, *, timeout: float | None = None) -> plans.Routing:
        """The current plan, and older ones that still have requests."""
        return self._ask(_admin_calls.routing(), timeout)

    def history(self, *, page_size: int = 100,
                timeout: float | None = None) -> Iterator[plans.PlanRecord]:
        """All plans that are kept, newest first; read in pages of 1..100 as they are needed."""
        return self._records(_admin_calls.history(page_size), _check.wait("timeout", timeout))

    def _records(self, request: admin_pb2.ListRoutingHistoryRequest,
                 timeout: float | None) -> Iterator[plans.PlanRecord]:
        while True:
            records, request.page_token = self._ask(_admin_calls.history_page(request), timeout)
            yield from records
            if not request.page_token:
                return

    def watch_routing(self, *,
                      timeout: float | None = None) -> _calls.Watch[plans.RoutingEvent]:
        """The current plan, then each change. Ends with Unavailable when the server drains."""
        return self._watch(_admin_calls.watch_routing(), timeout)

    def explain(self, units: Sequence[str], plan: policies.Experiment | None = None, *,
                timeout: float | None = None) -> tuple[plans.UnitAssignment, ...]:
        """The arms of <= 1000 units, under the current plan or another one; in their order."""
        return self._ask(_admin_calls.explain(units, plan), timeout)

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
        return self._ask(_admin_calls.expert_stats(
            since, arms, layers, kinds, current_plan=current_plan, last=last), timeout)

    def watch_expert_stats(self, interval: float = 1.0, *,
                           since: experts.ExpertStats | str = "", arms: Sequence[str] = (),
                           layers: Iterable[int] = (), kinds: Sequence[experts.Decision] = ()
                           ) -> _calls.Watch[experts.ExpertStats]:
        """The counts since `since` at once, then every interval, 0.1 s..1 h, those since the last.

        Together they are all that was counted. Ends with Unavailable when the server drains.
        """
        return self._watch(_admin_calls.watch_expert_stats(interval, since, arms, layers, kinds))

    # ---- Calibrations

    def calibrations(self, *, timeout: float | None = None) -> tuple[plans.Calibration, ...]:
        """All of them."""
        return self._ask(_admin_calls.calibrations(), timeout)

    def build_calibration(self, calibration_id: str, *, texts: Sequence[str] = (),
                          live_tokens: int | None = None, arms: Sequence[str] = (),
                          trim_top: int = 0, timeout: float | None = None) -> plans.Calibration:
        """Tables from router logits.

        Either `texts`, 1..10000, under the model's own routing; or the next `live_tokens`, 1..1e9,
        of requests of `arms` (empty = all): then it returns when they are in.
        trim_top: leave the highest logits of every token out, 0..num_experts - 2.
        Conflict where other tables have that name.
        """
        return self._ask(_admin_calls.build_calibration(
            calibration_id, texts=texts, live_tokens=live_tokens, arms=arms, trim_top=trim_top),
            timeout)

    def get_calibration(self, calibration_id: str, *,
                        timeout: float | None = None) -> tuple[plans.LayerCdf, ...]:
        """The tables, one a layer. NotFound where there are none."""
        return tuple(self._watch(_admin_calls.get_calibration(calibration_id), timeout))

    def put_calibration(self, calibration_id: str, layers: Iterable[plans.LayerCdf], *,
                        timeout: float | None = None) -> plans.Calibration:
        """Adds tables, every layer of the model once. The same again: no effect.

        Conflict where other tables have that name.
        """
        send = _admin_calls.put_calibration(calibration_id, layers)
        return send.read(self._connection.write(send.method, iter(send.requests), timeout))

    def delete_calibration(self, calibration_id: str, *, timeout: float | None = None) -> None:
        """NotFound where there is none, Conflict (CALIBRATION_IN_USE) while a plan needs it."""
        self._ask(_admin_calls.delete_calibration(calibration_id), timeout)

    # ---- Routers

    def list_routers(self, *, timeout: float | None = None) -> tuple[plans.Router, ...]:
        """All of them, beside the model's own."""
        return self._ask(_admin_calls.list_routers(), timeout)

    def get_router(self, router_id: str = "", *,
                   timeout: float | None = None) -> tuple[plans.RouterLayer, ...]:
        """The weights, one a layer; "" = the model's own. NotFound where there are none."""
        return tuple(self._watch(_admin_calls.get_router(router_id), timeout))

    def put_router(self, router_id: str, layers: Iterable[plans.RouterLayer], *,
                   timeout: float | None = None) -> plans.Router:
        """Adds weights of some layers, none twice; policies name them as their `router`.

        The same again: no effect. Conflict where other weights have that name.
        """
        send = _admin_calls.put_router(router_id, layers)
        return send.read(self._connection.write(send.method, iter(send.requests), timeout))

    def delete_router(self, router_id: str, *, timeout: float | None = None) -> None:
        """NotFound where there is none, Conflict (ROUTER_IN_USE) while a plan needs it."""
        self._ask(_admin_calls.delete_router(router_id), timeout)

    # ---- Server

    def server_status(self, *, timeout: float | None = None) -> plans.ServerStatus:
        """What the server is doing."""
        return self._ask(_admin_calls.server_status(), timeout)

    def drain(self, grace: float = 0.0, *, timeout: float | None = None) -> int:
        """No new requests; those that were accepted have `grace` to finish.

        Returns how many had to be aborted.
        """
        return self._ask(_admin_calls.drain(grace), timeout)
