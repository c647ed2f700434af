"""docs/reference/metrics.md, from /metrics of a server that has done everything once."""

import collections
import re

import api
from api import admin, inference, routing
from server_process import DEADLINE_S, ServerProcess, wait_until

SAMPLE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"')
SUFFIX = re.compile(r"_(bucket|sum|count)$")
# Labels with few values, all of which the page lists.
LISTED = ["decision", "bound", "phase", "outcome"]
HEADING = """# Metrics

`http://127.0.0.1:9464/metrics` is for Prometheus: text format, gzip. Units are base units,
counters end in `_total`. [deploy/observability](../../deploy/observability/README.md) has rules,
alerts and dashboards, and tells which arms have series and how many there are.

"""


class Metric:
    """What a page of /metrics says of one metric."""

    def __init__(self):
        self.help = self.type = ""
        self.labels = []
        self.bounds = []

    def add(self, labels):
        for name, value in labels:
            if name == "le":
                if value not in self.bounds:
                    self.bounds.append(value)
            elif name not in self.labels:
                self.labels.append(name)


def read(text):
    """{name: Metric} in the order of the page, and {label: set of its values}."""
    metrics = collections.defaultdict(Metric)
    values = collections.defaultdict(set)
    for line in text.splitlines():
        if line.startswith("#"):
            _, what, name, rest = line.split(" ", 3)
            setattr(metrics[name], what.lower(), rest)
            continue
        name, labels, _ = SAMPLE.match(line).groups()
        labels = LABEL.findall(labels or "")
        family = name if name in metrics else SUFFIX.sub("", name)
        metrics[family].add(labels)
        for label, value in labels:
            values[label].add(value)
    return metrics, values


def _use_everything(server):
    """A request of each kind under a plan that applies and analyzes rules with parameters."""
    rule = routing.Rule(top_p=routing.TopP(p=0.5, min_k=1, max_k=16))
    policy = routing.RoutingPolicy(policy_id="half", apply=rule,
                                   analyze=routing.Rule(top_k=routing.TopK(k=1)))
    server.admin.PatchRouters(admin.PatchRoutersRequest(policy=policy), timeout=DEADLINE_S)
    server.generate(api.tokens_request([5, 6, 7], 4))
    item = inference.ScoreItem()
    item.continuation_tokens.ids.extend([5, 6, 7])
    server.score(item)


def scrape(model):
    with ServerProcess(model) as server:
        _use_everything(server)

        def text():
            return server.http("/metrics")[1]

        def is_whole():
            return 'olmoe_requests_total{arm="default",method="Score",protocol="grpc",code="OK"} 1' in text()

        wait_until(is_whole, "both requests are counted")
        return text()


def page(text):
    metrics, values = read(text)
    lines = ["| metric | type | labels | |", "| --- | --- | --- | --- |"]
    for name, metric in metrics.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {metric.type} | {labels} | {metric.help} |")
    lines += ["", "## Values of labels", "", "| label | values |", "| --- | --- |",
              "| `arm` | name of an arm of the plan; `inline`, `probe`; empty where a refused "
              "request found none |",
              "| `layer`, `expert` | number from 0, with two digits at least |",
              "| `method` | name of the RPC |",
              "| `code` | code of gRPC, as `OK` or `INVALID_ARGUMENT` |"]
    for label in LISTED:
        listed = ", ".join(f"`{value}`" for value in sorted(values[label]))
        lines.append(f"| `{label}` | {listed} |")
    lines += ["", "## Buckets", "", "| metric | upper bounds |", "| --- | --- |"]
    for name, metric in metrics.items():
        if metric.bounds:
            lines.append(f"| `{name}` | {', '.join(metric.bounds)} |")
    return HEADING + "\n".join(lines) + "\n"
