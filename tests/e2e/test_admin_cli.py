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
    control, treated = experiment["probe_results"]
    assert control["max_abs_logit_difference"] == 0 and control["layers_covered"] == 0
    assert treated["max_abs_logit_difference"] > 0
    assert treated["layers_covered"] == 16
    assert treated["mean_experts_per_token"] != 8


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
        reply = server.ctl_json("generate", "Once", "-n", 1, "--unit", row["unit_id"])
        assert reply["routing"]["arm_id"] == row["arm_id"]
    assert experiment["current"]["generation"] == reply["routing"]["generation"]


def test_experts_are_counted_by_arm(server, experiment):
    for unit in range(12):
        server.ctl_json("generate", "Once upon a time", "-n", 4, "--unit", f"u{unit}")
    stats = server.ctl_json("experts")
    arms = {arm["arm_id"]: arm for arm in stats["arms"] if arm["phase"] == "PHASE_DECODE"}
    for arm in ("control", "bh"):
        for layer in arms[arm]["layers"]:
            assert sum(map(int, layer["expert_tokens"])) == sum(
                k * int(tokens) for k, tokens in enumerate(layer["experts_per_token"]))
    heat_map = server.ctl("experts", "--arm", "control", "--layers", "0-3", "--format",
                          "heatmap").stdout
    assert len([line for line in heat_map.splitlines() if line[:1].isdigit()]) == 4
    assert "arm control" in heat_map
    assert "TV" in server.ctl("experts", "diff", "control", "bh").stdout
    assert experiment["current"]["plan"]["arms"][1]["arm_id"] == "bh"


def test_experts_are_those_of_the_current_plan(server, experiment):
    assert experiment["changed"]
    server.ctl_json("generate", "Once upon a time", "-n", 2, "--unit", "u")
    server.ctl_json("patch", "--arm", "solo", "--top-k", 2, "--policy-id", "solo-2")
    assert server.ctl_json("experts")["arms"] == []
    server.ctl_json("generate", "Once upon a time", "-n", 2)

    def policies(*flags):
        return {arm["policy_id"] for arm in server.ctl_json("experts", *flags)["arms"]}
    assert policies() == {"solo-2"}
    assert policies("--since", "5m") == {"solo-2"}
    assert policies("--arm", "solo") == {"solo-2"}
    assert len(policies("--all")) > 1
    assert len(policies("--all", "--since", "5m")) > 1
    assert policies("--policy", "solo-2") == {"solo-2"}
    done = server.ctl("experts", "--policy", "nobody")
    assert done.returncode == 4 and "solo-2" in done.stderr
    done = server.ctl("experts", "--arm", "solos")
    assert done.returncode == 4 and "it has: solo" in done.stderr
    assert server.ctl("experts", "--arm", "solos", "--all").returncode == 4
    assert server.ctl("experts", "--watch", "--arm", "solos").returncode == 4
    done = server.ctl("experts", "--arm", "bh")
    assert done.returncode == 4 and "--all also shows" in done.stderr
    assert server.ctl("experts", "--arm", "bh", "--all").returncode == 0
    assert server.ctl("experts", "diff", "bh", "solo").returncode == 4
    assert server.ctl("experts", "diff", "solo", "solo").returncode == 0
    for arguments in ((), ("--all",), ("--format", "heatmap", "--all"), ("--kind", "applied")):
        done = server.ctl("experts", *arguments)
        assert max(map(len, done.stdout.splitlines())) <= 80
    for column in ("MEAN K", "SD", "AT MIN", "MASS", "ENTROPY", "LOAD", "JAIN", "IDLE", "OVERLAP"):
        assert column in server.ctl("experts", "--help").stdout


def test_a_time_to_live_is_set_told_and_never_lost_silently(server, experiment):
    first = experiment["current"]["generation"]
    server.ctl_json("patch", "--top-k", 4, "--ttl", "10m")
    assert " UTC  " in server.ctl("history", "-n", "1").stdout.splitlines()[1]
    assert server.ctl_json("history", "-n", "1")["records"][0]["expire_time"]
    assert server.ctl("renew", "--ttl", "20m").stdout.startswith("renewed: generation ")
    lost = server.ctl("rollback")
    assert "warning: the time to live of generation " in lost.stdout
    assert "is not taken over" in lost.stdout
    again = server.ctl("rollback", first, "--ttl", "5m")
    assert ", until " in again.stdout and "warning" not in again.stdout
    assert server.ctl_json("routing")["current"]["expire_time"]
    assert server.ctl("renew", 1, "--ttl", "20m").returncode == 4


def test_what_two_arms_do_alike_is_warned_of_once(server):
    done = server.ctl("patch", "--arm", "a", "--top-k", 4, "--weights", "sum-to-one", "--arm", "b",
                      "--top-k", 2, "--weights", "sum-to-one", "--dry-run")
    assert done.stdout.count("warning: ") == 1
    assert "plan.arms[0].policy.apply.weight_mode, plan.arms[1]" in done.stdout
    assert "Prometheus series" not in done.stdout


def test_a_missing_calibration_is_told_once(server):
    done = server.ctl("patch", "--bh", "0.1,calibration=nowhere")
    assert done.returncode == 4
    assert done.stderr.count('calibration "nowhere" does not exist') == 1
    assert "CALIBRATION_MISSING calibrations/nowhere" in done.stderr


def test_history_rolls_back_and_forth(server, experiment):
    first = experiment["current"]["generation"]
    second = server.ctl_json("patch", "--top-k", 4, "--ttl", "10m")["current"]["generation"]
    assert int(second) == int(first) + 1
    assert server.ctl_json("renew", second, "--ttl", "20m")["expire_time"]
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
    digest = {row["calibration_id"]: row["digest"] for row in listed}["fox"]
    exported = server.folder / "fox.json"
    exported.write_text(server.ctl("calibration", "get", "fox").stdout)
    copied = server.ctl_json("calibration", "put", "fox-2", exported)
    assert copied["calibration"]["digest"] == digest
    assert server.ctl("calibration", "delete", "fox-2").returncode == 0
    assert "fox-2" not in json.dumps(server.ctl_json("calibration", "list"))
