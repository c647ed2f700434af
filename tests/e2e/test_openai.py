"""The completions API by the openai package, as its users call it: values, streams, errors, and
what a client that goes away leaves behind."""

import asyncio
import base64
import io
import contextlib
import re

import numpy
import openai
import pytest

import api
from server_process import DEADLINE_S, ServerProcess, wait_until
from unread_stream import UnreadStream

PROMPT = "Once upon a time"


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--allow-inline-policy", "--prefix-cache", "principal",
                       "--completions-listen", "127.0.0.1:0") as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture(name="idle", autouse=True)
def _idle(server):
    """Unpatched and idle, and so again after the test."""
    server.unpatch()
    yield
    server.unpatch()
    server.wait_until_idle()


def options(server, **more):
    return {"base_url": f"http://{server.address('completions')}/v1", "api_key": "none",
            "timeout": DEADLINE_S, "max_retries": 0, **more}


@pytest.fixture(name="client")
def _client(server):
    with openai.OpenAI(**options(server)) as client:
        yield client


@pytest.fixture(name="model")
def _model(server):
    return server.model_info().model_id


def tokenize(server, text, add_special_tokens=True):
    return list(server.stub.Tokenize(api.inference.TokenizeRequest(
        text=text, add_special_tokens=add_special_tokens), timeout=DEADLINE_S).ids)


def generate(server, prompt=PROMPT, max_new_tokens=8, **fields):
    """The reply of gRPC to the same, greedily."""
    fields.setdefault("sampling", api.inference.SamplingParams(temperature=0))
    return server.generate(api.inference.GenerateRequest(
        text=prompt, max_new_tokens=max_new_tokens, **fields))


# ---- Values

def test_a_completion_is_that_of_grpc(server, client, model):
    reply = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0)
    theirs = generate(server)
    assert reply.object == "text_completion" and reply.model == model
    assert reply.choices[0].text == theirs.text and reply.choices[0].index == 0
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.prompt_tokens == theirs.usage.prompt_tokens
    assert reply.usage.completion_tokens == 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8
    stamp = reply.model_extra["routing"]
    assert stamp["generation"] == theirs.routing.generation
    assert stamp["policy_digest"] == theirs.routing.policy_digest


@pytest.mark.parametrize("as_ids", [False, True])
def test_a_list_of_prompts_has_its_choices_in_order(server, client, model, as_ids):
    prompts = [PROMPT, "The king", "A fox"]
    given = [tokenize(server, each) for each in prompts] if as_ids else prompts
    reply = client.completions.create(model=model, prompt=given, max_tokens=6, temperature=0, n=2,
                                      seed=3)
    assert [choice.index for choice in reply.choices] == list(range(6))
    assert [choice.text for choice in reply.choices] == [
        generate(server, each, 6).text for each in prompts for _ in range(2)]
    one = client.completions.create(model=model, prompt=given[0], max_tokens=6, temperature=0)
    assert one.choices[0].text == reply.choices[0].text


def test_choices_of_a_seed_differ_and_come_again(client, model):
    def texts():
        return [choice.text for choice in client.completions.create(
            model=model, prompt=PROMPT, max_tokens=12, n=4, temperature=1, seed=11).choices]
    first = texts()
    assert len(set(first)) == 4 and texts() == first


def test_a_stop_ends_the_text_before_it(client, model):
    whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=16, temperature=0)
    word = whole.choices[0].text.split(" ")[4]
    reply = client.completions.create(model=model, prompt=PROMPT, max_tokens=16, temperature=0,
                                      stop=["\u4e2d", f" {word}"])
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].text == whole.choices[0].text.partition(f" {word}")[0]


def test_logprobs_with_echo_are_the_scores_of_the_text(server, client, model):
    ids = tokenize(server, PROMPT)
    reply = client.completions.create(model=model, prompt=ids, max_tokens=1, temperature=0,
                                      echo=True, logprobs=1)
    told = reply.choices[0].logprobs
    assert {len(told.tokens), len(told.token_logprobs), len(told.top_logprobs),
            len(told.text_offset)} == {len(ids) + 1}
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    item = api.inference.ScoreItem()
    item.context_tokens.ids.extend(ids[:1])
    item.continuation_tokens.ids.extend(ids[1:])
    scores = server.score(item, per_token=True).results[0].tokens
    assert told.token_logprobs[1:-1] == pytest.approx([token.logprob for token in scores],
                                                      rel=1e-6)
    for token, logprob, top, score in zip(told.tokens[1:-1], told.token_logprobs[1:-1],
                                          told.top_logprobs[1:-1], scores):
        assert top[token] == logprob
        assert (max(top.values()) == logprob) == (score.rank == 1)
    nothing = client.completions.create(model=model, prompt=PROMPT, max_tokens=0, echo=True)
    assert nothing.usage.completion_tokens == 0 and PROMPT in nothing.choices[0].text


