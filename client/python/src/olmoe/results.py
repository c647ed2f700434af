"""What the inference calls return. Log-probabilities are in nats, times in seconds."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable
from typing import Any

from google.protobuf import duration_pb2

from olmoe.trace import Trace
from olmoe.v1 import inference_pb2, routing_pb2


def seconds(duration: duration_pb2.Duration) -> float:
    """The seconds of a protobuf duration."""
    return duration.ToNanoseconds() / 1e9


class FinishReason(enum.IntEnum):
    """Why a completion ended."""

    LENGTH = 1  # max_new_tokens
    EOS = 2
    STOP_STRING = 3
    STOP_TOKEN = 4


class Assignment(enum.IntEnum):
    """Why a request got its arm."""

    DEFAULT = 1  # one arm
    SPLIT = 2  # by the hash of the unit
    RANDOM_UNIT = 3  # no unit was given: by the hash of the request id
    EXPLICIT_ARM = 4
    INLINE_POLICY = 5


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What routed a request."""

    generation: int  # of the plan that the request was admitted with
    arm: str
    policy_id: str
    policy_digest: str  # SHA-256 of the canonical policy, lower-case hex
    reason: Assignment
    trace_digest: str = ""  # of a Replay: SHA-256 of its trace, lower-case hex

    @classmethod
    def from_proto(cls, message: routing_pb2.RoutingStamp) -> Stamp:
        """The stamp of a message."""
        return cls(message.generation, message.arm_id, message.policy_id, message.policy_digest,
                   Assignment(message.reason), message.trace_digest)


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a request took."""

    prompt_tokens: int
    completion_tokens: int
    expert_activations: int  # (token, layer, expert) triples
    routed_tokens: int  # run through the layers; a token that is only predicted is not
    cached_prompt_tokens: int = 0  # found in the cache: not run, not counted above
    cached_expert_activations: int = 0  # that those had run

    @classmethod
    def from_proto(cls, message: inference_pb2.Usage) -> Usage:
        """The usage of a message."""
        return cls(message.prompt_tokens, message.completion_tokens, message.expert_activations,
                   message.routed_tokens, message.cached_prompt_tokens,
                   message.cached_expert_activations)


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where the time of a request went, on the server."""

    queue_s: float
    prefill_s: float
    time_to_first_token_s: float
    decode_s: float
    total_s: float

    @classmethod
    def from_proto(cls, message: inference_pb2.Timing) -> Timing:
        """The times of a message."""
        return cls(seconds(message.queue), seconds(message.prefill),
                   seconds(message.time_to_first_token), seconds(message.decode),
                   seconds(message.total))


@dataclasses.dataclass(frozen=True)
class Logprob:
    """A token that could have come, and how likely it was."""

    token_id: int
    logprob: float  # nats

    @classmethod
    def all(cls, messages: Iterable[inference_pb2.TokenLogprob]) -> tuple[Logprob, ...]:
        """Those of messages, in order."""
        return tuple(cls(each.token_id, each.logprob) for each in messages)


@dataclasses.dataclass(frozen=True)
class Token:
    """A token that was generated."""

    token_id: int
    piece: bytes  # UTF-8; may end inside a character
    logprob: float | None  # nats
    top: tuple[Logprob, ...]  # the most likely ones

    @classmethod
    def all(cls, messages: Iterable[inference_pb2.GeneratedToken]) -> tuple[Token, ...]:
        """Those of messages, in order."""
        return tuple(cls(each.token_id, each.piece,
                         each.logprob if each.HasField("logprob") else None,
                         Logprob.all(each.top)) for each in messages)


