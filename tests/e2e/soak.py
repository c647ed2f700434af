"""Load for a long time: random streams, unary calls, scores, cancels, deadlines and bad
requests on one server, while its routers are patched.

    OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/e2e/soak.py \
        --model deploy/demo --minutes 10 --streams 16

Prints the server's memory over time and ends with a verdict: no unexpected error, the KV
cache empty, and memory that has grown by at most 10 MB since the warm-up. Exit code 0 or 1.
"""

import argparse
import collections
import pathlib
import random
import sys
import threading
import time

import grpc

import api
from server_process import DEADLINE_S, ServerProcess

MAX_GROWTH_BYTES = 10_000_000
PATCH_INTERVAL_S = 0.5
SAMPLE_INTERVAL_S = 10


class Load:
    """What the workers share: counts by kind of request and outcome. Thread-safe."""

    def __init__(self, server, end):
        self.server = server
        self.end = end
        self.info = server.model_info()
        self._lock = threading.Lock()
        self.counts = collections.Counter()
        self.unexpected = collections.Counter()

    def running(self):
        return time.monotonic() < self.end

    def count(self, kind, outcome, expected):
        with self._lock:
            self.counts[kind, outcome] += 1
            if outcome not in expected:
                self.unexpected[kind, outcome] += 1

    def total(self):
        with self._lock:
            return sum(self.counts.values())


def random_request(load, rng):
    prompt = [rng.randrange(load.info.vocab_size) for _ in range(rng.randint(1, 48))]
    request = api.tokens_request(prompt, rng.randint(1, 48), unit_id=str(rng.randrange(1000)))
    request.sampling.temperature = rng.choice([0.0, 0.7, 1.0])
    request.sampling.seed = rng.randrange(2**32)
    return request


def stream(load, stub, rng):
    for _ in stub.GenerateStream(random_request(load, rng), timeout=DEADLINE_S):
        pass


def cancel(load, stub, rng):
    """Cancelled before, during or after its first messages."""
    request = random_request(load, rng)
    request.max_new_tokens = load.info.max_context - len(request.tokens.ids)
    call = stub.GenerateStream(request, timeout=DEADLINE_S)
    for _ in range(rng.randint(0, 12)):
        next(call)
    call.cancel()
    for _ in call:
        pass


def deadline(load, stub, rng):
    request = random_request(load, rng)
    request.max_new_tokens = load.info.max_context - len(request.tokens.ids)
    stub.Generate(request, timeout=rng.uniform(0.001, 0.2))


def unary(load, stub, rng):
    stub.Generate(random_request(load, rng), timeout=DEADLINE_S)


def score(load, stub, rng):
    item = api.inference.ScoreItem()
    item.context_tokens.ids.append(1)
    item.continuation_tokens.ids.extend(random_request(load, rng).tokens.ids)
    stub.Score(api.inference.ScoreRequest(items=[item] * rng.randint(1, 4)), timeout=DEADLINE_S)


def malformed(load, stub, rng):
    request = random_request(load, rng)
    rng.choice([lambda: request.ClearField("tokens"),
                lambda: request.tokens.ids.append(2**32 - 1),
                lambda: setattr(request, "max_new_tokens", 2**31),
                lambda: setattr(request.sampling, "top_p", -1)])()
    stub.Generate(request, timeout=DEADLINE_S)


# (kind, weight, outcomes that are right)
KINDS = [
    (stream, 40, {"OK"}),
    (unary, 25, {"OK"}),
    (score, 10, {"OK"}),
    (cancel, 10, {"OK", "CANCELLED"}),
    (deadline, 10, {"OK", "DEADLINE_EXCEEDED"}),
    (malformed, 5, {"INVALID_ARGUMENT", "OUT_OF_RANGE"}),
]


def worker(load, seed):
    rng = random.Random(seed)
    channel = load.server.new_channel()
    stub = api.inference_grpc.InferenceServiceStub(channel)
    while load.running():
        kind, _, expected = rng.choices(KINDS, [weight for _, weight, _ in KINDS])[0]
        try:
            kind(load, stub, rng)
            outcome = "OK"
        except StopIteration:  # cancel: the stream was shorter
            outcome = "OK"
        except grpc.RpcError as error:
            outcome = error.code().name
        # A full queue is an honest answer to more streams than fit.
        load.count(kind.__name__, outcome, expected | {"RESOURCE_EXHAUSTED"})
        if rng.random() < 0.01:  # a connection ends now and then
            channel.close()
            channel = load.server.new_channel()
            stub = api.inference_grpc.InferenceServiceStub(channel)
    channel.close()


def patcher(load, seed):
    """Swaps the routing; generations never go back."""
    rng = random.Random(seed)
    last = 0
    while load.running():
        try:
            if rng.random() < 0.2:
                reply = load.server.unpatch()
            else:
                reply = load.server.patch(
                    api.top_k_policy(rng.randint(1, load.info.num_experts)))
            outcome = "OK" if reply.current.generation >= last else "GENERATION_WENT_BACK"
            last = reply.current.generation
        except grpc.RpcError as error:
            outcome = error.code().name
        load.count("patch", outcome, {"OK"})
        time.sleep(PATCH_INTERVAL_S)


def sample(load, warm_up_end):
    """Prints memory over time; returns it at the end of the warm-up."""
    start = time.monotonic()
    warm = None
    while load.running():
        time.sleep(max(0, min(SAMPLE_INTERVAL_S, load.end - time.monotonic())))
        rss = load.server.rss_bytes()
        if warm is None and time.monotonic() >= warm_up_end:
            warm = rss
        print(f"{time.monotonic() - start:7.0f} s  {load.total():9} requests  "
              f"RSS {rss / 1e6:8.1f} MB{'' if warm is None else '  warm'}", flush=True)
    return warm


def verdict(load, warm_rss):
    server = load.server
    server.wait_until_idle()
    growth = server.rss_bytes() - warm_rss
    for (kind, outcome), count in sorted(load.counts.items()):
        print(f"  {kind:10} {outcome:20} {count:9}")
    failures = [f"{count} x {kind} {outcome}" for (kind, outcome), count in
                load.unexpected.items()]
    if growth > MAX_GROWTH_BYTES:
        failures.append(f"memory grew by {growth / 1e6:.1f} MB after the warm-up")
    if server.status().running_requests or server.status().queued_requests:
        failures.append("requests are left")
    if server.terminate() != 0:
        failures.append(f"exit code {server.process.returncode}")
    print(f"RSS growth after warm-up {growth / 1e6:+.1f} MB, KV cache 0 bytes used")
    print("FAILED: " + "; ".join(failures) if failures else "OK")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=api.SOURCE_DIR / "deploy/demo")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("server_flags", nargs="*", help="after --: flags for olmoe-server")
    options = parser.parse_args()
    with ServerProcess(options.model, *options.server_flags) as server:
        now = time.monotonic()
        load = Load(server, now + 60 * options.minutes)
        threads = [threading.Thread(target=worker, args=(load, options.seed + i))
                   for i in range(options.streams)]
        threads.append(threading.Thread(target=patcher, args=(load, options.seed)))
        for thread in threads:
            thread.start()
        warm_rss = sample(load, warm_up_end=now + 60 * options.minutes / 4)
        for thread in threads:
            thread.join()
        return verdict(load, warm_rss)


if __name__ == "__main__":
    sys.exit(main())
