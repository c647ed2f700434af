"""The admin port under asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from olmoe import _admin_calls, _check, _endpoint, errors, experts, plans, policies
from olmoe._admin_calls import Target
from olmoe._aio_calls import AsyncService, AsyncWatch
from olmoe._endpoint import Endpoint
from olmoe.admin import Admin
from olmoe.patched import Patched
from olmoe.v1 import admin_pb2

T = TypeVar("T")


class AsyncPatched:
    """Patched, for an `async with` block: the same promises, errors and properties.

        async with admin.patched(TopK(4)) as patch:
            await client.generate("Once upon a time")

    It enters, renews and leaves in threads. A task that is cancelled meanwhile goes on when that is
    done, so that nothing stays behind.
    """

    def __init__(self, block: Patched) -> None:
        self._block = block

    @property
    def result(self) -> plans.PatchResult:
        """See Patched.result."""
        return self._block.result

    @property
    def generation(self) -> int:
        """See Patched.generation."""
        return self._block.generation

    @property
    def lost(self) -> errors.OlmoeError | None:
        """See Patched.lost."""
        return self._block.lost

    async def __aenter__(self) -> Self:
        entering = asyncio.ensure_future(asyncio.to_thread(self._block.__enter__))
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            await _finished(entering)
            if entering.exception() is None:
                await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        leaving = asyncio.ensure_future(
            asyncio.to_thread(self._block.__exit__, kind, error, traceback))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError as cancelled:
            await _finished(leaving)
            if (failure := leaving.exception()) is not None:
                cancelled.add_note(f"leaving the patched block: {failure}")
            raise


async def _finished(work: asyncio.Future[T]) -> None:
    """Returns when a thread is done, however often the task is cancelled while it waits."""
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            pass


class AsyncAdmin(AsyncService):
    """Admin, under asyncio: the same arguments, calls and errors. For one event loop."""

    _port = _endpoint.ADMIN

    def _open(self, endpoint: Endpoint) -> None:
        super()._open(endpoint)
        # Its connection begins with its first call: that of a block of `patched`.
        self._in_threads = Admin._over(endpoint)

    async def close(self) -> None:
        """Ends the connections and every call that is under way."""
        self._in_threads.close()
        await super().close()

    async def _ask(self, ask: _admin_calls.Ask[T], timeout: float | None) -> T:
        return ask.read(await self._connection.call(ask.method, ask.request, timeout,
                                                    repeatable=ask.repeatable))

    def _watch(self, ask: _admin_calls.AskStream[T],
               timeout: float | None = None) -> AsyncWatch[T]:
        return AsyncWatch(self._connection.read(ask.method, ask.request, timeout), ask.read)

    # ---- Plans

    async def patch(self, target: Target, *, expected_generation: int | None = None,
                    ttl: float | None = None, note: str = "", probe: plans.Probe | bool = False,
                    idempotency_key: str | None = None, validate_only: bool = False,
                    wait_for_drain: float | None = None,
                    timeout: float | None = None) -> plans.PatchResult:
        """See Admin.patch."""
        return await self._ask(_admin_calls.patch(
            target, expected_generation=expected_generation, ttl=ttl, note=note, probe=probe,
            idempotency_key=idempotency_key, validate_only=validate_only,
            wait_for_drain=wait_for_drain), timeout)

    async def unpatch(self, *, expected_generation: int | None = None,
                      wait_for_drain: float | None = None,
                      timeout: float | None = None) -> plans.PatchResult:
        """See Admin.unpatch."""
        return await self._ask(_admin_calls.unpatch(expected_generation, wait_for_drain), timeout)

    async def rollback(self, to_generation: int | None = None, *,
                       expected_generation: int | None = None, ttl: float | None = None,
                       timeout: float | None = None) -> plans.PatchResult:
        """See Admin.rollback."""
        return await self._ask(
            _admin_calls.rollback(to_generation, expected_generation, ttl), timeout)

    async def renew(self, generation: int, ttl: float, *, timeout: float | None = None) -> None:
        """See Admin.renew."""
        await self._ask(_admin_calls.renew(generation, ttl), timeout)

    def patched(self, target: Target, ttl: float = 60.0, *, note: str = "",
                probe: plans.Probe | bool = False) -> AsyncPatched:
        """A patch for the time of an `async with` block: see Admin.patched."""
        return AsyncPatched(self._in_threads.patched(target, ttl, note=note, probe=probe))

    async def routing(self, *, timeout: float | None = None) -> plans.Routing:
        """See Admin.routing."""
        return await self._ask(_admin_calls.routing(), timeout)

    def history(self, *, page_size: int = 100,
                timeout: float | None = None) -> AsyncIterator[plans.PlanRecord]:
        """See Admin.history."""
        return self._records(_admin_calls.history(page_size), _check.wait("timeout", timeout))

    async def _records(self, request: admin_pb2.ListRoutingHistoryRequest,
                       timeout: float | None) -> AsyncIterator[plans.PlanRecord]:
        while True:
            records, request.page_token = await self._ask(
                _admin_calls.history_page(request), timeout)
            for each in records:
                yield each
            if not request.page_token:
                return

    def watch_routing(self, *, timeout: float | None = None) -> AsyncWatch[plans.RoutingEvent]:
        """See Admin.watch_routing."""
        return self._watch(_admin_calls.watch_routing(), timeout)

    async def explain(self, units: Sequence[str], plan: policies.Experiment | None = None, *,
                      timeout: float | None = None) -> tuple[plans.UnitAssignment, ...]:
        """See Admin.explain."""
        return await self._ask(_admin_calls.explain(units, plan), timeout)

    # ---- Experts

    async def expert_stats(self, *, since: experts.ExpertStats | str = "",
                           arms: Sequence[str] = (), layers: Iterable[int] = (),
                           kinds: Sequence[experts.Decision] = (), current_plan: bool = False,
                           last: float | None = None,
                           timeout: float | None = None) -> experts.ExpertStats:
        """See Admin.expert_stats."""
        return await self._ask(_admin_calls.expert_stats(
            since, arms, layers, kinds, current_plan=current_plan, last=last), timeout)

    def watch_expert_stats(self, interval: float = 1.0, *,
                           since: experts.ExpertStats | str = "", arms: Sequence[str] = (),
                           layers: Iterable[int] = (), kinds: Sequence[experts.Decision] = ()
                           ) -> AsyncWatch[experts.ExpertStats]:
        """See Admin.watch_expert_stats."""
        return self._watch(_admin_calls.watch_expert_stats(interval, since, arms, layers, kinds))

    # ---- Calibrations

    async def calibrations(self, *,
                           timeout: float | None = None) -> tuple[plans.Calibration, ...]:
        """See Admin.calibrations."""
        return await self._ask(_admin_calls.calibrations(), timeout)

    async def build_calibration(self, calibration_id: str, *, texts: Sequence[str] = (),
                                live_tokens: int | None = None, arms: Sequence[str] = (),
                                trim_top: int = 0,
                                timeout: float | None = None) -> plans.Calibration:
        """See Admin.build_calibration."""
        return await self._ask(_admin_calls.build_calibration(
            calibration_id, texts=texts, live_tokens=live_tokens, arms=arms, trim_top=trim_top),
            timeout)

    async def get_calibration(self, calibration_id: str, *,
                              timeout: float | None = None) -> tuple[plans.LayerCdf, ...]:
        """See Admin.get_calibration."""
        watch = self._watch(_admin_calls.get_calibration(calibration_id), timeout)
        return tuple([layer async for layer in watch])

    async def put_calibration(self, calibration_id: str, layers: Iterable[plans.LayerCdf], *,
                              timeout: float | None = None) -> plans.Calibration:
        """See Admin.put_calibration."""
        send = _admin_calls.put_calibration(calibration_id, layers)
        return send.read(await self._connection.write(send.method, send.requests, timeout))

    async def delete_calibration(self, calibration_id: str, *,
                                 timeout: float | None = None) -> None:
        """See Admin.delete_calibration."""
        await self._ask(_admin_calls.delete_calibration(calibration_id), timeout)

    # ---- Routers

    async def list_routers(self, *, timeout: float | None = None) -> tuple[plans.Router, ...]:
        """See Admin.list_routers."""
        return await self._ask(_admin_calls.list_routers(), timeout)

    async def get_router(self, router_id: str = "", *,
                         timeout: float | None = None) -> tuple[plans.RouterLayer, ...]:
        """See Admin.get_router."""
        watch = self._watch(_admin_calls.get_router(router_id), timeout)
        return tuple([layer async for layer in watch])

    async def put_router(self, router_id: str, layers: Iterable[plans.RouterLayer], *,
                         timeout: float | None = None) -> plans.Router:
        """See Admin.put_router."""
        send = _admin_calls.put_router(router_id, layers)
        return send.read(await self._connection.write(send.method, send.requests, timeout))

    async def delete_router(self, router_id: str, *, timeout: float | None = None) -> None:
        """See Admin.delete_router."""
        await self._ask(_admin_calls.delete_router(router_id), timeout)

    # ---- Server

    async def server_status(self, *, timeout: float | None = None) -> plans.ServerStatus:
        """See Admin.server_status."""
        return await self._ask(_admin_calls.server_status(), timeout)

    async def drain(self, grace: float = 0.0, *, timeout: float | None = None) -> int:
        """See Admin.drain."""
        return await self._ask(_admin_calls.drain(grace), timeout)