@dataclasses.dataclass(frozen=True)
class ScoredToken:
    """A token that was given: of a prompt or a continuation."""

    token_id: int
    logprob: float  # nats
    rank: int  # 1 = the most likely token
    top: tuple[Logprob, ...]

    @classmethod
    def all(cls, messages: Iterable[inference_pb2.ScoredToken]) -> tuple[ScoredToken, ...]:
        """Those of messages, in order."""
        return tuple(cls(each.token_id, each.logprob, each.rank, Logprob.all(each.top))
                     for each in messages)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of the completions of a prompt behind the first."""

    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]  # filled when logprobs is set
    finish_reason: FinishReason
    matched_stop: str
    trace: Trace | None  # from the end of the prompt on

    @classmethod
    def from_proto(cls, message: inference_pb2.GenerateChoice) -> Choice:
        """The completion of a message."""
        return cls(message.text, tuple(message.token_ids), Token.all(message.tokens),
                   FinishReason(message.finish_reason), message.matched_stop,
                   Trace.join([message.trace]))


@dataclasses.dataclass(frozen=True)
class Completion:
    """A finished completion; of several, the first."""

    request_id: str
    text: str  # ends before a matched stop string; "" where the model has no tokenizer
    token_ids: tuple[int, ...]  # all that were generated, the one that stopped it included
    tokens: tuple[Token, ...]  # filled when logprobs is set
    finish_reason: FinishReason
    matched_stop: str
    usage: Usage
    timing: Timing
    stamp: Stamp
    seed: int  # the one used
    trace: Trace | None
    other_choices: tuple[Choice, ...] = ()  # completions 1..n-1
    prompt_tokens: tuple[ScoredToken, ...] = ()  # from the second on; with prompt_logprobs

    @classmethod
    def from_proto(cls, message: inference_pb2.GenerateResponse) -> Completion:
        """The completion of a message."""
        return cls(message.request_id, message.text, tuple(message.token_ids),
                   Token.all(message.tokens), FinishReason(message.finish_reason),
                   message.matched_stop, Usage.from_proto(message.usage),
                   Timing.from_proto(message.timing), Stamp.from_proto(message.routing),
                   message.seed, Trace.join([message.trace]),
                   tuple(Choice.from_proto(each) for each in message.other_choices),
                   ScoredToken.all(message.prompt_tokens))


@dataclasses.dataclass(frozen=True)
class Started:
    """The beginning of a stream: the request was admitted."""

    request_id: str
    stamp: Stamp
    prompt_tokens: int

    @classmethod
    def from_proto(cls, message: inference_pb2.GenerateStarted) -> Started:
        """The beginning, of a message."""
        return cls(message.request_id, Stamp.from_proto(message.routing), message.prompt_tokens)


@dataclasses.dataclass(frozen=True)
class Delta:
    """A part of a stream."""

    text: str  # whole characters; held back while it may begin a stop string
    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]  # filled when logprobs is set
    trace: Trace | None
    choice: int = 0  # whose it is, 0..n-1
    prompt_tokens: tuple[ScoredToken, ...] = ()  # with prompt_logprobs, of choice 0

    @classmethod
    def from_proto(cls, message: inference_pb2.GenerateDelta) -> Delta:
        """The part of a message."""
        return cls(message.text, tuple(message.token_ids), Token.all(message.tokens),
                   Trace.join([message.trace]), message.choice,
                   ScoredToken.all(message.prompt_tokens))


class StreamParts:
    """Puts the messages of one GenerateStream together. Thread-compatible."""

    def __init__(self) -> None:
        self.started: Started | None = None
        self.result: Completion | None = None
        self._deltas: list[inference_pb2.GenerateDelta] = []

    def add(self, message: inference_pb2.GenerateStreamResponse) -> Delta | None:
        """The delta of the message, if it is one."""
        if message.HasField("delta"):
            self._deltas.append(message.delta)
            return Delta.from_proto(message.delta)
        if message.HasField("started"):
            self.started = Started.from_proto(message.started)
        elif message.HasField("done"):
            self.result = self._finish(Completion.from_proto(message.done))
        return None

    def _finish(self, done: Completion) -> Completion:
        """The final message has no text, tokens and trace: the deltas had them."""
        return dataclasses.replace(
            done, **self._output(0),
            prompt_tokens=tuple(token for each in self._deltas
                                for token in ScoredToken.all(each.prompt_tokens)),
            other_choices=tuple(dataclasses.replace(other, **self._output(choice))
                                for choice, other in enumerate(done.other_choices, start=1)))

    def _output(self, choice: int) -> dict[str, Any]:
        deltas = [each for each in self._deltas if each.choice == choice]
        return {"text": "".join(each.text for each in deltas),
                "token_ids": tuple(token for each in deltas for token in each.token_ids),
                "tokens": tuple(token for each in deltas for token in Token.all(each.tokens)),
                "trace": Trace.join([each.trace for each in deltas])}


@dataclasses.dataclass(frozen=True)
class Score:
    """How likely a continuation is. One that could not be scored has an error and no numbers."""

    logprob_sum: float  # nats, over the continuation only; NaN after an error
    is_greedy: bool  # every token is the most likely one
    token_count: int
    byte_count: int  # UTF-8 bytes of the continuation
    tokens: tuple[ScoredToken, ...]  # filled when per_token or top is set
    context_tokens_dropped: int  # so that the rest fits into the model's context
    trace: Trace | None
    stamp: Stamp
    error: str | None = None  # of a batch: why this item has no score; the others have theirs

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability per token."""
        if self.error is not None:
            return math.nan
        return math.exp(-self.logprob_sum / self.token_count)

    @classmethod
    def from_proto(cls, message: inference_pb2.ScoreResult, stamp: Stamp) -> Score:
        """The score of a message."""
        tokens = ScoredToken.all(message.tokens)
        error = message.error.message if message.HasField("error") else None
        return cls(message.logprob_sum if error is None else math.nan, message.is_greedy,
                   message.token_count, message.byte_count, tokens,
                   message.context_tokens_dropped, Trace.join([message.trace]), stamp, error)