# ---- Streams

def test_a_stream_has_the_text_of_the_whole(client, model):
    whole = client.completions.create(model=model, prompt=[PROMPT, "A fox"], max_tokens=8,
                                      temperature=0, n=2)
    parts = list(client.completions.create(
        model=model, prompt=[PROMPT, "A fox"], max_tokens=8, temperature=0, n=2, stream=True,
        stream_options={"include_usage": True}))
    assert not parts[-1].choices and parts[-1].usage == whole.usage
    assert all(part.usage is None for part in parts[:-1])
    for choice in whole.choices:
        mine = [each for part in parts for each in part.choices if each.index == choice.index]
        assert "".join(each.text for each in mine) == choice.text
        assert [each.finish_reason for each in mine if each.finish_reason] == ["length"]


def test_a_stream_under_asyncio_has_the_same_text(server, client, model):
    async def streamed():
        async with openai.AsyncOpenAI(**options(server)) as aio:
            stream = await aio.completions.create(model=model, prompt=PROMPT, max_tokens=8,
                                                  temperature=0, stream=True)
            return "".join([part.choices[0].text async for part in stream if part.choices])
    assert asyncio.run(streamed()) == client.completions.create(
        model=model, prompt=PROMPT, max_tokens=8, temperature=0).choices[0].text


def test_many_at_once_are_each_their_own(server, model):
    async def replies():
        async with openai.AsyncOpenAI(**options(server)) as aio:
            return await asyncio.gather(*(
                aio.completions.create(model=model, prompt=f"Story {i}:", max_tokens=4,
                                       temperature=0) for i in range(64)))
    texts = [reply.choices[0].text for reply in asyncio.run(replies())]
    assert texts == [generate(server, f"Story {i}:", 4).text for i in range(64)]


# ---- Who goes away

@pytest.fixture(scope="module", name="one_slot")
def _one_slot(demo_folder):
    """A server where one request runs and the others wait."""
    with ServerProcess(demo_folder, "--max-batch-sequences", 1, "--max-queue", 8,
                       "--completions-listen", "127.0.0.1:0") as server:
        yield server


def queued(server, count):
    wait_until(lambda: server.status().queued_requests == count, f"{count} requests wait")


def test_a_call_that_is_cancelled_leaves_the_queue(one_slot):
    async def cancelled():
        async with openai.AsyncOpenAI(**options(one_slot)) as aio:
            task = asyncio.create_task(aio.completions.create(
                model=one_slot.model_info().model_id, prompt=PROMPT, max_tokens=8))
            await asyncio.to_thread(queued, one_slot, 1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(queued, one_slot, 0)
    with UnreadStream(one_slot):
        asyncio.run(cancelled())
    one_slot.wait_until_idle()


def heavy_stream(server):
    """Of a stream that nobody reads: the server pauses it long before its end."""
    room = server.model_info().max_context - len(tokenize(server, PROMPT))
    return {"model": server.model_info().model_id, "prompt": PROMPT, "max_tokens": room, "n": 16,
            "logprobs": 20, "stream": True, "extra_body": {"ignore_eos": True}}


def cancelled_calls(server):
    return sum(float(value) for value in re.findall(
        r'^olmoe_requests_total{.*method="Completions",.*code="CANCELLED"} (\S+)$',
        server.http("/metrics")[1], re.MULTILINE))


def test_a_stream_that_is_closed_ends_on_the_server(server, client):
    before = cancelled_calls(server)
    with client.completions.create(**heavy_stream(server)) as stream:
        next(iter(stream))
        assert server.status().running_requests == 1
    server.wait_until_idle()
    assert cancelled_calls(server) == before + 1


def test_a_task_that_is_cancelled_in_its_stream_ends_on_the_server(server):
    before = cancelled_calls(server)

    async def cancelled():
        async with openai.AsyncOpenAI(**options(server)) as aio:
            begun = asyncio.Event()

            async def read():
                async with await aio.completions.create(**heavy_stream(server)) as stream:
                    async for _ in stream:
                        begun.set()
                        await asyncio.Event().wait()
            task = asyncio.create_task(read())
            await begun.wait()
            assert server.status().running_requests == 1
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_until_idle)
    asyncio.run(cancelled())
    assert cancelled_calls(server) == before + 1


