"""The dashboards against Grafana's own schema: its SDK, generated from that schema, reads
each of them and writes it again, and no field is lost that it would know.

tests/deploy/observability has the rules of the house, test_prometheus.py runs the queries.
"""

import copy
import json
import re

import pytest

from prometheus_process import OBSERVABILITY

pytest.importorskip("grafana_foundation_sdk", reason="see tests/e2e/requirements.txt")

from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402
from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: E402

PATHS = sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json"))

# What Grafana writes itself and its schema leaves out.
NOT_IN_THE_SCHEMA = re.compile(
    r"annotations\.list\.\d+\.(titleFormat|textFormat|useValueForTime|step)"  # of Prometheus
    r"|templating\.list\.\d+\.definition")

register_default_plugins()


def fields(value, path=""):
    """{path: value} of everything that is not a container."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {path: value}
    found = {}
    for key, item in items:
        found |= fields(item, f"{path}.{key}" if path else str(key))
    return found


def lost_fields(dashboard):
    """What is not the same after a round trip through Grafana's types."""
    text = JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(dashboard)))
    again = fields(json.loads(text))
    return {path for path, value in fields(dashboard).items()
            if again.get(path) != value and not NOT_IN_THE_SCHEMA.fullmatch(path)}


@pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])
def test_grafana_knows_every_field(path):
    dashboard = json.loads(path.read_text())
    assert dashboard["panels"]
    assert lost_fields(dashboard) == set()


def test_a_field_that_grafana_does_not_know_is_found():
    dashboard = json.loads(PATHS[0].read_text())
    panel = next(panel for panel in dashboard["panels"] if panel["type"] == "timeseries")
    panel["options"]["legend"]["displayedMode"] = "table"
    panel["gridPosition"] = {}
    panel["gridPosition"]["x"] = 1
    assert len(lost_fields(dashboard)) == 2
