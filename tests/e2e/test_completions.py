"""The completions port of the real binary, by plain HTTP."""

import http.client
import json
import signal

import pytest

import api
from server_process import DEADLINE_S, ServerProcess

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def completions(demo_folder):
    with ServerProcess(demo_folder, "--completions-listen", "127.0.0.1:0",
                       "--allow-inline-policy") as server:
        yield server


def connect(server):
    return http.client.HTTPConnection("127.0.0.1", server.ports["completions"], timeout=DEADLINE_S)


def ask(server, path, body=None, headers=None):
    """(status, headers, JSON) of one request."""
    connection = connect(server)
    data = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, data, headers or {})
    reply = connection.getresponse()
    return reply.status, reply.headers, json.loads(reply.read())


def complete(server, **fields):
    status, headers, reply = ask(server, "/v1/completions", fields)
    assert status == 200, reply
    return headers, reply


def test_a_completion_is_what_generate_answers(completions):
    request = api.inference.GenerateRequest(text="Once upon a time", max_new_tokens=12)
    request.sampling.temperature = 0
    generated = completions.generate(request)
    headers, reply = complete(completions, prompt="Once upon a time", max_tokens=12, temperature=0)
    assert reply["choices"][0]["text"] == generated.text
    assert reply["usage"]["prompt_tokens"] == generated.usage.prompt_tokens
    assert reply["routing"]["policy_digest"] == generated.routing.policy_digest
    assert headers["x-olmoe-generation"] == str(generated.routing.generation)


def test_echo_scores_the_prompt_as_score_does(completions):
    context, continuation = "Once upon a time", " there lived a king"
    item = api.inference.ScoreItem(context_text=context, continuation_text=continuation)
    result = completions.score(item).results[0]
    _, reply = complete(completions, prompt=context + continuation, max_tokens=1, temperature=0,
                        logprobs=1, echo=True, add_special_tokens=False)
    logprobs = reply["choices"][0]["logprobs"]["token_logprobs"]
    scored = logprobs[-1 - result.token_count:-1]
    assert len(scored) == result.token_count == 4
    assert sum(scored) == pytest.approx(result.logprob_sum, abs=1e-5)


def test_a_stream_has_the_same_text(completions):
    fields = {"prompt": ["Once upon", "The old hen"], "max_tokens": 8, "seed": 3, "n": 2}
    _, whole = complete(completions, **fields)
    connection = connect(completions)
    connection.request("POST", "/v1/completions", json.dumps(fields | {"stream": True}))
    texts = [""] * 4
    events = connection.getresponse().read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        choice = json.loads(event.removeprefix("data: "))["choices"][0]
        texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in whole["choices"]]


def test_errors_name_the_field(completions):
    status, _, reply = ask(completions, "/v1/completions", {"prompt": "a", "suffix": "b"})
    assert (status, reply["error"]["param"]) == (400, "suffix")
    status, _, reply = ask(completions, "/v1/completions", {"prompt": "a", "model": "b"})
    assert (status, reply["error"]["code"]) == (404, "model_not_found")
    status, _, reply = ask(completions, "/v1/chat/completions", {"messages": []})
    assert status == 404


def test_the_tokenizer_is_the_models(completions):
    _, _, tokens = ask(completions, "/tokenize", {"prompt": "Once upon a time",
                                                  "add_special_tokens": False})
    _, _, text = ask(completions, "/detokenize", {"tokens": tokens["tokens"]})
    assert text["prompt"] == "Once upon a time"
    _, _, info = ask(completions, "/tokenizer_info")
    assert info["eos_token"] == "<|endoftext|>"


def test_requests_are_counted_by_protocol(completions):
    counter = 'olmoe_requests_total{arm="default",method="Completions",protocol="http",code="OK"}'

    def counted():
        _, text = completions.http("/metrics")
        return next(float(line.split()[-1]) for line in text.splitlines()
                    if line.startswith(counter))

    before = counted()
    complete(completions, prompt="a", max_tokens=1)
    completions.wait_until_idle()
    assert counted() == before + 1


def test_the_public_ports_tokens_open_it(demo_folder, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ann:{TOKEN}\n")
    with ServerProcess(demo_folder, "--completions-listen", "127.0.0.1:0", "--token-file", tokens) as server:
        assert ask(server, "/v1/models")[0] == 401
        assert ask(server, "/v1/models", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert ask(server, "/health")[0] == 200


def test_what_runs_is_finished_before_the_end(demo_folder):
    with ServerProcess(demo_folder, "--completions-listen", "127.0.0.1:0") as server:
        connection = connect(server)
        connection.request("POST", "/v1/completions", json.dumps(
            {"prompt": "Once upon", "max_tokens": 400, "ignore_eos": True, "stream": True}))
        reply = connection.getresponse()
        reply.readline()
        server.process.send_signal(signal.SIGTERM)
        assert reply.read().decode().endswith("data: [DONE]\n\n")
        assert server.process.wait(DEADLINE_S) == 0
