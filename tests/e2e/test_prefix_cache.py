"""Prompts that are kept in the KV cache: the real server, with and without."""

import concurrent.futures
import random

import grpc
import pytest

import api
from server_process import DEADLINE_S, ServerProcess

RANDOM_REQUESTS = 120
PRINCIPAL = ("--prefix-cache", "principal")


@pytest.fixture(scope="module", name="warm")
def _warm(demo_folder):
    with ServerProcess(demo_folder, "--prefix-cache", "shared") as server:
        yield server


@pytest.fixture(scope="module", name="cold")
def _cold(demo_folder):
    with ServerProcess(demo_folder, "--prefix-cache", "off") as server:
        yield server


def bits(reply):
    """What a client is told, but for names, times and what was computed for it."""
    kept = type(reply)()
    kept.CopyFrom(reply)
    for field in ("request_id", "timing", "usage", "routing", "seed"):
        if field in kept.DESCRIPTOR.fields_by_name:
            kept.ClearField(field)
    return kept.SerializeToString(deterministic=True)


def completion(ids, count=8, **fields):
    return api.tokens_request(ids, count, logprobs=3,
                              trace=api.inference.TraceOptions(experts=True), **fields)


def choices(context, *continuations):
    return [api.inference.ScoreItem(context_tokens=api.inference.TokenIds(ids=context),
                                    continuation_tokens=api.inference.TokenIds(ids=ids))
            for ids in continuations]


def test_a_prompt_is_computed_once(warm, cold):
    prompt = list(range(3, 103))
    before = warm.status()
    first, second = (warm.generate(completion(prompt)) for _ in range(2))
    assert bits(first) == bits(second) == bits(cold.generate(completion(prompt)))
    assert first.usage.cached_prompt_tokens == 0
    assert second.usage.cached_prompt_tokens == 99
    assert second.usage.routed_tokens == first.usage.routed_tokens - 99
    total = first.usage.expert_activations
    assert total == (second.usage.expert_activations + second.usage.cached_expert_activations)
    after = warm.status()
    assert after.cached_prompt_tokens - before.cached_prompt_tokens == 99
    assert after.prefix_cache_bytes > before.prefix_cache_bytes
    warm.wait_until_idle()
    assert warm.metric("olmoe_prefix_cache_bytes") == warm.status().prefix_cache_bytes > 0
    assert cold.metric("olmoe_prefix_cache_bytes") == 0


def test_what_is_not_computed_is_not_counted(warm):
    prompt = list(range(200, 260))
    for cached in (0, 59):
        rows = warm.metric("olmoe_tokens_total")
        counted = warm.metric("olmoe_moe_expert_tokens_total")
        hits = warm.metric("olmoe_cached_tokens_total")
        usage = warm.generate(completion(prompt, 4)).usage
        assert usage.cached_prompt_tokens == cached
        warm.wait_until_idle()
        assert warm.metric("olmoe_tokens_total") - rows == usage.routed_tokens == 63 - cached
        assert (warm.metric("olmoe_moe_expert_tokens_total") - counted
                == usage.expert_activations)
        assert warm.metric("olmoe_cached_tokens_total") - hits == cached


def test_choices_of_one_question_share_its_context(warm, cold):
    items = choices(range(300, 330), *(range(i, i + 5) for i in (5, 15, 25, 35)))
    shared, alone = warm.score(*items, per_token=True), cold.score(*items, per_token=True)
    assert bits(shared) == bits(alone)
    assert shared.usage.cached_prompt_tokens == 3 * 29
    assert alone.usage.routed_tokens == 4 * 34


def test_many_at_once_compute_a_prompt_once(warm, cold):
    prompt = list(range(400, 500))
    expected = bits(cold.generate(completion(prompt)))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: warm.generate(completion(prompt)), range(16)))
    assert {bits(reply) for reply in replies} == {expected}
    assert sum(reply.usage.cached_prompt_tokens for reply in replies) == 15 * 99


