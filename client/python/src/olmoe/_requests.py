"""The requests of both clients. Everything here is pure."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from olmoe import _check, policies, replay
from olmoe.v1 import inference_pb2

T = TypeVar("T")

# A text, or token ids, each below vocab_size.
Prompt = str | Sequence[int]


@dataclasses.dataclass(frozen=True)
class TraceOptions(_check.Fields):
    """What a trace shall hold. Logits take 4 * num_experts bytes per token and layer."""

    experts: bool = True  # which experts ran
    weights: bool = False  # their weights
    logits: bool = False  # raw router logits


class Routing(TypedDict, total=False):
    """Keywords of every call that says how it wants to be routed.

    unit: whom the request is for; the same unit gets the same arm. Hashed, never logged.
    arm: by name; PermissionDenied unless the plan allows it.
    policy: of this request alone, or a Replay; PermissionDenied unless the server allows it.
    trace: which experts ran; True is TraceOptions().
    routing_seed: of a policy's noise; None = 0.
    request_id: <= 64 printable ASCII characters; the server makes one.
    timeout: seconds, in place of the client's.
    """

    unit: str
    arm: str | None
    policy: policies.PolicyLike | replay.Replay | None
    trace: TraceOptions | bool
    routing_seed: int | None
    request_id: str
    timeout: float | None


class Sampling(Routing, total=False):
    """Keywords of `generate` and `stream`.

    temperature: >= 0; 0 = greedy; None = 1.
    top_p: (0, 1]. top_k: 0 = all. min_p: [0, 1]. repetition_penalty: > 0; 1 = none.
    seed: same seed, same tokens, whatever shares the batch; None: the server draws one.
    presence_penalty, frequency_penalty: -2..2; taken from the logit of each token that the
      completion has: once, and once for each time.
    logit_bias: added to the logits of tokens, by id; -100..100.
    stop: <= 64 strings; matched across tokens, not returned unless include_stop.
    stop_token_ids: <= 64; the token ends the text and is not part of it.
    include_stop: a matched stop string is part of the text.
    skip_special_tokens: they have no text; None = True.
    ignore_eos: do not end at the model's end-of-text token.
    n: completions of the one prompt, which is computed once; 1..16, with seeds that follow each
      other.
    logprobs: fills `tokens`, with this many alternatives each, 0..20; None = not.
    prompt_logprobs: fills `prompt_tokens`, with as many; then max_new_tokens may be 0.
    add_special_tokens: to a text prompt, what tokenizer.json adds; None = True.
    """

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    stop: Sequence[str] | str
    stop_token_ids: Sequence[int]
    include_stop: bool
    skip_special_tokens: bool | None
    ignore_eos: bool
    n: int | None
    logprobs: int | None
    prompt_logprobs: int | None
    add_special_tokens: bool | None


class Scoring(Routing, total=False):
    """Keywords of the score calls.

    per_token: fills `tokens`.
    top: fills `tokens` with this many alternatives each, 0..20.
    """

    per_token: bool
    top: int | None


def selector(arm: str | None, policy: policies.PolicyLike | replay.Replay | None,
             ) -> inference_pb2.RoutingSelector | None:
    """ValueError for both."""
    if arm is not None and policy is not None:
        raise ValueError("arm and policy: one of the two")
    if arm is not None:
        return inference_pb2.RoutingSelector(arm_id=_check.text("arm", arm))
    if isinstance(policy, replay.Replay):
        return inference_pb2.RoutingSelector(replay=replay.replay_to_proto(policy))
    if policy is not None:
        return inference_pb2.RoutingSelector(policy=policies.policy_to_proto(policy))
    return None


def trace_options(trace: TraceOptions | bool) -> inference_pb2.TraceOptions | None:
    """None: no trace."""
    if isinstance(trace, bool):
        return trace_options(TraceOptions()) if trace else None
    trace = _check.instance("trace", trace, TraceOptions, "True, False or a TraceOptions")
    return inference_pb2.TraceOptions(experts=trace.experts, weights=trace.weights,
                                      logits=trace.logits)


def _prompt(name: str, prompt: Prompt) -> str | inference_pb2.TokenIds:
    if isinstance(prompt, str):
        return _check.text(name, prompt)
    return inference_pb2.TokenIds(ids=_check.items(name, prompt, _check.integer,
                                                   "token ids, or a str"))


def _biases(name: str, value: Any) -> dict[int, float]:
    """TypeError for what is not a mapping of token ids to numbers."""
    biases = _check.mapping(name, value, "a mapping of token ids to numbers")
    return {_check.integer(f"{name}: a token id", token): _check.real(f"{name}[{token}]", bias)
            for token, bias in biases.items()}


class _Given:
    """The keywords of a call, each checked as it is read; None is as if it were not given."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def get(self, name: str, check: Callable[..., T], default: Any = None, **more: Any) -> T | Any:
        """What `check` makes of it; `default` without it."""
        value = self._options.get(name)
        return default if value is None else check(name, value, **more)


