"""lm-evaluation-harness by HTTP, `--model local-completions`, which is as its users install it: the
numbers of gRPC, whatever is swapped meanwhile."""

import json

import numpy
import pytest

import api
from lm_eval_harness import ALL, GOLDEN, STORIES, SWAPS, documents, harness, swap
from server_process import ServerProcess

# Of a request by HTTP a token is left for what is generated, so the last one has other windows.
IN_ONE_WINDOW = len(STORIES) - 1


@pytest.fixture(scope="module", name="lm_eval")
def _lm_eval(tmp_path_factory):
    with harness(tmp_path_factory.mktemp("hf")) as process:
        yield process


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--dtype", "float32", "--prefix-cache", "principal",
                       "--completions-listen", "127.0.0.1:0") as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture(scope="module", name="by_grpc")
def _by_grpc(server, lm_eval):
    """What `--model olmoe` says of the model's own routing."""
    return lm_eval.run("olmoe", {"target": server.address()})


def completions(server, tokenizer, **more):
    """Arguments of local-completions."""
    return {"base_url": f"http://{server.address('completions')}/v1/completions",
            "model": server.model_info().model_id, "max_length": server.model_info().max_context,
            **({"tokenizer_backend": "remote"} if tokenizer == "remote"
               else {"tokenizer_backend": "huggingface", "tokenizer": "deploy/demo"}), **more}


def as_printed(server, context, continuation):
    """The nats of a continuation from log-probabilities as JSON has them: the shortest text of each
    float."""
    item = api.inference.ScoreItem(context_text=context, continuation_text=continuation)
    tokens = server.score(item, per_token=True).results[0].tokens
    return sum(float(str(numpy.float32(token.logprob))) for token in tokens)


@pytest.fixture(scope="module", name="questions")
def _questions(server, by_grpc):
    """[(nats, greedy) of each continuation] of each question."""
    lines = (api.SOURCE_DIR / "deploy/demo/data/arc_easy.jsonl").read_text().splitlines()
    asked = map(json.loads, lines[:GOLDEN["questions"]])
    return [[[as_printed(server, question["context"], each), greedy]
             for each, (_, greedy) in zip(question["continuations"], answers, strict=True)]
            for question, answers in zip(asked, documents(by_grpc, "demo_questions"), strict=True)]


def same(answer, by_grpc, questions):
    """Whether HTTP has given the numbers of gRPC."""
    assert documents(answer, "demo_questions") == questions
    assert answer["demo_questions"]["results"] == by_grpc["demo_questions"]["results"]
    assert documents(answer, "demo_endings") == documents(by_grpc, "demo_endings")
    # Sums of printed floats, each within half of its last bit.
    for mine, theirs in zip(documents(answer, "demo_stories")[:IN_ONE_WINDOW],
                            documents(by_grpc, "demo_stories")):
        assert mine == pytest.approx(theirs, rel=1e-7, abs=0)


@pytest.mark.parametrize("tokenizer", ["remote", "huggingface"])
@pytest.mark.parametrize("num_concurrent,batch_size", [(1, 1), (1, 8), (16, 8), (200, 1)])
def test_the_numbers_are_those_of_grpc(server, lm_eval, by_grpc, questions, tokenizer,
                                       num_concurrent, batch_size):
    arguments = completions(server, tokenizer, num_concurrent=num_concurrent)
    same(lm_eval.run("local-completions", arguments, batch_size), by_grpc, questions)


def test_the_arm_in_use_is_not_disturbed_by_swaps_of_another(server, lm_eval, by_grpc, questions):
    swap(server, 0)
    arguments = completions(server, "remote", num_concurrent=16)
    arguments["model"] += "@control"
    try:
        lm_eval.start(model="local-completions", batch_size=1, tasks=ALL, model_args=arguments)
        for number in range(1, SWAPS + 1):
            swap(server, number)
        same(lm_eval.finish(), by_grpc, questions)
    finally:
        server.unpatch()
