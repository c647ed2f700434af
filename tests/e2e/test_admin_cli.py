"""olmoectl's admin commands against the real server: an experiment from its calibration to
its end, as an operator types it."""

import json

import pytest

from server_process import ServerProcess

CALIBRATION_TEXT = "Once upon a time there was a little fox who lived in a wood. " * 30
PLAN = "--arm control --weight 50 --arm bh --weight 50 --bh alpha=0.12,calibration=fox".split()


@pytest.fixture(scope="module", name="server")
def _server(demo_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("admin")
    (folder / "texts.txt").write_text(CALIBRATION_TEXT)
    with ServerProcess(demo_folder, "--state-dir", str(folder / "state")) as server:
        server.folder = folder
        done = server.ctl("calibration", "build", "fox", "--trim-top", 8, "--texts",
                          folder / "texts.txt")
        assert done.returncode == 0, done.stderr
        yield server


@pytest.fixture(name="experiment")
def _experiment(server):
    server.unpatch()
    patched = server.ctl_json("patch", *PLAN, "--probe", "Once upon a time", "--require-change")
    assert patched["changed"]
    yield patched
    server.unpatch()


def test_a_probe_tells_the_arms_apart(experiment):
    control, treated = experiment["probeResults"]
    assert control["maxAbsLogitDifference"] == 0 and control["layersCovered"] == 0
    assert treated["maxAbsLogitDifference"] > 0
    assert treated["layersCovered"] == 16
    assert treated["meanExpertsPerToken"] != 8


def test_a_probe_without_a_change_refuses_the_patch(server):
    before = server.ctl_json("routing")["current"]["generation"]
    done = server.ctl("patch", "--top-k", 8, "--weights", "sum-to-one", "--dry-run")
    assert done.returncode == 0, done.stderr
    done = server.ctl("patch", "--bh", "alpha=1e-12,calibration=fox,min=8,max=8", "--probe",
                      "Once upon a time", "--require-change")
    assert done.returncode == 4
    assert "PROBE_UNCHANGED" in done.stderr
    assert server.ctl_json("routing")["current"]["generation"] == before


def test_units_keep_their_arm(server, experiment):
    rows = server.ctl_json("explain", "alice", "bob", "carol")["assignments"]
    for row in rows:
        reply = server.ctl_json("generate", "Once", "-n", 1, "--unit", row["unitId"])
        assert reply["routing"]["armId"] == row["armId"]
    assert experiment["current"]["generation"] == reply["routing"]["generation"]


def test_experts_are_counted_by_arm(server, experiment):
    for unit in range(12):
        server.ctl_json("generate", "Once upon a time", "-n", 4, "--unit", f"u{unit}")
    stats = server.ctl_json("experts")
    arms = {arm["armId"]: arm for arm in stats["arms"] if arm["phase"] == "PHASE_DECODE"}
    for arm in ("control", "bh"):
        for layer in arms[arm]["layers"]:
            assert sum(map(int, layer["expertTokens"])) == sum(
                k * int(tokens) for k, tokens in enumerate(layer["expertsPerToken"]))
    heat_map = server.ctl("experts", "--arm", "control", "--layers", "0-3", "--format",
                          "heatmap").stdout
    assert len([line for line in heat_map.splitlines() if line[:1].isdigit()]) == 4
    assert "arm control" in heat_map
    assert "TV" in server.ctl("experts", "diff", "control", "bh").stdout
    assert experiment["current"]["plan"]["arms"][1]["armId"] == "bh"


def test_history_rolls_back_and_forth(server, experiment):
    first = experiment["current"]["generation"]
    second = server.ctl_json("patch", "--top-k", 4, "--ttl", "10m")["current"]["generation"]
    assert int(second) == int(first) + 1
    assert server.ctl_json("renew", second, "--ttl", "20m")["expireTime"]
    back = server.ctl_json("rollback")
    assert back["current"]["digest"] == experiment["current"]["digest"]
    records = server.ctl_json("history")["records"]
    assert [record["source"] for record in records[:3]] == ["rollback", "patch", "patch"]
    assert [int(record["generation"]) for record in records[:2]] == [int(second) + 1, int(second)]


def test_a_calibration_in_use_stays(server, experiment):
    assert experiment["changed"]
    done = server.ctl("calibration", "delete", "fox")
    assert done.returncode == 4
    assert "CALIBRATION_IN_USE" in done.stderr


def test_a_calibration_survives_export_and_import(server):
    listed = server.ctl_json("calibration", "list")["calibrations"]
    digest = {row["calibrationId"]: row["digest"] for row in listed}["fox"]
    exported = server.folder / "fox.json"
    exported.write_text(server.ctl("calibration", "get", "fox").stdout)
    copied = server.ctl_json("calibration", "put", "fox-2", exported)
    assert copied["calibration"]["digest"] == digest
    assert server.ctl("calibration", "delete", "fox-2").returncode == 0
    assert "fox-2" not in json.dumps(server.ctl_json("calibration", "list"))