def generate(prompt: Prompt, max_new_tokens: int,
             options: Sampling) -> inference_pb2.GenerateRequest:
    """A Generate request. TypeError for an unknown keyword."""
    _check.keywords(options, Sampling.__annotations__)
    given = _Given(options)
    sampling = inference_pb2.SamplingParams(
        temperature=given.get("temperature", _check.real),
        top_p=given.get("top_p", _check.real), top_k=given.get("top_k", _check.integer),
        min_p=given.get("min_p", _check.real),
        repetition_penalty=given.get("repetition_penalty", _check.real),
        presence_penalty=given.get("presence_penalty", _check.real),
        frequency_penalty=given.get("frequency_penalty", _check.real),
        logit_bias=given.get("logit_bias", _biases),
        seed=given.get("seed", _check.integer, bits=64))
    stop = options.get("stop")
    request = inference_pb2.GenerateRequest(
        request_id=given.get("request_id", _check.text, ""),
        max_new_tokens=_check.integer("max_new_tokens", max_new_tokens), sampling=sampling,
        stop=_check.texts("stop", [stop] if isinstance(stop, str) else stop or ()),
        stop_token_ids=given.get("stop_token_ids", _check.integers, ()),
        include_stop=given.get("include_stop", _check.boolean, False),
        skip_special_tokens=given.get("skip_special_tokens", _check.boolean),
        ignore_eos=given.get("ignore_eos", _check.boolean, False),
        n=given.get("n", _check.integer),
        logprobs=given.get("logprobs", _check.integer),
        prompt_logprobs=given.get("prompt_logprobs", _check.integer),
        routing=selector(options.get("arm"), options.get("policy")),
        unit_id=given.get("unit", _check.text, ""),
        trace=trace_options(options.get("trace", False)),
        add_special_tokens=given.get("add_special_tokens", _check.boolean),
        routing_seed=given.get("routing_seed", _check.integer, bits=64))
    sent = _prompt("prompt", prompt)
    if isinstance(sent, str):
        request.text = sent
    else:
        request.tokens.CopyFrom(sent)
    return request


def _score_item(name: str, pair: Any) -> inference_pb2.ScoreItem:
    """An item of a Score request. A context that is None: rolling, the continuation by itself."""
    if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise TypeError(f"{name} must be a pair of context and continuation, not "
                        f"{reprlib.repr(pair)}")
    context, continuation = pair
    return score_item(context, continuation, f"{name}: ")


def score_item(context: Prompt | None, continuation: Prompt,
               prefix: str = "") -> inference_pb2.ScoreItem:
    """The same of its parts; `prefix` begins its errors."""
    item = inference_pb2.ScoreItem(rolling=context is None)
    if context is not None:
        before = _prompt(f"{prefix}context", context)
        if isinstance(before, str):
            item.context_text = before
        else:
            item.context_tokens.CopyFrom(before)
    scored = _prompt(f"{prefix}{'text' if context is None else 'continuation'}", continuation)
    if isinstance(scored, str):
        item.continuation_text = scored
    else:
        item.continuation_tokens.CopyFrom(scored)
    return item


def score_items(pairs: Iterable[tuple[Prompt | None, Prompt]]) -> list[inference_pb2.ScoreItem]:
    """The items of a batch."""
    return _check.items("items", pairs, _score_item, "pairs of context and continuation")


def score(items: Iterable[inference_pb2.ScoreItem],
          options: Scoring) -> inference_pb2.ScoreRequest:
    """A Score request. TypeError for an unknown keyword."""
    _check.keywords(options, Scoring.__annotations__)
    given = _Given(options)
    return inference_pb2.ScoreRequest(
        request_id=given.get("request_id", _check.text, ""), items=items,
        per_token=given.get("per_token", _check.boolean, False),
        top=given.get("top", _check.integer),
        routing=selector(options.get("arm"), options.get("policy")),
        unit_id=given.get("unit", _check.text, ""),
        trace=trace_options(options.get("trace", False)),
        routing_seed=given.get("routing_seed", _check.integer, bits=64))


def tokenize(text: str, add_special_tokens: bool) -> inference_pb2.TokenizeRequest:
    """A Tokenize request."""
    return inference_pb2.TokenizeRequest(
        text=_check.text("text", text),
        add_special_tokens=_check.boolean("add_special_tokens", add_special_tokens))


def detokenize(ids: Sequence[int], skip_special_tokens: bool) -> inference_pb2.DetokenizeRequest:
    """A Detokenize request."""
    return inference_pb2.DetokenizeRequest(
        ids=_check.integers("ids", ids),
        skip_special_tokens=_check.boolean("skip_special_tokens", skip_special_tokens))
