"""deploy/experiment.sh, in seconds: an A/B experiment from the patch to what dashboards show."""

import os
import re
import shutil
import subprocess

import pytest

import api
from server_process import DEADLINE_S, bin_dir

OBSERVABILITY = api.SOURCE_DIR / "deploy/observability"
ARMS = {"control": "native", "candidate": "top-p-0-5"}  # their policies
WITH_PROMETHEUS = shutil.which("prometheus") and (OBSERVABILITY / "rules.yml").exists()


def run_experiment(*arguments, seconds):
    # A corpus that is absent: a rule without calibration.
    environment = {**os.environ, "OLMOE_BIN_DIR": str(bin_dir().resolve()), "GOMAXPROCS": "1",
                   "OLMOE_EXPERIMENT_SECONDS": str(seconds), "OLMOE_EVAL_CORPUS": "absent"}
    done = subprocess.run([api.SOURCE_DIR / "deploy/experiment.sh", *arguments], check=False,
                          capture_output=True, text=True, env=environment,
                          timeout=2 * DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", name="output")
def _output(tmp_path_factory):
    # Seconds of traffic are few requests on a slow machine.
    for seconds in (3, 12, 48):
        keep = tmp_path_factory.mktemp("experiment") / "kept"
        text = run_experiment("--keep", keep, seconds=seconds)
        if all(int(arm_row(text, arm)[1]) >= 5 for arm in ARMS):
            break
    return text, keep


def arm_row(text, arm):
    """The match of an arm's row in the table of traffic."""
    row = re.search(rf"^{arm} +(\d+) +0 +\S+ +(\d+) +\S+ +(\d+) +(\S+)  {ARMS[arm]}$", text,
                    re.MULTILINE)
    assert row, text
    return row


def test_both_arms_have_requests_and_a_perplexity(output):
    for arm in ARMS:
        row = arm_row(output[0], arm)
        assert int(row[1]) > 0 and int(row[2]) > 0
        assert int(row[3]) == 0 or float(row[4]) > 1


def test_it_ends_with_the_verdict(output):
    end = output[0].partition("\n6. The verdict")[2]
    counts = re.search(r"^split: as planned: control (\d+) units \(planned 50.0%\), "
                       r"candidate (\d+) units \(planned 50.0%\); chi-square (\S+), p = ", end,
                       re.MULTILINE)
    assert counts, output[0]
    control, candidate = int(counts[1]), int(counts[2])
    chi2 = (candidate - control) ** 2 / (candidate + control)
    assert float(counts[3]) == pytest.approx(chi2, abs=0.01)
    for metric in ("end-to-end latency", "time to first token", "generated length"):
        assert re.search(rf"^{metric}: .*candidate", end, re.MULTILINE), end


def test_the_arms_experts_are_compared(output):
    assert "change of load, in even shares" in output[0]


@pytest.mark.skipif(not WITH_PROMETHEUS, reason="no prometheus, or no deploy/observability")
def test_prometheus_has_what_the_dashboards_show(output):
    text, keep = output
    for name in ("instance_arm:olmoe_assignments:increase1h",
                 "instance_arm_layer:olmoe_moe_experts_per_token:mean5m",
                 "instance_arm_layer:olmoe_moe_decision_jaccard:ratio5m"):
        assert f"\n{name}\n  arm c" in text, text
    assert any((keep / "data").rglob("*")) and (keep / "prometheus.yml").exists()


def test_bad_usage_is_told():
    done = subprocess.run([api.SOURCE_DIR / "deploy/experiment.sh", "--kep"], check=False,
                          capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 2 and "usage:" in done.stderr
