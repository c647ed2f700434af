"""Every documented refusal over the wire; the server answers on."""

import math

import grpc
import pytest

import api
from api import admin, inference, routing
from server_process import DEADLINE_S, wait_until

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def generate(**fields):
    fields = {"max_new_tokens": 1, "tokens": inference.TokenIds(ids=[1]), **fields}
    return inference.GenerateRequest(**fields)


def sampling(**fields):
    return generate(sampling=inference.SamplingParams(**fields))


def score(*items, **fields):
    return inference.ScoreRequest(items=items, **fields)


def ids_item(context, continuation, **fields):
    item = inference.ScoreItem(**fields)
    item.context_tokens.ids.extend(context)
    item.continuation_tokens.ids.extend(continuation)
    return item


BAD_FIELDS = [
    ("Generate", generate(request_id="x" * 65), ["request_id"]),
    ("Generate", generate(request_id="line\nbreak"), ["request_id"]),
    ("Generate", inference.GenerateRequest(max_new_tokens=1), ["prompt"]),
    ("Generate", inference.GenerateRequest(max_new_tokens=1, text=""), ["text"]),
    ("Generate", generate(tokens=inference.TokenIds()), ["tokens.ids"]),
    ("Generate", generate(tokens=inference.TokenIds(ids=[1, 2**32 - 1])), ["tokens.ids[1]"]),
    ("Generate", generate(max_new_tokens=0), ["max_new_tokens"]),
    ("Generate", sampling(temperature=-1), ["sampling.temperature"]),
    ("Generate", sampling(temperature=math.nan), ["sampling.temperature"]),
    ("Generate", sampling(temperature=math.inf), ["sampling.temperature"]),
    ("Generate", sampling(top_p=0), ["sampling.top_p"]),
    ("Generate", sampling(top_p=1.01), ["sampling.top_p"]),
    ("Generate", sampling(min_p=2), ["sampling.min_p"]),
    ("Generate", sampling(repetition_penalty=0), ["sampling.repetition_penalty"]),
    ("Generate", generate(stop=[""]), ["stop[0]"]),
    ("Generate", generate(stop=["a", "b" * 257]), ["stop[1]"]),
    ("Generate", generate(stop=["a"] * 65), ["stop"]),
    ("Generate", generate(stop_token_ids=[2**31]), ["stop_token_ids[0]"]),
    ("Generate", generate(stop_token_ids=[1] * 65), ["stop_token_ids"]),
    ("Generate", generate(logprobs=21), ["logprobs"]),
    ("Generate", generate(unit_id="u" * 257), ["unit_id"]),
    ("Generate", generate(request_id="\t", logprobs=99, stop=[""],
                          sampling=inference.SamplingParams(top_p=7)),
     ["request_id", "sampling.top_p", "stop[0]", "logprobs"]),
    ("Score", score(), ["items"]),
    ("Score", score(*[ids_item([1], [2])] * 257), ["items"]),
    ("Score", score(inference.ScoreItem(context_text="a")), ["items[0].continuation"]),
    ("Score", score(ids_item([1], [2]), ids_item([1], [])), ["items[1].continuation"]),
    ("Score", score(ids_item([2**31], [2])), ["items[0].context_tokens.ids[0]"]),
    ("Score", score(ids_item([1], [2]), top=21), ["top"]),
    ("Detokenize", inference.DetokenizeRequest(ids=[2**32 - 1]), ["ids[0]"]),
]


def call(server, method, request):
    stub = server.stub if hasattr(server.stub, method) else server.admin
    return getattr(stub, method)(request, timeout=DEADLINE_S)


def refusal(server, method, request):
    """The error of a call that has to fail; the server answers a good one afterwards."""
    with pytest.raises(grpc.RpcError) as error:
        call(server, method, request)
    assert len(server.greedy([1, 2], 2).token_ids) == 2
    return error.value


@pytest.mark.parametrize("method, request_, fields", BAD_FIELDS,
                         ids=[",".join(fields) for _, _, fields in BAD_FIELDS])
def test_every_bad_field_is_named(demo, method, request_, fields):
    error = refusal(demo, method, request_)
    assert error.code() == INVALID, error
    assert sorted(api.violated_fields(error)) == sorted(fields)
    for field in fields:
        assert field in error.details()


def test_a_stream_is_refused_as_the_unary_call_is(demo):
    with pytest.raises(grpc.RpcError) as error:
        list(demo.stub.GenerateStream(sampling(top_p=0), timeout=DEADLINE_S))
    assert error.value.code() == INVALID
    assert api.violated_fields(error.value) == ["sampling.top_p"]


def rule(**fields):
    return routing.Rule(**fields)


def policy(**fields):
    return routing.RoutingPolicy(**{"policy_id": "p", **fields})