@dataclasses.dataclass(frozen=True)
class ScoreBatch:
    """The scores of one call, in the order of its items."""

    request_id: str
    scores: tuple[Score, ...]
    usage: Usage
    timing: Timing
    stamp: Stamp

    @classmethod
    def from_proto(cls, message: inference_pb2.ScoreResponse) -> ScoreBatch:
        """The scores of a message."""
        stamp = Stamp.from_proto(message.routing)
        scores = tuple(Score.from_proto(each, stamp) for each in message.results)
        return cls(message.request_id, scores, Usage.from_proto(message.usage),
                   Timing.from_proto(message.timing), stamp)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """A text as tokens."""

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...]  # the bytes that each token stands for
    offsets: tuple[tuple[int, int], ...]  # [start, end) of each in Unicode code points of the text

    @classmethod
    def from_proto(cls, message: inference_pb2.TokenizeResponse) -> Tokens:
        """The tokens of a message."""
        return cls(tuple(message.ids), tuple(message.pieces),
                   tuple(zip(message.start_offsets, message.end_offsets, strict=True)))


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The model that is served."""

    model_id: str  # name of the model directory
    weights_digest: str  # SHA-256 over the safetensors shards
    num_layers: int
    num_experts: int
    default_top_k: int
    norm_topk_prob: bool
    hidden_size: int
    vocab_size: int
    max_context: int  # tokens
    eos_token_id: int  # config.json's, the first where it has several
    pad_token_id: int
    device: str  # "cpu", "cuda:0"
    dtype: str  # "float32", "bfloat16"
    server_version: str
    max_batch_sequences: int
    has_tokenizer: bool
    kernels: str  # what computes: "amx", "avx512-bf16", "avx2", "portable"; "aten": LibTorch
    eos_token_ids: tuple[int, ...]  # each ends a completion

    @classmethod
    def from_proto(cls, message: inference_pb2.GetModelInfoResponse) -> ModelInfo:
        """The model of a message."""
        values = {field.name: getattr(message, field.name) for field in dataclasses.fields(cls)}
        return cls(**{**values, "eos_token_ids": tuple(message.eos_token_ids)})
