"""The requests of both clients. Everything here is pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

from olmoe import policies
from olmoe.v1 import inference_pb2

# A text, or token ids, each below vocab_size.
Prompt = str | Sequence[int]


@dataclasses.dataclass(frozen=True)
class TraceOptions:
    """What a trace shall hold. Logits take 4 * num_experts bytes per token and layer."""

    experts: bool = True  # which experts ran
    weights: bool = False  # their weights
    logits: bool = False  # raw router logits


class Routing(TypedDict, total=False):
    """Keywords of every call that says how it wants to be routed.

    unit: whom the request is for; the same unit gets the same arm. Hashed, never logged.
    arm: by name; PermissionDenied unless the plan allows it.
    policy: of this request alone; PermissionDenied unless the server allows it.
    trace: which experts ran; True is TraceOptions().
    request_id: <= 64 printable ASCII characters; the server makes one.
    timeout: seconds, in place of the client's.
    """

    unit: str
    arm: str | None
    policy: policies.PolicyLike | None
    trace: TraceOptions | bool
    request_id: str
    timeout: float | None


class Sampling(Routing, total=False):
    """Keywords of `generate` and `stream`.

    temperature: >= 0; 0 = greedy; None = 1.
    top_p: (0, 1]. top_k: 0 = all. min_p: [0, 1]. repetition_penalty: > 0; 1 = none.
    seed: same seed, same tokens, whatever shares the batch; None: the server draws one.
    stop: <= 16 strings; matched across tokens, not returned.
    stop_token_ids: <= 64; the token ends the text and is not part of it.
    ignore_eos: do not end at the model's end-of-text token.
    logprobs: fills `tokens`, with this many alternatives each, 0..20; None = not.
    add_special_tokens: to a text prompt, what tokenizer.json adds; None = True.
    """

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    seed: int | None
    stop: Sequence[str] | str
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    logprobs: int | None
    add_special_tokens: bool | None


class Scoring(Routing, total=False):
    """Keywords of the score calls.

    per_token: fills `tokens`.
    top: fills `tokens` with this many alternatives each, 0..20.
    """

    per_token: bool
    top: int | None


def selector(arm: str | None,
             policy: policies.PolicyLike | None) -> inference_pb2.RoutingSelector | None:
    """ValueError for both."""
    if arm is not None and policy is not None:
        raise ValueError("arm and policy: one of the two")
    if arm is not None:
        return inference_pb2.RoutingSelector(arm_id=arm)
    if policy is not None:
        return inference_pb2.RoutingSelector(policy=policies.policy_to_proto(policy))
    return None


def trace_options(trace: TraceOptions | bool) -> inference_pb2.TraceOptions | None:
    """None: no trace."""
    if isinstance(trace, bool):
        return trace_options(TraceOptions()) if trace else None
    return inference_pb2.TraceOptions(experts=trace.experts, weights=trace.weights,
                                      logits=trace.logits)


def generate(prompt: Prompt, max_new_tokens: int,
             options: Sampling) -> inference_pb2.GenerateRequest:
    """A Generate request. TypeError for an unknown keyword."""
    known = Sampling.__annotations__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(f"no keyword {', '.join(unknown)}; keywords: {', '.join(known)}")
    sampling = inference_pb2.SamplingParams(
        temperature=options.get("temperature"), top_p=options.get("top_p"),
        top_k=options.get("top_k"), min_p=options.get("min_p"),
        repetition_penalty=options.get("repetition_penalty"), seed=options.get("seed"))
    stop = options.get("stop", ())
    request = inference_pb2.GenerateRequest(
        request_id=options.get("request_id", ""), max_new_tokens=max_new_tokens,
        sampling=sampling, stop=[stop] if isinstance(stop, str) else stop,
        stop_token_ids=options.get("stop_token_ids", ()),
        ignore_eos=options.get("ignore_eos", False), logprobs=options.get("logprobs"),
        routing=selector(options.get("arm"), options.get("policy")),
        unit_id=options.get("unit", ""), trace=trace_options(options.get("trace", False)),
        add_special_tokens=options.get("add_special_tokens"))
    if isinstance(prompt, str):
        request.text = prompt
    else:
        request.tokens.CopyFrom(inference_pb2.TokenIds(ids=prompt))
    return request


def score_item(context: Prompt | None, continuation: Prompt) -> inference_pb2.ScoreItem:
    """An item of a Score request. context None: rolling, the continuation by itself."""
    item = inference_pb2.ScoreItem(rolling=context is None)
    if isinstance(context, str):
        item.context_text = context
    elif context is not None:
        item.context_tokens.CopyFrom(inference_pb2.TokenIds(ids=context))
    if isinstance(continuation, str):
        item.continuation_text = continuation
    else:
        item.continuation_tokens.CopyFrom(inference_pb2.TokenIds(ids=continuation))
    return item


def score(items: Sequence[tuple[Prompt | None, Prompt]],
          options: Scoring) -> inference_pb2.ScoreRequest:
    """A Score request. TypeError for an unknown keyword."""
    known = Scoring.__annotations__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(f"no keyword {', '.join(unknown)}; keywords: {', '.join(known)}")
    return inference_pb2.ScoreRequest(
        request_id=options.get("request_id", ""),
        items=[score_item(context, continuation) for context, continuation in items],
        per_token=options.get("per_token", False), top=options.get("top"),
        routing=selector(options.get("arm"), options.get("policy")),
        unit_id=options.get("unit", ""), trace=trace_options(options.get("trace", False)))
