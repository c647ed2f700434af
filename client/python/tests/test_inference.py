"""Generate, stream, score, tokenize: equal to what the stubs give."""

import asyncio
import math
import struct
import threading

import pytest

import api
import olmoe
from api import inference
from olmoe.v1 import inference_pb2 as olmoe_messages
from server_process import DEADLINE_S, wait_until
from unread import UNREAD

PROMPT = "Once upon a time there was"
COUNT = 16


def raw_request(**fields):
    request = inference.GenerateRequest(text=PROMPT, max_new_tokens=COUNT, **fields)
    request.sampling.temperature = 0
    return request


def same_completion(mine, raw):
    assert mine.text == raw.text
    assert list(mine.token_ids) == list(raw.token_ids)
    assert mine.finish_reason == raw.finish_reason
    assert mine.usage.expert_activations == raw.usage.expert_activations
    assert mine.stamp.generation == raw.routing.generation
    assert mine.stamp.arm == raw.routing.arm_id
    assert mine.stamp.policy_digest == raw.routing.policy_digest
    assert mine.stamp.reason == raw.routing.reason


def test_generate_is_what_the_stub_gives(server, client):
    raw = server.generate(raw_request(logprobs=2))
    mine = client.generate(PROMPT, COUNT, temperature=0, logprobs=2)
    same_completion(mine, raw)
    assert [(token.token_id, token.piece, token.logprob) for token in mine.tokens] == \
        [(token.token_id, token.piece, token.logprob) for token in raw.tokens]
    assert [[(top.token_id, top.logprob) for top in token.top] for token in mine.tokens] == \
        [[(top.token_id, top.logprob) for top in token.top] for token in raw.tokens]
    assert 0 < mine.timing.prefill_s < mine.timing.total_s


def test_every_sampling_keyword_reaches_the_server(server, client):
    raw = raw_request(stop=["zzz"], stop_token_ids=[3], ignore_eos=True, unit_id="alice",
                      request_id="mine", add_special_tokens=False)
    raw.sampling.MergeFrom(inference.SamplingParams(
        temperature=0.7, top_p=0.9, top_k=50, min_p=0.01, repetition_penalty=1.1, seed=7))
    mine = client.generate(
        PROMPT, COUNT, temperature=0.7, top_p=0.9, top_k=50, min_p=0.01, repetition_penalty=1.1,
        seed=7, stop="zzz", stop_token_ids=[3], ignore_eos=True, unit="alice", request_id="mine",
        add_special_tokens=False)
    same_completion(mine, server.generate(raw))
    assert mine.seed == 7
    assert mine.request_id == "mine"
    others = client.generate(PROMPT, COUNT, temperature=0.7, seed=8)
    assert others.token_ids != mine.token_ids


def test_completions_of_one_prompt_are_those_of_their_seeds(client):
    several = client.generate(PROMPT, COUNT, temperature=1, seed=40, n=3, logprobs=1)
    with client.stream(PROMPT, COUNT, temperature=1, seed=40, n=3, logprobs=1) as stream:
        assert {delta.choice for delta in stream} == {0, 1, 2}
        streamed = stream.result()
    assert len(several.other_choices) == 2
    for choice, mine in enumerate((several, *several.other_choices)):
        alone = client.generate(PROMPT, COUNT, temperature=1, seed=40 + choice, logprobs=1)
        assert (mine.text, mine.token_ids, mine.tokens) == \
            (alone.text, alone.token_ids, alone.tokens)
        assert mine.finish_reason is alone.finish_reason
    assert streamed.text == several.text
    assert streamed.other_choices == several.other_choices
    assert several.usage.completion_tokens == 3 * COUNT


def test_a_prompt_has_the_scores_of_a_rolling_score(client):
    ids = client.tokenize(PROMPT, add_special_tokens=True).ids
    mine = client.generate(PROMPT, 0, prompt_logprobs=1)
    assert mine.text == "" and mine.token_ids == ()
    assert [token.token_id for token in mine.prompt_tokens] == list(ids[1:])
    score = client.score(ids[:1], ids[1:], top=1)
    assert mine.prompt_tokens == score.tokens
    assert client.generate(PROMPT, 1, temperature=0).prompt_tokens == ()


def test_penalties_and_biases_reach_the_server(client):
    plain = client.generate(PROMPT, COUNT, temperature=0)
    banned = plain.token_ids[0]
    other = client.generate(PROMPT, COUNT, temperature=0, logit_bias={banned: -100})
    assert banned not in other.token_ids
    forced = client.generate(PROMPT, 8, temperature=0, logit_bias={7: 100}, ignore_eos=True)
    assert forced.token_ids == (7,) * 8
    changed = client.generate(PROMPT, 8, temperature=0, logit_bias={7: 100}, ignore_eos=True,
                              presence_penalty=2, frequency_penalty=2)
    assert changed.token_ids == (7,) * 8
    stop = plain.text.split()[1]
    kept = client.generate(PROMPT, COUNT, temperature=0, stop=stop, include_stop=True)
    assert kept.text.endswith(stop)


