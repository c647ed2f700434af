"""What survives a server: plans, their history, answers; and what a plan file does."""

import json
import resource
import signal
import sqlite3
import time

import grpc
import pytest

import api
from api import admin
from server_process import DEADLINE_S, ServerProcess, run_server, wait_until
from test_start import assert_refused


@pytest.fixture(name="start")
def _start(demo_folder, tmp_path):
    """Starts the demo model on one state directory, again and again."""
    return lambda *flags: ServerProcess(demo_folder, "--state-dir", tmp_path / "state", *flags)


def current(server):
    return server.admin.GetRouting(admin.GetRoutingRequest()).current


def write_plan(path, k, **fields):
    arm = {"armId": "default", "weight": 1,
           "policy": {"policyId": f"file-{k}", "apply": {"topK": {"k": k}}}}
    path.write_text(json.dumps({"arms": [arm], **fields}))
    return path


def test_a_restart_serves_the_last_plan_under_its_generation(start):
    with start() as server:
        server.patch(api.top_k_policy(3, "three"))
        server.patch(api.top_k_policy(2, "two"))
        before = current(server)
        experts = server.greedy([5, 6], 4).usage.expert_activations
        assert server.terminate() == 0
    with start() as server:
        assert current(server) == before
        reply = server.greedy([5, 6], 4)
        assert reply.routing.generation == 3
        assert reply.usage.expert_activations == experts
        assert server.patch(api.top_k_policy(1)).current.generation == 4
        history = server.admin.ListRoutingHistory(admin.ListRoutingHistoryRequest()).records
        assert [record.generation for record in history] == [4, 3, 2, 1]
        assert "kept in memory only" not in server.log()


def test_without_a_state_directory_the_server_says_so(demo):
    wait_until(lambda: "kept in memory only" in demo.log(), "it is logged")


def test_the_first_answer_survives_a_restart(start):
    with start() as server:
        first = server.patch(api.top_k_policy(3), idempotency_key="once")
        server.patch(api.top_k_policy(2))
    with start() as server:
        again = server.patch(api.top_k_policy(3), idempotency_key="once")
        assert again.current.generation == first.current.generation == 2
        assert again.changed
        assert current(server).generation == 3
        with pytest.raises(grpc.RpcError) as error:
            server.patch(api.top_k_policy(4), idempotency_key="once")
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert api.details(error.value)["ErrorInfo"].reason == "IDEMPOTENCY_KEY_REUSED"
        assert api.violated_fields(error.value) == ["idempotency_key"]


def test_a_plan_that_expires_gives_way_by_itself(start):
    request = admin.PatchRoutersRequest(policy=api.top_k_policy(3, "short"))
    request.ttl.FromMilliseconds(300)
    with start() as server:
        server.admin.PatchRouters(request)
        events = server.admin.WatchRouting(admin.WatchRoutingRequest(), timeout=DEADLINE_S)
        sources = []
        while "expired" not in sources:
            event = next(events)
            if event.HasField("current"):
                sources.append(event.current.source)
        events.cancel()
        assert current(server).plan.arms[0].policy.policy_id == "native"
        server.admin.PatchRouters(request)
        server.process.kill()
        server.process.wait()
    # The end of the plan passes while no server runs.
    end = time.time() + 0.3
    wait_until(lambda: time.time() > end, "the plan has expired")
    with start() as server:
        assert current(server).source == "expired"
        assert current(server).generation == 5


def test_a_second_server_is_kept_out_of_the_directory(start, demo_folder, tmp_path):
    with start() as server:
        done = run_server(demo_folder, "--state-dir", tmp_path / "state")
        assert_refused(done, 1, tmp_path / "state", server.process.pid)


def test_a_state_of_another_version_stops_the_start(start, demo_folder, tmp_path):
    with start():
        pass
    with sqlite3.connect(tmp_path / "state/state.db") as database:
        database.execute("PRAGMA user_version = 99")
    done = run_server(demo_folder, "--state-dir", tmp_path / "state")
    assert_refused(done, 1, tmp_path / "state/state.db", "schema version 99")


