"""Signals while something waits: the first ends the server in order, a second one at once."""

import contextlib
import os
import signal
import subprocess
import threading

import grpc
import pytest

import api
from api import admin
from server_process import DEADLINE_S, ServerProcess, running, server_command, wait_until
from test_state import write_plan
from unread_stream import HOLD_S, UnreadStream


@contextlib.contextmanager
def held(model, tmp_path, *flags):
    """A server, the stream in its only slot that nobody reads, and a patch whose probe waits for
    that slot: whoever else patches waits for the probe."""
    plan = write_plan(tmp_path / "plan.json", 3)
    with (ServerProcess(model, "--max-batch-sequences", 1, "--routing", plan, *flags) as server,
          UnreadStream(server) as stream):
        request = admin.PatchRoutersRequest(policy=api.top_k_policy(2))
        request.probe.SetInParent()
        patch = server.admin.PatchRouters.future(request, timeout=HOLD_S)
        wait_until(lambda: server.status().queued_requests == 1, "the probe waits")
        yield server, stream, patch


def test_a_reload_behind_a_probe_holds_up_no_sigterm_and_a_second_one_ends_it(
        demo_folder, tmp_path):
    with held(demo_folder, tmp_path, "--lame-duck", "10m") as (server, stream, patch):
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.http("/readyz")[0] == 503, "the server is not ready")
        assert not patch.done() and server.is_generating(stream.started.request_id), \
            "the reload was not behind a probe"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
        assert server.log().count("SIGTERM again: ends at once") == 1


def test_a_drain_ends_the_probe_and_with_it_the_reload(demo_folder, tmp_path):
    with held(demo_folder, tmp_path, "--drain-grace", "0s") as (server, _, patch):
        server.process.send_signal(signal.SIGHUP)
        assert server.terminate() == 0, server.log()
        with pytest.raises(grpc.RpcError):
            patch.result()
        assert "drained" in server.log()


def test_calls_that_arrive_while_the_ports_close_are_unavailable(demo_folder):
    codes, started = [], []

    def call_until_refused(server):
        stub = api.inference_grpc.InferenceServiceStub(server.new_channel())
        while True:
            try:
                stub.GetModelInfo(api.inference.GetModelInfoRequest(), timeout=DEADLINE_S)
                started.append(True)
            except grpc.RpcError as error:
                codes.append(error.code())
                return

    with ServerProcess(demo_folder) as server:
        callers = [threading.Thread(target=call_until_refused, args=(server,)) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_until(lambda: len(started) > 100, "calls are answered")
        assert server.terminate() == 0
        for caller in callers:
            caller.join()
    assert set(codes) == {grpc.StatusCode.UNAVAILABLE}


def test_a_signal_while_the_model_loads_ends_it_with_a_line(demo_folder, tmp_path):
    """A pipe in place of a plan file that nobody writes holds the start."""
    pipe = tmp_path / "plan.json"
    os.mkfifo(pipe)
    with running(server_command(demo_folder, "--routing", pipe),
                 stderr=subprocess.PIPE, text=True) as process:
        with open(pipe, "w", encoding="ascii"):  # opened by the server: it has begun
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM before the server serves" in log