def test_token_ids_are_a_prompt_and_a_stop_string_ends_the_text(client):
    ids = client.tokenize(PROMPT, add_special_tokens=True).ids
    whole = client.generate(PROMPT, COUNT, temperature=0)
    assert client.generate(ids, COUNT, temperature=0).text == whole.text
    stop = whole.text.split()[2]
    stopped = client.generate(PROMPT, COUNT, temperature=0, stop=[stop])
    assert stopped.finish_reason is olmoe.FinishReason.STOP_STRING
    assert stopped.matched_stop == stop
    assert stopped.text == whole.text[:whole.text.index(stop)]


def test_a_trace_has_the_experts_of_each_position_and_layer(server, client):
    info = client.model_info()
    mine = client.generate(PROMPT, COUNT, temperature=0, policy="top-p=0.5",
                           trace=olmoe.TraceOptions(experts=True, weights=True, logits=True)).trace
    rows = mine.num_positions * info.num_layers
    assert (mine.first_position, mine.num_layers) == (0, info.num_layers)
    assert len(mine.counts) == len(mine.experts) == len(mine.weights) == len(mine.logits) \
        == mine.num_positions
    assert [count for layers in mine.counts for count in layers] == list(mine.raw.counts)
    for counts, experts, weights, logits in zip(mine.counts, mine.experts, mine.weights,
                                                mine.logits, strict=True):
        for count, chosen, weight, row in zip(counts, experts, weights, logits, strict=True):
            assert count == len(chosen) == len(weight)
            assert len(row) == info.num_experts
            order = sorted(range(len(row)), key=lambda expert, row=row: (-row[expert], expert))
            assert chosen == order[:count]
    assert len(set(mine.raw.counts)) > 1
    flat = [value for layers in mine.logits for row in layers for value in row]
    assert flat == list(struct.unpack(f"<{rows * info.num_experts}f", mine.raw.logits))
    plain = client.generate(PROMPT, 1, temperature=0, trace=True).trace
    assert plain.experts and plain.weights == [] and plain.logits == []
    assert client.generate(PROMPT, 1).trace is None
    assert server.model_info().num_experts == info.num_experts


def test_the_model_is_told_whole(server, client):
    told = server.model_info()
    values = {field.name: getattr(told, field.name) for field in told.DESCRIPTOR.fields}
    assert client.model_info() == olmoe.ModelInfo(
        **{**values, "eos_token_ids": tuple(told.eos_token_ids)})


def test_a_stream_adds_up_to_the_completion(client):
    options = {"temperature": 0, "logprobs": 1,
               "trace": olmoe.TraceOptions(weights=True, logits=True)}
    whole = client.generate(PROMPT, COUNT, **options)
    with client.stream(PROMPT, COUNT, **options) as stream:
        deltas = list(stream)
        assert stream.started.prompt_tokens == whole.usage.prompt_tokens
        assert stream.started.stamp == whole.stamp
        result = stream.result()
    assert "".join(delta.text for delta in deltas) == whole.text == result.text
    assert result.token_ids == whole.token_ids
    assert [token.token_id for token in result.tokens] == list(whole.token_ids)
    assert result.trace.raw.counts == whole.trace.raw.counts
    assert len(result.trace.logits) == len(whole.trace.logits) == result.trace.num_positions
    assert result.usage == whole.usage
    assert client.stream(PROMPT, COUNT, temperature=0).result().text == whole.text


