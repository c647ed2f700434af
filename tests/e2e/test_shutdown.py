"""Requests that end before they are finished: cancelled, killed, drained."""

import signal
import subprocess
import sys

import grpc
import pytest

import api
import unread_stream
from server_process import DEADLINE_S, ServerProcess, running, wait_until
from unread_stream import CHANNEL_OPTIONS, HOLD_S, UnreadStream, heavy_request

HELD = 3
STREAMS = 29


def test_a_cancelled_stream_frees_its_pages(demo):
    streams = [UnreadStream(demo).await_running() for _ in range(4)]
    assert demo.kv_used_bytes() > 0
    for stream in streams:
        stream.close()
    demo.wait_until_idle()
    assert demo.status().running_requests == 0


def test_a_deadline_in_mid_stream_frees_its_pages(demo):
    with grpc.insecure_channel(demo.address(), options=CHANNEL_OPTIONS) as channel:
        stub = api.inference_grpc.InferenceServiceStub(channel)
        call = stub.GenerateStream(heavy_request(demo.model_info(), [1]), timeout=1)
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    demo.wait_until_idle()


def test_a_client_that_is_killed_in_mid_stream_frees_its_pages(demo):
    with running([sys.executable, unread_stream.__file__, demo.address()],
                 stdout=subprocess.PIPE, text=True) as client:
        request_id = client.stdout.readline().strip()
        wait_until(lambda: demo.is_generating(request_id), "the stream is running")
        assert demo.kv_used_bytes() > 0
        client.kill()
        demo.wait_until_idle()
    assert demo.status().running_requests == 0


def test_a_reader_that_stops_reading_does_not_stop_the_others(demo):
    with UnreadStream(demo) as stream:
        for _ in range(5):
            assert len(demo.greedy([1, 2], 8).token_ids) == 8
        assert demo.status().running_requests == 1
        done = stream.read()[-1].done
    assert done.usage.completion_tokens == stream.max_new_tokens


def test_sigterm_under_streams_loses_no_accepted_request(demo_folder):
    """All slots are held when SIGTERM comes, and many requests wait for one."""
    with ServerProcess(demo_folder, "--max-batch-sequences", HELD) as server:
        held = [UnreadStream(server).await_running() for _ in range(HELD)]
        request = api.tokens_request([1, 2, 3], 64)
        calls = [server.stub.GenerateStream(request, timeout=HOLD_S) for _ in range(STREAMS)]
        for call in calls:
            assert next(call).HasField("started")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.status().draining, "the server drains")
        for stream in held:
            assert generated(stream.read()) == stream.max_new_tokens
        for call in calls:
            assert generated(list(call)) == 64
        assert server.process.wait(DEADLINE_S) == 0, server.log()


def generated(events):
    """The number of tokens of a stream that has come to its end."""
    assert events[-1].HasField("done")
    return sum(len(event.delta.token_ids) for event in events[:-1])


def test_a_draining_server_is_alive_not_ready_and_refuses(demo_folder):
    with (ServerProcess(demo_folder, "--lame-duck", "100ms", "--drain-grace", "10m") as server,
          UnreadStream(server) as stream):
        assert server.http("/readyz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.http("/readyz")[0] == 503, "the server is not ready")
        assert server.http("/healthz")[0] == 200
        wait_until(lambda: server.status().draining, "the server drains")
        with pytest.raises(grpc.RpcError) as error:
            server.greedy([1], 1)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "RetryInfo" in api.details(error.value)
        assert generated(stream.read()) == stream.max_new_tokens
        assert server.process.wait(DEADLINE_S) == 0, server.log()


def test_requests_beyond_the_grace_are_cancelled_and_the_exit_code_is_0(demo_folder):
    with (ServerProcess(demo_folder, "--drain-grace", "0s", "--max-batch-sequences", 1) as server,
          UnreadStream(server) as running):
        waiting = server.stub.GenerateStream(api.tokens_request([1], 1), timeout=HOLD_S)
        assert next(waiting).HasField("started")
        assert server.terminate() == 0, server.log()
        with pytest.raises(grpc.RpcError) as error:
            list(waiting)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.RpcError):
            running.read()


def test_sigterm_of_an_idle_server_exits_with_0(demo_folder):
    with ServerProcess(demo_folder) as server:
        assert server.terminate() == 0, server.log()


def test_a_full_queue_is_refused_with_a_delay(demo_folder):
    with (ServerProcess(demo_folder, "--max-batch-sequences", 1, "--max-queue", 2) as server,
          UnreadStream(server) as stream):
        request = api.tokens_request([1], 1)
        calls = [server.stub.GenerateStream(request, timeout=HOLD_S) for _ in range(7)]
        # Two wait; the others have to be gone before the end is awaited.
        wait_until(lambda: sum(call.done() for call in calls) == 5, "five are refused")
        refused = [call for call in calls if call.done()]
        for call in refused:
            assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            retry = api.details(call)["RetryInfo"].retry_delay
            assert retry.ToNanoseconds() > 0
        stream.close()
        for call in calls:
            if call not in refused:
                assert generated(list(call)) == 1
        server.wait_until_idle()
