"""The public port: generate, score, tokenize."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from olmoe import _calls, _endpoint, _requests, errors, results
from olmoe._requests import Prompt, Sampling, Scoring
from olmoe.v1 import inference_pb2


class CompletionStream(_calls.Watch[results.Delta]):
    """A completion under way: an iterator over its parts.

    Closing it, leaving its `with` block or forgetting it cancels the completion, and the server
    stops within one step. One thread iterates; any may close.
    """

    def __init__(self, call: _calls.Call) -> None:
        self._parts = results.StreamParts()
        super().__init__(call, self._parts.add)

    @property
    def started(self) -> results.Started | None:
        """The stamp and the size of the prompt; None before the first part came."""
        return self._parts.started

    def result(self) -> results.Completion:
        """The whole completion, as `Client.generate` gives it; reads what is left of the stream.

        Cancelled where the stream was closed before its end.
        """
        for _ in self:
            pass
        if self._parts.result is None:
            raise errors.Cancelled("the stream was closed before its end", code="CANCELLED")
        return self._parts.result


class Client(_calls.Service):
    """Calls of the public port. Thread-safe; use it as a context manager or close it.

    target: "HOST:PORT", or "unix:/path".
    token: sent with each call. Beyond this machine, use TLS with it. token_file: a file whose first
      [NAME:]TOKEN line has it.
    ca, cert, key: TLS: authorities of the server, and this client's certificate for mutual TLS;
      paths of PEM files. tls: TLS with the system's authorities; False: none, whatever the
      environment says.
    Of these, what is not given comes from the environment, as for olmoectl: OLMOE_SERVER (of Admin:
    OLMOE_ADMIN), OLMOE_TOKEN_FILE, OLMOE_CA, OLMOE_CERT, OLMOE_KEY, OLMOE_TLS.
    timeout: seconds for each call and all its retries; None = no limit.
    retries: how often a call is sent again where the server is busy and says when to come again,
      or cannot be reached. 0: never. Streams are never sent again.

    Calls raise what olmoe.errors has; ValueError and TypeError, which name the argument, for what
    cannot be sent.
    """

    _port = _endpoint.PUBLIC

    def generate(self, prompt: Prompt, max_new_tokens: int = 64,
                 **options: Unpack[Sampling]) -> results.Completion:
        """Continues a prompt, text or token ids, by at most `max_new_tokens`.

        The keywords are those of Sampling. InvalidRequest also where prompt and new tokens do not
        fit into the model's context.
        """
        request = _requests.generate(prompt, max_new_tokens, options)
        return results.Completion.from_proto(
            self._connection.call(_calls.GENERATE, request, options.get("timeout")))

    def stream(self, prompt: Prompt, max_new_tokens: int = 64,
               **options: Unpack[Sampling]) -> CompletionStream:
        """The same while it is made. Errors are raised by the iterator."""
        request = _requests.generate(prompt, max_new_tokens, options)
        return CompletionStream(
            self._connection.read(_calls.GENERATE_STREAM, request, options.get("timeout")))

    def score(self, context: Prompt, continuation: Prompt,
              **options: Unpack[Scoring]) -> results.Score:
        """How likely `continuation` is after `context`; the keywords are those of Scoring.

        Texts are split into tokens as lm-evaluation-harness does. An empty context is the
        beginning of a text.
        """
        return self._score([_requests.score_item(context, continuation)], options).scores[0]

    def score_rolling(self, text: Prompt, **options: Unpack[Scoring]) -> results.Score:
        """How likely a whole text is, in windows of the model's context; each token counts once."""
        return self._score([_requests.score_item(None, text)], options).scores[0]

    def score_batch(self, items: Sequence[tuple[Prompt | None, Prompt]],
                    **options: Unpack[Scoring]) -> results.ScoreBatch:
        """1..256 pairs of context and continuation in one call; context None: score_rolling."""
        return self._score(_requests.score_items(items), options)

    def _score(self, items: list[inference_pb2.ScoreItem], options: Scoring) -> results.ScoreBatch:
        request = _requests.score(items, options)
        return results.ScoreBatch.from_proto(
            self._connection.call(_calls.SCORE, request, options.get("timeout")))

    def tokenize(self, text: str, *, add_special_tokens: bool = False,
                 timeout: float | None = None) -> results.Tokens:
        """The tokens of a text. Conflict where the model has no tokenizer."""
        request = _requests.tokenize(text, add_special_tokens)
        return results.Tokens.from_proto(self._connection.call(_calls.TOKENIZE, request, timeout))

    def detokenize(self, ids: Sequence[int], *, skip_special_tokens: bool = False,
                   timeout: float | None = None) -> str:
        """The text of tokens. Conflict where the model has no tokenizer."""
        request = _requests.detokenize(ids, skip_special_tokens)
        return self._connection.call(_calls.DETOKENIZE, request, timeout).text

    def model_info(self, *, timeout: float | None = None) -> results.ModelInfo:
        """The model that is served."""
        return results.ModelInfo.from_proto(self._connection.call(
            _calls.MODEL_INFO, inference_pb2.GetModelInfoRequest(), timeout))
