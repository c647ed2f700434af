"""A patch for the time of a `with` block.

The block's plan has a time to live that a thread renews, so it ends also where the process dies.
At the end of the block, what was there comes back by compare-and-swap on the block's generation:

* before was a plan that stays: it is rolled back to;
* before was the plan of a block around this one: it is patched in again with that block's time to
  live. While the inner block ran, nobody could renew it. A plan that ends gives way to the one
  before, if that has not ended; so this block's time is shortened first, and the plan that comes
  after both is the one from before the outer block;
* before was another plan with a time to live: this block's time is ended, and the server brings
  that plan back for the rest of its time, or what comes after it.
"""

from __future__ import annotations

import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Self

from olmoe import errors, plans

if TYPE_CHECKING:
    from olmoe._admin_calls import Target
    from olmoe.admin import Admin

_SHORTEST_TTL_S = 0.001
_RESTORE_TIMEOUT_S = 60.0


class PatchStack:
    """The blocks of one Admin that are open, the innermost last. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._open: list[Patched] = []  # guarded by _mutex

    def push(self, block: Patched) -> Patched | None:
        """The block around it."""
        with self._mutex:
            around = self._open[-1] if self._open else None
            self._open.append(block)
            return around

    def remove(self, block: Patched) -> None:
        """The block is over."""
        with self._mutex:
            self._open.remove(block)

    def is_open(self, block: Patched | None) -> bool:
        """Whether the block is not over."""
        with self._mutex:
            return block in self._open

    def is_innermost(self, block: Patched) -> bool:
        """Whether its plan is the one that should be current."""
        with self._mutex:
            return self._open[-1:] == [block]


class Patched:
    """A plan that is served while the block runs; what was there before comes back.

        with admin.patched(TopK(4)) as patch:
            client.generate("Once upon a time")

    Entering raises Conflict where another plan comes between reading and patching, and whatever
    Admin.patch does. A block may be inside another one of the same Admin, in one thread.

    If the process dies, the plan ends `ttl` seconds after its last renewal at the latest; it is
    renewed every third of that. If somebody else patches meanwhile, theirs stays: leaving the block
    raises PatchReplaced, or warns of it where another exception is on its way.

    Use as a context manager, once. The properties are thread-safe.
    """

    def __init__(self, admin: Admin, stack: PatchStack, target: Target, ttl: float, *, note: str,
                 probe: plans.Probe | bool) -> None:
        self._admin = admin
        self._stack = stack
        self._target = target
        self._ttl = ttl
        self._note = note
        self._probe = probe
        self._around: Patched | None = None
        self._before: plans.PlanRecord | None = None
        self._result: plans.PatchResult | None = None
        self._generation = 0
        self._lost: errors.OlmoeError | None = None
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="olmoe-renew", daemon=True)

    @property
    def result(self) -> plans.PatchResult:
        """What the patch did. RuntimeError before the block."""
        if self._result is None:
            raise RuntimeError("the block has not begun")
        return self._result

    @property
    def generation(self) -> int:
        """The one that the plan has now: a new one after a block inside this one."""
        return self._generation

    @property
    def lost(self) -> errors.OlmoeError | None:
        """Why the plan is not current any more, as far as is known; None: it is."""
        return self._lost

    def __enter__(self) -> Self:
        if self._result is not None:
            raise RuntimeError("a block of Admin.patched can be entered once")
        # First: a renewal of the block around this one that is refused from here on is no loss.
        around = self._stack.push(self)
        try:
            self._before = self._admin.routing().current
            if around is not None and around.generation == self._before.generation:
                self._around = around
            self._result = self._admin.patch(
                self._target, expected_generation=self._before.generation, ttl=self._ttl,
                note=self._note, probe=self._probe)
        except BaseException:
            self._stack.remove(self)
            raise
        self._generation = self._result.current.generation
        self._renewer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._over.set()
        self._renewer.join()
        try:
            self._restore()
        except errors.OlmoeError as failure:
            if error is None:
                raise
            message = f"leaving the patched block: {failure}"
            error.add_note(message)
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        finally:
            self._stack.remove(self)

    def _renew(self) -> None:
        every = self._ttl / 3
        while not self._over.wait(every):
            if not self._stack.is_innermost(self):
                continue
            generation = self._generation
            try:
                self._admin.renew(generation, self._ttl, timeout=every)
            except errors.Conflict as conflict:
                if self._stack.is_innermost(self) and generation == self._generation:
                    self._lost = conflict
                    return
            except errors.OlmoeError:
                pass  # the next one may come through before the time is over

    def _restore(self) -> None:
        try:
            if self._stack.is_open(self._around):
                self._restore_around()
            elif self._plan_before().expire_time is None:
                self._admin.rollback(self._plan_before().generation,
                                     expected_generation=self._generation)
            else:
                self._end()
        except errors.Conflict as conflict:
            if conflict.reason not in ("GENERATION_MISMATCH", "EXPIRED", "NO_TTL"):
                raise
            raise self._replaced() from conflict

    def _plan_before(self) -> plans.PlanRecord:
        assert self._before is not None
        return self._before

    def _restore_around(self) -> None:
        around = self._around
        assert around is not None
        if around._ttl < self._ttl:
            self._admin.renew(self._generation, around._ttl)
        result = self._admin.patch(self._plan_before().plan,
                                   expected_generation=self._generation, ttl=around._ttl)
        around._generation = result.current.generation

    def _end(self) -> None:
        self._admin.renew(self._generation, _SHORTEST_TTL_S)
        with self._admin.watch_routing(timeout=_RESTORE_TIMEOUT_S) as watch:
            for event in watch:
                if event.current is not None and event.current.generation != self._generation:
                    return

    def _replaced(self) -> errors.PatchReplaced:
        current = self._admin.routing().current
        who = f" by {current.actor}" if current.actor else ""
        return errors.PatchReplaced(
            f"generation {current.generation} (source {current.source!r}{who}) is current instead "
            f"of the block's {self._generation}, and stays",
            code="ABORTED", reason="GENERATION_MISMATCH",
            metadata={"current_generation": str(current.generation),
                      "expected_generation": str(self._generation)})