BAD_POLICIES = [
    (policy(policy_id="Upper"), ["policy.policy_id"]),
    (policy(policy_id="x" * 33), ["policy.policy_id"]),
    (policy(description="d" * 257), ["policy.description"]),
    (policy(apply=rule()), ["policy.apply"]),
    (policy(apply=rule(top_k=routing.TopK(k=0))), ["policy.apply.top_k.k"]),
    (policy(apply=rule(top_k=routing.TopK(k=65))), ["policy.apply.top_k.k"]),
    (policy(apply=rule(top_p=routing.TopP(p=0))), ["policy.apply.top_p.p"]),
    (policy(apply=rule(min_p=routing.MinP(ratio=math.nan))), ["policy.apply.min_p.ratio"]),
    (policy(apply=rule(top_p=routing.TopP(p=0.5, min_k=9, max_k=3))),
     ["policy.apply.top_p.max_k"]),
    (policy(analyze=rule(bh=routing.BenjaminiHochberg(
        alpha=1.5, p_value=routing.P_VALUE_KIND_ONE_MINUS_PROB))), ["policy.analyze.bh.alpha"]),
    (api.top_k_policy(2, layers=[99]), ["policy.layer_overrides[0].layers[0]"]),
    (policy(apply=rule(top_k=routing.TopK(k=0)), description="d" * 257),
     ["policy.apply.top_k.k", "policy.description"]),
]


@pytest.mark.parametrize("policy_, fields", BAD_POLICIES,
                         ids=[",".join(fields) for _, fields in BAD_POLICIES])
def test_a_bad_policy_is_refused_and_changes_nothing(demo, policy_, fields):
    before = demo.admin.GetRouting(admin.GetRoutingRequest()).current
    error = refusal(demo, "PatchRouters", admin.PatchRoutersRequest(policy=policy_))
    assert error.code() == INVALID, error
    assert sorted(api.violated_fields(error)) == sorted(fields)
    after = demo.admin.GetRouting(admin.GetRoutingRequest()).current
    assert (after.generation, after.digest) == (before.generation, before.digest)


def test_a_patch_needs_a_target(demo):
    error = refusal(demo, "PatchRouters", admin.PatchRoutersRequest())
    assert error.code() == INVALID
    assert api.violated_fields(error) == ["target"]


def test_a_missing_calibration_is_a_failed_precondition(demo):
    bh = routing.BenjaminiHochberg(alpha=0.1, calibration_id="nobody-made-it")
    error = refusal(demo, "PatchRouters",
                    admin.PatchRoutersRequest(policy=policy(apply=rule(bh=bh))))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_beyond_the_context_is_out_of_range_with_both_numbers(demo):
    context = demo.model_info().max_context
    error = refusal(demo, "Generate", api.tokens_request([1, 2, 3], context))
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE
    info = api.details(error)["ErrorInfo"]
    assert info.metadata["prompt_tokens"] == "3"
    assert info.metadata["max_new_tokens"] == str(context)
    error = refusal(demo, "Generate", api.tokens_request([1], 2**32 - 1))
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE


def test_a_continuation_beyond_the_context_is_out_of_range(demo):
    context = demo.model_info().max_context
    error = refusal(demo, "Score", score(ids_item([1], [2] * (context + 1))))
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE


def test_an_unknown_arm_or_an_inline_policy_is_not_allowed(demo):
    selector = inference.RoutingSelector(arm_id="nobody")
    error = refusal(demo, "Generate", generate(routing=selector))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert api.details(error)["ErrorInfo"].reason == "ARM_NOT_ALLOWED"
    selector = inference.RoutingSelector(policy=api.top_k_policy(2))
    error = refusal(demo, "Generate", generate(routing=selector))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_expired_deadline_is_told_as_one(busy):
    with pytest.raises(grpc.RpcError) as error:
        busy.server.stub.Generate(api.tokens_request([1], 1), timeout=0.1)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: busy.server.status().queued_requests == 0, "the request is gone")


def raw_call(server, method, data):
    """A call whose request is these bytes."""
    channel_call = server.channel().unary_unary(f"/olmoe.v1.InferenceService/{method}",
                                                request_serializer=lambda raw: raw,
                                                response_deserializer=lambda raw: raw)
    return channel_call(data, timeout=DEADLINE_S)


@pytest.mark.parametrize("data, fields", [
    (b"\x12\x02\xff\xfe\x20\x01", ["text"]),      # text that is not UTF-8
    (b"\x32\x01\x80\x20\x01", ["stop[0]"]),       # a stop string that is not UTF-8
    (b"\x12\xff", []),                            # cut off in a length
    (b"\xff" * 64, []),                           # no message at all
], ids=["text", "stop", "truncated", "noise"])
def test_bytes_that_are_no_request_are_invalid(demo, data, fields):
    with pytest.raises(grpc.RpcError) as error:
        raw_call(demo, "Generate", data)
    assert error.value.code() == INVALID, error.value
    assert api.violated_fields(error.value) == fields
    assert len(demo.greedy([1], 1).token_ids) == 1


def test_an_unknown_method_is_unimplemented(demo):
    with pytest.raises(grpc.RpcError) as error:
        raw_call(demo, "Frobnicate", b"")
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_request_of_many_megabytes_is_refused(demo):
    error = refusal(demo, "Tokenize", inference.TokenizeRequest(text="a" * (64 << 20)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
