"""Under the same limits ordinary clients miss nothing."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

import api
from edge_server import BARE, EDGE, MIB, SETTLE_S
from server_process import DEADLINE_S, wait_until

def channel(victim, port="listen", **options):
    """A stock client's connection of its own."""
    options = {"grpc.use_local_subchannel_pool": 1, **options}
    return grpc.insecure_channel(f"127.0.0.1:{victim.ports[port]}", options=list(options.items()))


@pytest.mark.parametrize("setup", [BARE, EDGE], ids=lambda setup: setup.name)
def test_a_client_that_asks_for_64_mib_gets_them(setup, arena):
    """gRPC's clients take 4 MiB unless they say how much."""
    victim = arena.victim(setup)
    victim.forget_peaks()
    request = api.inference.ScoreRequest(trace=api.inference.TraceOptions(logits=True))
    for _ in range(31):
        item = request.items.add()
        item.context_tokens.ids.append(1)
        item.continuation_tokens.ids.extend([2] * 511)
    with channel(victim, **{"grpc.max_receive_message_length": 64 * MIB}) as client:
        stub = api.inference_grpc.InferenceServiceStub(client)
        reply = stub.Score(request, timeout=DEADLINE_S)
    assert 56 * MIB < reply.ByteSize() < 64 * MIB
    victim.check_memory("at most")


@pytest.mark.parametrize("setup", [BARE, EDGE], ids=lambda setup: setup.name)
def test_twenty_clients_are_served_beside_each_other(setup, arena):
    """Streams, scores, texts, status, metrics; each on a connection of its own."""
    victim = arena.victim(setup)
    begin = threading.Barrier(20)

    def work(number):
        begin.wait(SETTLE_S)
        with channel(victim) as client, channel(victim, "admin") as operator:
            stub = api.inference_grpc.InferenceServiceStub(client)
            admin = api.admin_grpc.RoutingAdminServiceStub(operator)
            for _ in range(3):
                events = list(stub.GenerateStream(api.tokens_request([1, number + 2], 8),
                                                  timeout=DEADLINE_S))
                assert events[-1].done.usage.completion_tokens == 8
                item = api.inference.ScoreItem(context_text="the", continuation_text=" dog")
                scored = stub.Score(api.inference.ScoreRequest(items=[item]), timeout=DEADLINE_S)
                assert scored.results[0].token_count > 0
                ids = stub.Tokenize(api.inference.TokenizeRequest(text="a dog"),
                                    timeout=DEADLINE_S).ids
                back = stub.Detokenize(api.inference.DetokenizeRequest(ids=ids), timeout=DEADLINE_S)
                assert back.text.strip() == "a dog"
                admin.GetServerStatus(api.admin.GetServerStatusRequest(), timeout=DEADLINE_S)
                assert victim.server.http("/metrics")[0] == 200
        return True
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(work, range(20)))


@pytest.mark.parametrize("setup", [BARE, EDGE], ids=lambda setup: setup.name)
def test_a_stream_that_runs_at_sigterm_is_finished(setup, arena):
    """It is held by not being read: its traces are more than all buffers on the way take."""
    victim = arena.victim(setup)
    try:
        request = api.tokens_request([1], 500)
        request.trace.logits = True
        with channel(victim) as client:
            stream = api.inference_grpc.InferenceServiceStub(client).GenerateStream(
                request, timeout=DEADLINE_S)
            assert next(stream).HasField("started")
            victim.server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not victim.ready(), "the server drains")
            assert list(stream)[-1].done.usage.completion_tokens == 500
        assert victim.server.process.wait(DEADLINE_S) == 0
    finally:
        arena.close()