def test_a_log_that_is_lost_after_a_kill_loses_nothing(start, tmp_path):
    with start() as server:
        server.patch(api.top_k_policy(3))
        server.process.kill()
        server.process.wait()
    (tmp_path / "state/state.db-wal").unlink()
    with start() as server:
        assert current(server).generation == 2


@pytest.mark.parametrize("damage", ["unlink", "empty"])
def test_a_state_that_is_lost_stops_the_start(start, demo_folder, tmp_path, damage):
    with start() as server:
        server.patch(api.top_k_policy(3))
        assert server.terminate() == 0
    database = tmp_path / "state/state.db"
    database.unlink()
    if damage == "empty":
        database.touch()
    mark = tmp_path / "state/newest_generation"
    for _ in range(2):
        done = run_server(demo_folder, "--state-dir", tmp_path / "state")
        assert_refused(done, 1, database, mark, "generation 2 was acknowledged")
    mark.unlink()
    with start() as server:
        assert current(server).generation == 1


def test_a_disk_that_refuses_writes_refuses_patches_and_nothing_else(start, tmp_path):
    with start() as server:
        server.patch(api.top_k_policy(3))
        size = (tmp_path / "state/state.db-wal").stat().st_size
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, before[1]))
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as error:
                server.patch(api.top_k_policy(2))
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE
            assert api.details(error.value)["ErrorInfo"].reason == "NOT_STORED"
            assert server.greedy([5], 2).routing.generation == 2
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        assert server.patch(api.top_k_policy(1)).current.generation == 3
        server.process.kill()
        server.process.wait()
    with start() as server:
        assert current(server).generation == 3


def test_a_plan_file_is_the_first_plan(start, tmp_path):
    plan = write_plan(tmp_path / "plan.json", 3, note="from a file")
    with start("--routing", plan) as server:
        assert current(server).generation == 1
        assert current(server).source == "startup"
        assert server.greedy([5], 2).routing.policy_id == "file-3"
        server.patch(api.top_k_policy(2, "later"))
    # What came after the file stands, until the file is another one.
    with start("--routing", plan) as server:
        assert current(server).plan.arms[0].policy.policy_id == "later"
    write_plan(plan, 4)
    with start("--routing", plan) as server:
        assert current(server).plan.arms[0].policy.policy_id == "file-4"
        assert current(server).source == "file"


def test_sighup_reads_the_plan_file_again(start, tmp_path):
    plan = write_plan(tmp_path / "plan.json", 3)
    with start("--routing", plan) as server:
        write_plan(plan, 2)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: current(server).generation == 2, "the file is read again")
        assert current(server).plan.arms[0].policy.policy_id == "file-2"
        for bad in ('{"arms": [], "unknown": 1}', '{"arms": []}', "no json"):
            plan.write_text(bad)
            seen = server.log().count("nothing changes")
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: server.log().count("nothing changes") > seen, "it is refused")
        assert current(server).generation == 2
        assert server.greedy([5], 2).routing.policy_id == "file-2"
        assert server.terminate() == 0


def test_sighup_without_a_plan_file_changes_nothing(demo):
    demo.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "no --routing file" in demo.log(), "it is logged")
    assert demo.process.poll() is None


@pytest.mark.parametrize("content, words", [
    ("no json", ["RoutingPlan"]),
    ('{"arms": [], "unknwon": 1}', ["unknwon"]),
    ('{"arms": [{"armId": "A", "policy": {"policyId": "p", "apply": {"topK": {"k": 99}}}}]}',
     ["plan.arms[0].arm_id", "plan.arms[0].policy.apply.top_k.k", "weights"]),
])
def test_a_bad_plan_file_stops_the_start(demo_folder, tmp_path, content, words):
    plan = tmp_path / "plan.json"
    plan.write_text(content)
    done = run_server(demo_folder, "--routing", plan)
    assert_refused(done, 1, *words)
    assert "loaded" not in done.stderr, "the model was loaded in vain"


def test_a_model_that_is_loaded_says_so(demo):
    """What the test above does not find."""
    wait_until(lambda: "loaded 100%" in demo.log(), "it is logged")


def test_a_missing_plan_file_stops_the_start(demo_folder, tmp_path):
    missing = tmp_path / "none.json"
    assert_refused(run_server(demo_folder, "--routing", missing), 1, missing)