def cancelled_streams(server):
    """How many the server has seen."""
    _, text = server.http("/metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("olmoe_requests_total{") and 'method="GenerateStream"' in line
               and 'code="CANCELLED"' in line)


@pytest.mark.parametrize("leave", ["close", "with", "forget"])
def test_a_stream_that_is_left_is_cancelled_on_the_server(server, client, leave):
    before = cancelled_streams(server)
    stream = client.stream([5], **UNREAD)
    next(stream)
    if leave == "close":
        stream.close()
        with pytest.raises(olmoe.Cancelled):
            stream.result()
    elif leave == "with":
        with stream:
            next(stream)
    del stream
    wait_until(lambda: cancelled_streams(server) == before + 1, "the stream is cancelled")
    server.wait_until_idle()


def test_a_stream_that_is_closed_by_another_thread_ends(busy_client):
    stream = busy_client.stream([5], 1)
    closer = threading.Thread(target=stream.close)
    closer.start()
    assert not list(stream)
    closer.join()


def test_errors_of_a_stream_are_raised_by_its_iterator(client):
    with pytest.raises(olmoe.InvalidRequest) as error:
        next(client.stream(PROMPT, 0))
    assert [violation.field for violation in error.value.violations] == ["max_new_tokens"]


def test_scores_are_what_the_stub_gives(server, client):
    items = [inference.ScoreItem(context_text="Once upon a", continuation_text=" time"),
             inference.ScoreItem(context_tokens=inference.TokenIds(ids=[5, 6]),
                                 continuation_tokens=inference.TokenIds(ids=[7])),
             inference.ScoreItem(continuation_text=PROMPT, rolling=True)]
    raw = server.score(*items, per_token=True, top=2)
    mine = client.score_batch([("Once upon a", " time"), ([5, 6], [7]), (None, PROMPT)],
                              per_token=True, top=2)
    assert mine.usage.expert_activations == raw.usage.expert_activations
    for score, result in zip(mine.scores, raw.results, strict=True):
        assert score.logprob_sum == result.logprob_sum
        assert (score.token_count, score.byte_count) == (result.token_count, result.byte_count)
        assert score.is_greedy == result.is_greedy
        assert [(each.token_id, each.logprob, each.rank, len(each.top))
                for each in score.tokens] == [
            (each.token_id, each.logprob, each.rank, 2) for each in result.tokens]
    merged, scored = client.score_batch([("The little rab", "bit"), ("Once", " upon")]).scores
    assert math.isnan(merged.logprob_sum) and math.isnan(merged.perplexity)
    assert "merges into the end of the context" in merged.error and scored.error is None
    assert client.score("Once upon a", " time").logprob_sum == \
        pytest.approx(raw.results[0].logprob_sum, abs=0.02)
    rolling = client.score_rolling(PROMPT)
    assert rolling.logprob_sum == pytest.approx(raw.results[2].logprob_sum, abs=0.05)
    assert rolling.perplexity > 1


def test_an_inline_policy_routes_its_request_alone(client):
    thin = client.generate(PROMPT, COUNT, temperature=0, policy=olmoe.TopK(1))
    own = client.generate(PROMPT, COUNT, temperature=0)
    assert thin.stamp.reason is olmoe.Assignment.INLINE_POLICY
    assert thin.usage.expert_activations * 8 == own.usage.expert_activations
    assert client.score("Once", " upon", policy="top-k=1").stamp.policy_id == "top-k-1"
    with pytest.raises(ValueError, match="one of the two"):
        client.generate(PROMPT, arm="a", policy="native")


def test_unknown_keywords_are_refused_by_name(client):
    with pytest.raises(TypeError, match="no keyword temprature; keywords: .*temperature"):
        client.generate(PROMPT, temprature=0)
    with pytest.raises(TypeError, match="no keyword seed"):
        client.score("a", "b", seed=1)


def test_tokenize_and_detokenize_are_inverse(client):
    text = "The little rabbit ran."
    tokens = client.tokenize(text)
    assert client.detokenize(tokens.ids) == text
    assert b"".join(tokens.pieces).decode() == text
    assert tokens.offsets[-1][1] == len(text)
    assert len(tokens.offsets) == len(tokens.ids)


def test_one_client_serves_many_threads(client):
    expected = client.generate(PROMPT, COUNT, temperature=0).usage.completion_tokens
    found = []
    threads = [threading.Thread(target=lambda: found.append(
        client.generate(PROMPT, COUNT, temperature=0).usage.completion_tokens))
        for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


def test_asyncio_has_the_same_calls(server, client):
    async def calls():
        async with olmoe.AsyncClient(server.address(), timeout=DEADLINE_S) as mine:
            await mine.wait_ready()
            whole, score, info = await asyncio.gather(
                mine.generate(PROMPT, COUNT, temperature=0), mine.score("Once upon a", " time"),
                mine.model_info())
            stream = mine.stream(PROMPT, COUNT, temperature=0)
            text = "".join([delta.text async for delta in stream])
            result = await stream.result()
            ids = (await mine.tokenize(PROMPT)).ids
            return whole, score, info, text, result, await mine.detokenize(ids)

    whole, score, info, text, result, detokenized = asyncio.run(calls())
    expected = client.generate(PROMPT, COUNT, temperature=0)
    assert whole.text == text == result.text == expected.text
    assert result.token_ids == expected.token_ids
    assert score.token_count == 1
    assert info == client.model_info()
    assert detokenized == PROMPT


def test_an_asynchronous_stream_that_is_left_is_cancelled_on_the_server(server):
    before = cancelled_streams(server)

    async def leave():
        async with olmoe.AsyncClient(server.address(), timeout=DEADLINE_S) as mine:
            async with mine.stream([5], **UNREAD) as stream:
                await anext(stream)
            with pytest.raises(olmoe.Cancelled):
                await stream.result()
            with pytest.raises(olmoe.InvalidRequest):
                await mine.generate([5], 0)

    asyncio.run(leave())
    wait_until(lambda: cancelled_streams(server) == before + 1, "the stream is cancelled")
    server.wait_until_idle()


def test_the_packages_messages_are_the_only_ones_of_the_process():
    assert api.inference.GenerateRequest is olmoe_messages.GenerateRequest
