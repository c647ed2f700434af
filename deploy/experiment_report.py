"""The end of experiment.sh: the values of all recording rules, and the verdict.

    experiment_report.py rules http://PROMETHEUS
    experiment_report.py verdict BENCH.json
"""

import json
import sys
import time
import urllib.parse
import urllib.request


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


def print_rules(prometheus):
    time.sleep(2)  # the last scrape, and the rules after it
    for name in recording_rules(prometheus):
        series = get(prometheus, "query", query=name)["result"]
        print(f"{name}{'' if series else '  (nothing yet)'}")
        for line in describe(series):
            print(f"  {line}")


def print_verdict(path):
    with open(path, encoding="utf-8") as file:
        comparison = json.load(file)["comparison"]
    for sentence in comparison["verdict"]:
        print(sentence)


if __name__ == "__main__":
    {"rules": print_rules, "verdict": print_verdict}[sys.argv[1]](sys.argv[2])
