"""lm-evaluation-harness by HTTP, `--model local-completions`, which is as its users install it: the
numbers of gRPC, whatever is swapped meanwhile."""

import pytest

from lm_eval_harness import ALL, STORIES, SWAPS, documents, harness, swap
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


def same(answer, by_grpc):
    """Whether HTTP has given the numbers of gRPC, to the last bit."""
    for task in ("demo_questions", "demo_endings"):
        assert documents(answer, task) == documents(by_grpc, task)
        assert answer[task]["results"] == by_grpc[task]["results"]
    assert documents(answer, "demo_stories")[:IN_ONE_WINDOW] == \
        documents(by_grpc, "demo_stories")[:IN_ONE_WINDOW]


@pytest.mark.parametrize("tokenizer", ["remote", "huggingface"])
@pytest.mark.parametrize("num_concurrent,batch_size", [(1, 1), (1, 8), (16, 1), (16, 8), (200, 1), (200, 8)])
def test_the_numbers_are_those_of_grpc(server, lm_eval, by_grpc, tokenizer, num_concurrent,
                                       batch_size):
    arguments = completions(server, tokenizer, num_concurrent=num_concurrent)
    same(lm_eval.run("local-completions", arguments, batch_size), by_grpc)


def test_the_arm_in_use_is_not_disturbed_by_swaps_of_another(server, lm_eval, by_grpc):
    swap(server, 0)
    arguments = completions(server, "remote", num_concurrent=16)
    arguments["model"] += "@control"
    try:
        lm_eval.start(model="local-completions", batch_size=1, tasks=ALL, model_args=arguments)
        for number in range(1, SWAPS + 1):
            swap(server, number)
        same(lm_eval.finish(), by_grpc)
    finally:
        server.unpatch()