def test_a_timeout_of_the_client_ends_it_on_the_server(one_slot):
    with UnreadStream(one_slot), openai.OpenAI(**options(one_slot, timeout=0.2)) as client:
        with pytest.raises(openai.APITimeoutError):
            client.completions.create(model=one_slot.model_info().model_id, prompt=PROMPT,
                                      max_tokens=8)
        queued(one_slot, 0)


# ---- Errors

@pytest.mark.parametrize("fields,param", [
    ({"temperature": -1}, "temperature"), ({"max_tokens": 100_000}, "prompt"),
    ({"n": 17}, "n"), ({"logprobs": 21}, "logprobs"), ({"best_of": 2}, "best_of"),
    ({"suffix": "x"}, "suffix"), ({"prompt": []}, "prompt"), ({"prompt": [-1]}, "prompt"),
    ({"extra_body": {"no_such_field": 1}}, "no_such_field"),
    ({"extra_body": {"routing": {"arm": "a", "policy": {}}}}, "routing")])
def test_a_field_that_is_refused_is_named(client, model, fields, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(**{"model": model, "prompt": PROMPT, **fields})
    assert error.value.type == "invalid_request_error"
    assert error.value.param.partition("[")[0] == param
    assert param in error.value.message


def test_a_model_that_is_not_there_is_not_found(client, model):
    with pytest.raises(openai.NotFoundError) as error:
        client.completions.create(model="gpt-4", prompt=PROMPT)
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")
    assert client.models.retrieve(model).id == model
    assert [each.id for each in client.models.list()] == [model]


def test_chats_are_not_found_and_say_so(client, model):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "a"}])


def test_a_token_opens_the_door(demo_folder, tmp_path):
    (tmp_path / "tokens").write_text("ann:sesame-0123456789abcdef\n")
    with ServerProcess(demo_folder, "--token-file", tmp_path / "tokens", "--completions-listen",
                       "127.0.0.1:0") as server:
        for key in ("none", "ann"):
            with (openai.OpenAI(**options(server, api_key=key)) as client,
                  pytest.raises(openai.AuthenticationError)):
                client.completions.create(model="demo", prompt=PROMPT)
        with openai.OpenAI(**options(server, api_key="sesame-0123456789abcdef")) as client:
            model, = client.models.list()
            assert client.completions.create(model=model.id, prompt=PROMPT, max_tokens=1).choices


def test_a_server_that_is_full_has_the_call_wait(one_slot):
    """More than the queue holds, and none is refused: retries would give up after seconds."""
    async def replies(stream):
        async with openai.AsyncOpenAI(**options(one_slot)) as aio:
            tasks = [asyncio.create_task(aio.completions.create(
                model=one_slot.model_info().model_id, prompt=PROMPT, max_tokens=2, temperature=0))
                for _ in range(12)]
            await asyncio.to_thread(queued, one_slot, 8)
            stream.close()
            return await asyncio.gather(*tasks)
    with UnreadStream(one_slot) as stream:
        texts = {reply.choices[0].text for reply in asyncio.run(replies(stream))}
    assert len(texts) == 1
    one_slot.wait_until_idle()


def test_retries_reach_a_server_that_has_room_again(demo_folder):
    """What waits longer than --completions-wait is refused with 429, and openai sends it again."""
    codes = []

    async def note(response):
        codes.append(response.status_code)

    async def replies(server, stream):
        http_client = openai.DefaultAsyncHttpxClient(event_hooks={"response": [note]})
        async with openai.AsyncOpenAI(**options(server, max_retries=100),
                                      http_client=http_client) as aio:
            tasks = [asyncio.create_task(aio.completions.create(
                model=server.model_info().model_id, prompt=PROMPT, max_tokens=2))
                for _ in range(2)]
            await asyncio.to_thread(wait_until, lambda: 429 in codes, "one is refused")
            stream.close()
            return [each.choices[0].finish_reason for each in await asyncio.gather(*tasks)]
    with (ServerProcess(demo_folder, "--max-batch-sequences", 1, "--max-queue", 1,
                        "--completions-wait", "100ms", "--completions-listen",
                        "127.0.0.1:0") as server, UnreadStream(server) as stream):
        assert asyncio.run(replies(server, stream)) == ["length"] * 2
    assert codes.count(200) == 2


