"""deploy/experiment.sh, in seconds: an A/B experiment from the patch to what dashboards show."""

import os
import re
import shutil
import subprocess

import pytest

import api
from server_process import DEADLINE_S, bin_dir

OBSERVABILITY = api.SOURCE_DIR / "deploy/observability"
WITH_PROMETHEUS = shutil.which("prometheus") and (OBSERVABILITY / "rules.yml").exists()


def run_experiment(*arguments, **variables):
    environment = {**os.environ, "OLMOE_BIN_DIR": str(bin_dir().resolve()),
                   "OLMOE_EXPERIMENT_SECONDS": "3", "GOMAXPROCS": "1", **variables}
    done = subprocess.run([api.SOURCE_DIR / "deploy/experiment.sh", *arguments], check=False,
                          capture_output=True, text=True, env=environment, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", name="output")
def _output(tmp_path_factory):
    keep = tmp_path_factory.mktemp("experiment") / "kept"
    # A corpus that is absent: a rule without calibration.
    return run_experiment("--keep", keep, OLMOE_EVAL_CORPUS="absent"), keep


def test_both_arms_have_requests_and_a_perplexity(output):
    for arm, policy in (("control", "native"), ("candidate", "top-p-0-5")):
        row = re.search(rf"^{arm} +(\d+) +0 +\S+ +(\d+) +\S+ +(\d+) +(\S+)  {policy}$", output[0],
                        re.MULTILINE)
        assert row, output[0]
        assert int(row[1]) > 0 and int(row[2]) > 0
        assert int(row[3]) == 0 or float(row[4]) > 1


def test_the_sample_ratio_is_checked(output):
    counts = re.search(r"requests: candidate (\d+), control (\d+); chi-square (\S+), p = ",
                       output[0])
    assert counts, output[0]
    candidate, control = int(counts[1]), int(counts[2])
    chi2 = (candidate - control) ** 2 / (candidate + control)
    assert float(counts[3]) == pytest.approx(chi2, abs=0.01)


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
