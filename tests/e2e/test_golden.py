"""The reference model through the real server: the numbers of a Hugging Face run."""

import json
import struct

import grpc
import pytest

import api
from api import inference, routing
from server_process import DEADLINE_S

NEAR_TIE = 1e-3  # a smaller gap between the two best logits may flip
LOGPROB_TOLERANCE = 2e-4


def read_tensor(path, name):
    """A flat float32 tensor of a safetensors file."""
    with open(path, "rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(header_bytes))[name]
        assert entry["dtype"] == "F32"
        begin, end = entry["data_offsets"]
        file.seek(8 + header_bytes + begin)
        return struct.unpack(f"<{(end - begin) // 4}f", file.read(end - begin))


def assert_greedy(server, prompt, expected):
    """Equal up to the first step whose two best logits nearly tie."""
    margins = expected["top2_logit_margin"]
    sure = next((i for i, margin in enumerate(margins) if margin < NEAR_TIE), len(margins))
    assert sure > 0
    reply = server.generate(api.tokens_request(prompt, len(expected["ids"]), logprobs=0))
    assert list(reply.token_ids)[:sure] == expected["ids"][:sure]
    for token, logprob in list(zip(reply.tokens, expected["logprobs"]))[:sure]:
        assert abs(token.logprob - logprob) < LOGPROB_TOLERANCE
    return reply


def test_greedy_continuations_are_those_of_the_reference(golden, golden_numbers):
    own = f"k{golden_numbers['default_k']}"
    for name, expected in golden_numbers["greedy"][own].items():
        assert_greedy(golden, golden_numbers["sequences"][name]["ids"], expected)


@pytest.mark.parametrize("k", [1, 4, 16, 24])
def test_greedy_continuations_under_a_patched_top_k(golden, golden_numbers, k):
    golden.ctl_json("patch", "--top-k", k, "--weight-mode", "native")
    prompt = golden_numbers["sequences"]["len17"]["ids"]
    expected = golden_numbers["greedy"][f"k{k}"]["len17"]
    reply = assert_greedy(golden, prompt, expected)
    rows = len(prompt) + len(expected["ids"]) - 1
    assert reply.usage.expert_activations == rows * golden_numbers["num_layers"] * k


def variant_policy(name, num_layers):
    if name.startswith("renorm_k"):
        k = int(name.removeprefix("renorm_k"))
        return api.top_k_policy(k, weight_mode=routing.WEIGHT_MODE_SUM_TO_ONE)
    if name == "per_layer_k":
        policy = routing.RoutingPolicy(policy_id="patched")
        for layer in range(num_layers):
            rule = routing.Rule(top_k=routing.TopK(k=1 + layer % 8))
            policy.layer_overrides.add(layers=[layer], apply=rule)
        return policy
    rule = routing.Rule(top_p=routing.TopP(p=0.6, max_k=16),
                        weight_mode=routing.WEIGHT_MODE_NATIVE)
    return routing.RoutingPolicy(policy_id="patched", apply=rule)


@pytest.mark.parametrize("name", ["renorm_k8", "renorm_k16", "per_layer_k", "top_p_0.6"])
def test_greedy_continuations_under_other_rules(golden, golden_numbers, name):
    with golden.patched(variant_policy(name, golden_numbers["num_layers"])):
        assert_greedy(golden, golden_numbers["sequences"]["len17"]["ids"],
                      golden_numbers["variants"][name]["greedy"]["len17"])


@pytest.mark.parametrize("sequence", ["len2", "len17", "len64", "len130", "batch1", "batch2"])
def test_scores_are_those_of_the_reference(golden, golden_folder, golden_numbers, sequence):
    ids = golden_numbers["sequences"][sequence]["ids"]
    item = inference.ScoreItem()
    item.context_tokens.ids.append(ids[0])
    item.continuation_tokens.ids.extend(ids[1:])
    result = golden.score(item, per_token=True).results[0]
    own = f"k{golden_numbers['default_k']}"
    expected = read_tensor(golden_folder / "golden.safetensors",
                           f"{sequence}.{own}.next_logprobs")
    assert [token.token_id for token in result.tokens] == ids[1:]
    for token, logprob in zip(result.tokens, expected, strict=True):
        assert abs(token.logprob - logprob) < LOGPROB_TOLERANCE


def test_without_a_tokenizer_ids_are_served(golden):
    assert not golden.model_info().has_tokenizer
    reply = golden.greedy([1, 2, 3], 4)
    assert len(reply.token_ids) == 4
    assert reply.text == ""


@pytest.mark.parametrize("method, request_", [
    ("Generate", inference.GenerateRequest(text="a", max_new_tokens=1)),
    ("Generate", inference.GenerateRequest(tokens=inference.TokenIds(ids=[1]), max_new_tokens=1,
                                           stop=["a"])),
    ("Score", inference.ScoreRequest(items=[inference.ScoreItem(continuation_text="a")])),
    ("Tokenize", inference.TokenizeRequest(text="a")),
    ("Detokenize", inference.DetokenizeRequest(ids=[1])),
], ids=["prompt", "stop", "score", "tokenize", "detokenize"])
def test_without_a_tokenizer_text_is_refused(golden, method, request_):
    with pytest.raises(grpc.RpcError) as error:
        getattr(golden.stub, method)(request_, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "tokenizer.json" in error.value.details()
    assert api.details(error.value)["PreconditionFailure"].violations


def test_olmoectl_prints_ids_where_there_is_no_text(golden):
    done = golden.ctl("generate", "--tokens", "1,2,3", "-n", 3, "--temperature", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ",".join(map(str, golden.greedy([1, 2, 3], 3).token_ids)) + "\n"