# ---- Routing

def two_arms(server):
    arms = [("control", api.routing.RoutingPolicy(policy_id="native"), True),
            ("treatment", api.top_k_policy(1, "one"), True),
            ("hidden", api.top_k_policy(2, "two"), False)]
    return server.admin.PatchRouters(api.admin.PatchRoutersRequest(plan=api.admin.RoutingPlan(arms=[
        api.admin.Arm(arm_id=name, policy=policy, weight=1, allow_explicit=explicit)
        for name, policy, explicit in arms])), timeout=DEADLINE_S).current


def test_headers_and_replies_say_what_routed(server, client, model):
    two_arms(server)
    raw = client.completions.with_raw_response.create(
        model=model, prompt=PROMPT, max_tokens=4, temperature=0,
        extra_body={"routing": {"arm": "treatment"}})
    stamp = raw.parse().model_extra["routing"]
    assert raw.headers["x-olmoe-arm"] == stamp["arm_id"] == "treatment"
    assert raw.headers["x-olmoe-generation"] == str(stamp["generation"])
    assert raw.headers["x-olmoe-policy-digest"] == stamp["policy_digest"]
    selector = api.inference.RoutingSelector(arm_id="treatment")
    assert raw.parse().choices[0].text == generate(server, max_new_tokens=4, routing=selector).text


def test_an_arm_is_a_model_too(server, client, model):
    two_arms(server)
    assert [each.id for each in client.models.list()] == [
        model, f"{model}@control", f"{model}@treatment"]
    for arm in ("control", "treatment"):
        reply = client.completions.create(model=f"{model}@{arm}", prompt=PROMPT, max_tokens=1)
        assert reply.model_extra["routing"]["arm_id"] == arm
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model=f"{model}@hidden", prompt=PROMPT)


def test_a_policy_goes_with_the_request(server, client, model):
    policy = {"policy_id": "one", "apply": {"top_k": {"k": 1}}}
    reply = client.completions.create(model=model, prompt=PROMPT, max_tokens=4, temperature=0,
                                      extra_body={"routing": {"policy": policy}})
    inline = api.inference.RoutingSelector(policy=api.routing.RoutingPolicy(
        policy_id="one", apply=api.routing.Rule(top_k=api.routing.TopK(k=1))))
    theirs = generate(server, max_new_tokens=4, routing=inline)
    assert reply.choices[0].text == theirs.text
    assert reply.model_extra["routing"]["policy_digest"] == theirs.routing.policy_digest


def test_a_unit_keeps_its_arm(server, client, model):
    two_arms(server)
    for unit in ("alice", "bob", "carol"):
        told = client.completions.create(model=model, prompt=PROMPT, max_tokens=1,
                                         user=unit).model_extra["routing"]
        assert told["reason"] == "split"
        assert told["arm_id"] == generate(server, max_new_tokens=1, unit_id=unit).routing.arm_id


def experts_of(choice):
    return numpy.load(io.BytesIO(base64.b64decode(choice.model_extra["routed_experts"])))


def test_routed_experts_are_those_of_the_trace(server, client, model):
    reply = client.completions.create(model=model, prompt=PROMPT, max_tokens=8, temperature=0, n=2,
                                      extra_body={"return_routed_experts": True,
                                                  "return_token_ids": True})
    trace = generate(server, trace=api.inference.TraceOptions(experts=True)).trace
    theirs = numpy.frombuffer(trace.experts, "u1").reshape(
        trace.num_positions, trace.num_layers, -1)
    assert theirs.shape[0] == reply.usage.prompt_tokens + 8 - 1
    for choice in reply.choices:
        assert (experts_of(choice) == theirs).all()
        told = choice.model_extra
        assert len(told["prompt_token_ids"]) + len(told["token_ids"]) - 1 == theirs.shape[0]
