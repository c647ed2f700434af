"""kill -9 while the routers are patched, again and again on one state directory.

    OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/e2e/kill_loop.py --kills 1000

A client patches as fast as it can, with compare-and-swap and idempotency keys; the server is
killed at a random moment, from before its first patch to many patches later, and started
again. Every start must serve the last plan that was acknowledged, or the one whose answer
was on its way; sending that one again must give its first answer. Prints the counts and ends
with exit code 0 or 1. test_kill.py runs a few of these.
"""

import argparse
import pathlib
import random
import sys
import tempfile
import threading

import grpc

import api
from api import admin
from server_process import DEADLINE_S, ServerProcess


class Lost(AssertionError):
    """A promise that was not kept."""


def require(condition, what):
    if not condition:
        raise Lost(what)


def request_of(generation, max_k):
    """The one patch that makes this generation: anybody can tell whether a plan is right."""
    return admin.PatchRoutersRequest(
        plan=admin.RoutingPlan(note=f"plan {generation * 7919}", arms=[admin.Arm(
            arm_id="default", weight=1,
            policy=api.top_k_policy(1 + generation % max_k, f"p-{generation}"))]),
        expected_generation=generation - 1, idempotency_key=f"key-{generation}")


class Patcher(threading.Thread):
    """Patches until the server is gone; `acknowledged` is the last generation it was told."""

    def __init__(self, server, generation, max_k):
        super().__init__()
        self._server = server
        self._max_k = max_k
        self.acknowledged = generation
        self.killed = threading.Event()  # set before the server is
        self.error = None

    def run(self):
        while True:
            try:
                reply = self._server.admin.PatchRouters(
                    request_of(self.acknowledged + 1, self._max_k), timeout=DEADLINE_S)
            except grpc.RpcError as error:
                if api.details(error) or not self.killed.is_set():
                    self.error = error
                return
            if reply.current.generation != self.acknowledged + 1:
                self.error = Lost(f"{reply.current.generation} after {self.acknowledged}")
                return
            self.acknowledged += 1


def check_start(server, acknowledged, max_k):
    """What a start serves; returns its generation."""
    current = server.admin.GetRouting(admin.GetRoutingRequest(), timeout=DEADLINE_S).current
    require(acknowledged <= current.generation <= acknowledged + 1,
            f"generation {current.generation} after {acknowledged} was acknowledged")
    if current.generation > 1:
        request = request_of(current.generation, max_k)
        require(current.plan.note == request.plan.note, f"the plan of {current.generation}")
        again = server.admin.PatchRouters(request, timeout=DEADLINE_S)
        require(again.changed and again.current.generation == current.generation,
                f"the first answer to {current.generation}")
    return current.generation


def kill_loop(model, state_dir, kills, seed, max_delay_s=0.2, report=lambda _: None):
    """Returns (patches acknowledged, patches that were stored without an answer)."""
    rng = random.Random(seed)
    generation, unanswered = 1, 0
    for kill in range(kills + 1):
        with ServerProcess(model, "--state-dir", state_dir) as server:
            max_k = server.model_info().num_experts
            served = check_start(server, generation, max_k)
            unanswered += served - generation
            generation = served
            if kill == kills:
                break
            patcher = Patcher(server, generation, max_k)
            patcher.start()
            patcher.join(rng.uniform(0, max_delay_s))
            patcher.killed.set()
            server.process.kill()
            server.process.wait()
            patcher.join()
            if patcher.error is not None:
                raise patcher.error
            generation = patcher.acknowledged
        report(f"kill {kill + 1}: generation {generation}, {unanswered} unanswered")
    return generation - 1 - unanswered, unanswered


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=api.SOURCE_DIR / "deploy/demo")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="olmoe-kill-") as state_dir:
        try:
            acknowledged, unanswered = kill_loop(
                options.model, state_dir, options.kills, options.seed,
                report=lambda line: print(line, flush=True))
        except Lost as lost:
            print(f"FAILED: {lost}")
            return 1
    print(f"{options.kills} kills, {acknowledged} acknowledged patches, 0 lost; "
          f"{unanswered} stored without an answer; 0 unreadable states")
    return 0


if __name__ == "__main__":
    sys.exit(main())
