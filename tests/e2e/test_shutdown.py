"""Requests that end before they are finished: cancelled, killed, drained."""

import signal
import subprocess

import grpc
import pytest

import api
from server_process import DEADLINE_S, ServerProcess, wait_until

STREAMS = 32


def long_request(server, **fields):
    """As many tokens as fit: it is running until somebody ends it."""
    return api.tokens_request([1], server.model_info().max_context - 1, **fields)


def test_a_cancelled_stream_frees_its_pages(demo):
    calls = [demo.stub.GenerateStream(long_request(demo), timeout=DEADLINE_S)
             for _ in range(4)]
    for call in calls:
        assert next(call).HasField("started")
    assert demo.kv_used_bytes() > 0
    for call in calls:
        call.cancel()
    demo.wait_until_idle()
    assert demo.status().running_requests == 0


def test_a_deadline_in_mid_stream_frees_its_pages(demo):
    call = demo.stub.GenerateStream(long_request(demo), timeout=0.3)
    with pytest.raises(grpc.RpcError) as error:
        list(call)
        pytest.skip("the model is too fast for the deadline to pass in mid-stream")
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    demo.wait_until_idle()


def test_a_client_that_is_killed_in_mid_stream_frees_its_pages(golden):
    """The reference model's context is long: the stream is certainly unfinished."""
    with subprocess.Popen(
            golden.ctl_command("generate", "--tokens", "1", "-n", 4000, "--stream-json"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert b"started" in client.stdout.readline()
        assert b"delta" in client.stdout.readline()
        assert golden.kv_used_bytes() > 0
        client.send_signal(signal.SIGKILL)
        golden.wait_until_idle()
    assert golden.status().running_requests == 0


def test_a_reader_that_stops_reading_does_not_stop_the_others(golden):
    idle = golden.new_channel()
    stub = api.inference_grpc.InferenceServiceStub(idle)
    trace = api.inference.TraceOptions(logits=True)  # 4 KiB a layer and token: fills the stream
    call = stub.GenerateStream(api.tokens_request([1], 2000, trace=trace), timeout=DEADLINE_S)
    assert next(call).HasField("started")
    for _ in range(5):
        assert len(golden.greedy([1, 2], 8).token_ids) == 8
    call.cancel()
    idle.close()


def test_sigterm_under_streams_loses_no_accepted_request(demo_folder):
    with ServerProcess(demo_folder) as server:
        request = api.tokens_request([1, 2, 3], 64)
        calls = [server.stub.GenerateStream(request, timeout=DEADLINE_S) for _ in range(STREAMS)]
        for call in calls:
            assert next(call).HasField("started")
        server.process.send_signal(signal.SIGTERM)
        for call in calls:
            events = list(call)
            assert events[-1].HasField("done")
            ids = [token for event in events[:-1] for token in event.delta.token_ids]
            assert len(ids) == 64
        assert server.process.wait(DEADLINE_S) == 0, server.log()


def test_a_draining_server_is_alive_not_ready_and_refuses(golden_folder):
    with ServerProcess(golden_folder, "--lame-duck", "2s", "--drain-grace", "10m") as server:
        call = server.stub.GenerateStream(api.tokens_request([1], 2000), timeout=DEADLINE_S)
        next(call)
        assert server.http("/readyz")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.http("/readyz")[0] == 503, "the server is not ready")
        assert server.http("/healthz")[0] == 200
        wait_until(lambda: server.status().draining, "the server drains")
        with pytest.raises(grpc.RpcError) as error:
            server.greedy([1], 1)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "RetryInfo" in api.details(error.value)
        assert list(call)[-1].done.usage.completion_tokens == 2000
        assert server.process.wait(DEADLINE_S) == 0, server.log()


def test_requests_beyond_the_grace_are_cancelled_and_the_exit_code_is_0(golden_folder):
    with ServerProcess(golden_folder, "--drain-grace", "0s") as server:
        call = server.stub.GenerateStream(api.tokens_request([1], 4000), timeout=DEADLINE_S)
        next(call)
        assert server.terminate() == 0, server.log()
        with pytest.raises(grpc.RpcError) as error:
            list(call)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_sigterm_of_an_idle_server_exits_with_0(demo_folder):
    with ServerProcess(demo_folder) as server:
        assert server.terminate() == 0, server.log()


def test_a_full_queue_is_refused_with_a_delay(demo_folder):
    with ServerProcess(demo_folder, "--max-batch-sequences", 1, "--max-queue", 2) as server:
        request = long_request(server)
        calls = [server.stub.GenerateStream(request, timeout=DEADLINE_S) for _ in range(8)]
        # One runs and two wait; the others have to be gone before the end is awaited.
        wait_until(lambda: sum(call.done() for call in calls) >= 5, "five are refused")
        refused = [call for call in calls if call.done()]
        for call in refused:
            assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            retry = api.details(call)["RetryInfo"].retry_delay
            assert retry.ToNanoseconds() > 0
        for call in calls:
            call.cancel()
        server.wait_until_idle()
        assert len(server.greedy([1], 2).token_ids) == 2
