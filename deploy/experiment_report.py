"""The end of experiment.sh: checks the sample ratio of two arms of equal weight, and prints
the values of all recording rules.

    experiment_report.py BENCH.json [http://PROMETHEUS]
"""

import json
import math
import sys
import time
import urllib.parse
import urllib.request


def sample_ratio(bench):
    """A chi-square test with one degree of freedom, as the rule olmoe_srm makes it."""
    counts = {arm: row["requests"] for arm, row in bench["run"]["arms"].items()}
    expected = sum(counts.values()) / 2
    chi2 = sum((counts.get(arm, 0) - expected) ** 2 / expected for arm in ("control", "candidate"))
    p_value = math.erfc(math.sqrt(chi2 / 2))
    verdict = "as planned" if p_value >= 0.001 else "NOT as planned: read no result"
    arms = ", ".join(f"{arm} {count}" for arm, count in sorted(counts.items()))
    return f"requests: {arms}; chi-square {chi2:.2f}, p = {p_value:.3f}: {verdict}"


def get(prometheus, path, **parameters):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)["data"]


def recording_rules(prometheus):
    groups = get(prometheus, "rules", type="record")["groups"]
    return [rule["name"] for group in groups for rule in group["rules"]]


def describe(series, most=4):
    """One line a series; of many, how many and their range."""
    values = [float(one["value"][1]) for one in series]
    if len(series) > most:
        arms = sorted({one["metric"].get("arm", "") for one in series})
        for arm in arms:
            of_arm = [value for one, value in zip(series, values)
                      if one["metric"].get("arm", "") == arm]
            yield (f"{'arm ' + arm if arm else 'all'}: {len(of_arm)} series, "
                   f"{min(of_arm):.4g} to {max(of_arm):.4g}")
        return
    for one, value in zip(series, values):
        labels = {name: label for name, label in one["metric"].items()
                  if name not in ("__name__", "instance", "job")}
        yield " ".join([*(f"{name} {label}" for name, label in sorted(labels.items())),
                        f"{value:.4g}"])


def main():
    bench = json.load(open(sys.argv[1], encoding="utf-8"))
    print(sample_ratio(bench))
    if len(sys.argv) < 3:
        return
    prometheus = sys.argv[2]
    time.sleep(2)  # the last scrape, and the rules after it
    for name in recording_rules(prometheus):
        series = get(prometheus, "query", query=name)["result"]
        print(f"{name}{'' if series else '  (nothing yet)'}")
        for line in describe(series):
            print(f"  {line}")


if __name__ == "__main__":
    main()
