"""What scraping costs the engine: pairs of runs under the same load, one scraped and one not.

    OLMOE_BIN_DIR=build/release/bin build/venv/bin/python tests/e2e/scrape_cost.py \
        --model deploy/demo --pairs 20 --seconds 10

Streams decode all the time. A run is some seconds of it; the runs of a pair follow each
other, in alternating order, so that what drifts meets both. The time of a step is that of
olmoe_forward_pass_seconds{phase="decode"}. Prints each pair and the median of the ratios,
scraped to not scraped, with its 95% confidence interval (order statistics: no assumption
about how they are distributed). Exit code 1 if the whole interval is above --limit.
"""

import argparse
import math
import pathlib
import statistics
import sys
import time
import urllib.request

import api
import background
from api import admin, routing
from server_process import DEADLINE_S, ServerProcess


def scrape(server):
    """As Prometheus does it: compressed, and read to the end."""
    request = urllib.request.Request(f"http://{server.address('http')}/metrics",
                                     headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as reply:
        return reply.read()


def decode_steps(server):
    """(seconds, number) of the decoding steps so far."""
    _, text = server.http("/metrics")
    values = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        values[name] = value
    return (float(values['olmoe_forward_pass_seconds_sum{phase="decode"}']),
            float(values['olmoe_forward_pass_seconds_count{phase="decode"}']))


def patch_arms(server, count):
    """Arms that all analyze: the most series that a plan can have."""
    rule = routing.Rule(top_p=routing.TopP(p=0.5))
    arms = [admin.Arm(arm_id=f"arm-{i}", weight=1,
                      policy=routing.RoutingPolicy(policy_id=f"p-{i}", analyze=rule))
            for i in range(count)]
    server.admin.PatchRouters(admin.PatchRoutersRequest(plan=admin.RoutingPlan(arms=arms)),
                              timeout=DEADLINE_S)


def streams(server, count):
    """This many generations at any time. Leaving the block raises what went wrong."""
    tokens = min(256, server.model_info().max_context - 8)
    return background.repeated(count, lambda thread, i: server.generate(
        api.tokens_request([5, 6, 7], tokens, unit_id=f"{thread}-{i}")))


def run(server, seconds, interval):
    """Mean time of a decoding step; scraped every `interval` seconds, or never if None."""
    before = decode_steps(server)
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if interval is None:
            time.sleep(end - now)
        else:
            scrape(server)
            time.sleep(max(0, min(interval - (time.monotonic() - now), end - time.monotonic())))
    after = decode_steps(server)
    steps = after[1] - before[1]
    if steps == 0:
        raise RuntimeError("no decoding step in a run: --seconds is too short")
    return (after[0] - before[0]) / steps


def median_interval(values):
    """The order statistics that hold the median with at least 95%; all values if few."""
    ordered = sorted(values)
    count = len(ordered)
    tail, below = 0.0, 0
    while below < count // 2:
        tail += math.comb(count, below) / 2 ** count
        if tail > 0.025:
            break
        below += 1
    # `below` values on each side can be left out.
    skipped = max(0, below - 1)
    return ordered[skipped], ordered[count - 1 - skipped]


def main():
    parser = argparse.ArgumentParser(description="What scraping costs the engine.")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10, help="of one run")
    parser.add_argument("--interval", type=float, default=1, help="seconds between scrapes")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--arms", type=int, default=1, help="that all analyze; 1: unpatched")
    parser.add_argument("--limit", type=float, default=1.01)
    arguments, flags = parser.parse_known_args()
    if arguments.pairs < 1 or arguments.seconds <= 0 or arguments.streams < 1:
        parser.error("--pairs, --seconds and --streams must be positive")
    with ServerProcess(arguments.model, *flags) as server:
        if arguments.arms > 1:
            patch_arms(server, arguments.arms)
        with streams(server, arguments.streams):
            run(server, arguments.seconds, None)  # warm-up
            ratios = []
            for pair in range(arguments.pairs):
                times = {}
                for interval in [None, arguments.interval][::1 if pair % 2 == 0 else -1]:
                    times[interval] = run(server, arguments.seconds, interval)
                ratios.append(times[arguments.interval] / times[None])
                print(f"pair {pair + 1}: step {times[None] * 1e3:.3f} ms, scraped "
                      f"{times[arguments.interval] * 1e3:.3f} ms, ratio {ratios[-1]:.4f}",
                      flush=True)
            size = len(scrape(server))
    low, high = median_interval(ratios)
    print(f"{arguments.arms} arm(s), {size} bytes a scrape, every {arguments.interval:g} s: "
          f"median ratio {statistics.median(ratios):.4f}, 95% interval {low:.4f}..{high:.4f} "
          f"of {len(ratios)} pairs")
    return 1 if low > arguments.limit else 0


if __name__ == "__main__":
    sys.exit(main())
