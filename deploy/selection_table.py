"""The end of evaluate_selection.sh: makes policies from what a first text shows, and prints a
Markdown table of what they lose on another one.

    selection_table.py --olmoectl OLMOECTL --plan-on TEXT --data TEXT [--limit N] [--resume FILE]
"""

import argparse
import json
import subprocess

BANNED = (1, 4, 16)
AVERAGE_K = 4
# More than any difference of two logits by orders of magnitude: what is left is the noise.
RANDOM = "random@top-k={k},noise=1e6"


def olmoectl(options, command, data, *arguments):
    """What `olmoectl COMMAND --format json` printed."""
    words = [options.olmoectl, command, "--data", data, "--window", "256", "--format", "json",
             *arguments]
    if options.limit:
        words += ["--limit", str(options.limit)]
    if options.resume:
        words += ["--resume", options.resume]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def bans(counts, k):
    """Specs that ban the busiest and the idlest experts of each layer. `counts`: [layer][expert];
    of equals the first are the idlest."""
    for name, sign in (("busiest", -1), ("idlest", 1)):
        for number in BANNED:
            rules = []
            for layer, of_layer in enumerate(counts):
                order = sorted(range(len(of_layer)),
                               key=lambda expert, tokens=of_layer: sign * tokens[expert])
                banned = "+".join(map(str, sorted(order[:number])))
                rules.append(f"top-k={k},ban={banned},layers={layer}")
            yield f"no-{name}-{number}@" + "/".join(rules)


def cells(row):
    difference = "-" if row["difference"] is None else f"{row['difference']:+.3f}"
    if row["difference_low"] is not None:  # of one window there is no interval
        difference += f" [{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
    return [row["policy"], f"{row['loss']:.3f}", difference, f"{row['activations_per_token']:.1f}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--olmoectl", required=True)
    parser.add_argument("--plan-on", required=True, help="text to count experts and plan on")
    parser.add_argument("--data", required=True, help="text to evaluate on")
    parser.add_argument("--limit", type=int, help="windows of each text")
    parser.add_argument("--resume", help="file for finished work")
    options = parser.parse_args()

    counted = olmoectl(options, "eval", options.plan_on, "--experts")
    counts = counted["results"][0]["expert_counts"]
    layers = len(counts)
    k = round(counted["results"][0]["experts_per_token"])
    swept = olmoectl(options, "sweep", options.plan_on, "--budget", str(AVERAGE_K * layers))
    budget = swept["budget"]

    policies = ["native", f"top-k={AVERAGE_K}", budget["policy"],
                *(f"layer-{layer}-k-1@top-k=1,layers={layer}" for layer in range(layers)),
                *bans(counts, k), RANDOM.format(k=k)]
    rows = olmoectl(options, "eval", options.data, "--policy", *policies)["results"]
    print("| POLICY | LOSS | LOSS - FIRST [95%] | ACTIVATIONS |\n| --- | ---: | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(cells(row))} |")
    name = budget["policy"].partition("@")[0]
    print(f"\nk by layer of {name}: {', '.join(map(str, budget['ks']))}. Loss on the text that it "
          f"was planned on: {budget['predicted_loss']:.3f} predicted, "
          f"{budget['measured_loss']:.3f} measured, {budget['plain_loss']:.3f} with "
          f"top-k={budget['plain_k']} in every layer")


if __name__ == "__main__":
    main()