def test_another_routing_is_no_hit(warm, cold):
    prompt = list(range(500, 560))
    warm.generate(completion(prompt))
    policy = api.top_k_policy(2)
    with warm.patched(policy), cold.patched(policy):
        reply = warm.generate(completion(prompt))
        assert reply.usage.cached_prompt_tokens == 0
        assert bits(reply) == bits(cold.generate(completion(prompt)))
        assert warm.generate(completion(prompt)).usage.cached_prompt_tokens == 59
    # Analysis alone changes nothing of what is kept.
    analyzed = api.routing.RoutingPolicy(policy_id="a", analyze=policy.apply)
    with warm.patched(analyzed):
        assert warm.generate(completion(prompt)).usage.cached_prompt_tokens == 59


def test_nobody_learns_what_others_asked(demo_folder, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("ann:" + "a" * 32 + "\nbob:" + "b" * 32 + "\n")
    tokens.chmod(0o600)
    prompt = list(range(3, 53))
    with ServerProcess(demo_folder, "--token-file", tokens, *PRINCIPAL) as server:
        def cached(name):
            metadata = [("authorization", f"Bearer {name[0] * 32}")]
            reply = server.stub.Generate(completion(prompt), metadata=metadata,
                                         timeout=DEADLINE_S)
            return reply.usage.cached_prompt_tokens
        assert [cached(name) for name in ("ann", "bob", "ann", "bob")] == [0, 0, 49, 49]


def test_callers_without_a_name_share(demo_folder):
    with ServerProcess(demo_folder, *PRINCIPAL) as server:
        prompt = list(range(3, 53))
        server.generate(completion(prompt))
        with server.new_channel() as other:
            stub = api.inference_grpc.InferenceServiceStub(other)
            reply = stub.Generate(completion(prompt), timeout=DEADLINE_S)
        assert reply.usage.cached_prompt_tokens == 49


def random_request(draw):
    """Of few beginnings, cut anywhere."""
    family = draw.randrange(3)
    prompt = [(31 * family + i * i) % 1000 for i in range(draw.randrange(1, 90))]
    prompt += [draw.randrange(1000) for _ in range(draw.randrange(6))]
    if draw.random() < 0.5:
        return completion(prompt, draw.randrange(1, 6))
    ends = [[draw.randrange(1000) for _ in range(draw.randrange(1, 6))]
            for _ in range(draw.randrange(1, 5))]
    return api.inference.ScoreRequest(items=choices(prompt, *ends), per_token=True,
                                      trace=api.inference.TraceOptions(experts=True))


def test_random_requests_under_swaps_and_cancels_are_those_of_a_cold_server(demo_folder, cold):
    draw = random.Random(1)
    policies = [api.top_k_policy(k) for k in (1, 3, 8)]
    with ServerProcess(demo_folder, "--kv-cache-bytes", "24MiB", "--max-batch-sequences", 8,
                       *PRINCIPAL) as server:
        def ask(request, cancel):
            call = (server.stub.Generate if hasattr(request, "max_new_tokens")
                    else server.stub.Score).future(request, timeout=DEADLINE_S)
            if cancel:
                call.cancel()
            try:
                return call.result()
            except (grpc.FutureCancelledError, grpc.RpcError):
                assert cancel
                return None

        cached = 0
        for policy in policies:
            requests = [random_request(draw) for _ in range(RANDOM_REQUESTS // len(policies))]
            cancels = [draw.random() < 0.1 for _ in requests]
            with server.patched(policy), cold.patched(policy):
                with concurrent.futures.ThreadPoolExecutor(6) as pool:
                    replies = list(pool.map(ask, requests, cancels))
                for request, reply in zip(requests, replies):
                    if reply is None:
                        continue
                    cached += reply.usage.cached_prompt_tokens
                    alone = (cold.generate(request) if hasattr(request, "max_new_tokens")
                             else cold.stub.Score(request, timeout=DEADLINE_S))
                    assert bits(reply) == bits(alone)
        assert cached > 0
        server.wait_until_idle()
