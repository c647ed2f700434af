"""The log: one line for each request, JSON that parses, nothing of a prompt."""

import json
import os
import re

import grpc
import pytest

import api
from server_process import ServerProcess, wait_until

SECRET = "xylophone"
REFUSED = 200


def use(server):
    """One generation, one stream, one score, many refusals; returns the reply to the first."""
    request = api.inference.GenerateRequest(text=f"The {SECRET} was", max_new_tokens=5,
                                            ignore_eos=True)
    reply = server.generate(request)
    for _ in server.stub.GenerateStream(request):
        pass
    item = api.inference.ScoreItem(context_text="Once", continuation_text=f" {SECRET}")
    server.score(item)
    for _ in range(REFUSED):
        with pytest.raises(grpc.RpcError):
            server.generate(api.inference.GenerateRequest(text=f"{SECRET}", max_new_tokens=0,
                                                          stop=[SECRET, ""]))
    server.wait_until_idle()
    return reply


def test_every_line_is_an_object_and_every_request_has_one(demo_folder):
    with ServerProcess(demo_folder, "--log-format", "json") as server:
        reply = use(server)
        server.patch(api.top_k_policy(1))
        assert server.terminate() == 0
        log = server.log()
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "severity", "message"} <= line.keys() for line in lines)
    assert any(line["message"].startswith("serving ") for line in lines)
    assert any(line["message"] == "draining" for line in lines)
    requests = [line for line in lines if line["message"] == "request"]
    accepted = [line for line in requests if line["code"] == "OK"]
    assert [line["method"] for line in accepted] == ["Generate", "GenerateStream", "Score"]
    first = accepted[0]
    assert first["request_id"] == reply.request_id
    assert first["arm"] == "default"
    assert first["generation"] == reply.routing.generation
    assert first["policy"] == reply.routing.policy_id
    assert first["prompt_tokens"] == reply.usage.prompt_tokens
    assert first["completion_tokens"] == 5
    assert first["finish_reason"] == "length"
    assert 0 < first["queue_seconds"] <= first["ttft_seconds"] <= first["total_seconds"]
    assert "finish_reason" not in accepted[2]
    refused = [line for line in requests if line["code"] == "INVALID_ARGUMENT"]
    suppressed = [line["suppressed"] for line in lines if line["message"] == "refused requests"]
    assert 1 <= len(refused) < REFUSED / 2
    assert len(refused) + sum(suppressed) == REFUSED
    assert SECRET not in log


def test_text_is_one_line_a_request(demo_folder):
    with ServerProcess(demo_folder) as server:
        reply = use(server)
        wait_until(lambda: "method=Score" in server.log(), "the requests are logged")
        log = server.log()
    line = re.search(r"^I\d{8} [\d:.]+ request\] method=Generate protocol=grpc "
                     rf"request_id={reply.request_id} "
                     r"code=OK arm=default generation=\d+ policy=\S+ finish_reason=length "
                     r"prompt_tokens=\d+ completion_tokens=5 queue_seconds=\S+ ttft_seconds=\S+ "
                     r"total_seconds=\S+$", log, re.MULTILINE)
    assert line, log
    assert SECRET not in log


def test_requests_can_be_left_out(demo_folder):
    with ServerProcess(demo_folder, "--request-log", "off") as server:
        use(server)
        assert server.terminate() == 0
        assert "method=" not in server.log()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_reader_that_takes_nothing_holds_nobody_up(demo_folder, log_format):
    """stderr is a pipe that nobody reads; several times what it holds is logged."""
    reader, writer = os.pipe()
    try:
        with ServerProcess(demo_folder, "--log-format", log_format, stderr=writer) as server:
            for i in range(1000):
                server.generate(api.tokens_request([5], 1, request_id=f"{i:0>60}"))
            server.wait_until_idle()
            assert server.terminate() == 0
        assert os.read(reader, 100)
    finally:
        os.close(reader)
        os.close(writer)
