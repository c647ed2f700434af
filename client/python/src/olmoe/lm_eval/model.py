"""The model `olmoe` of lm-evaluation-harness: its requests as Score and Generate calls."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import Any, TypeVar

from olmoe import _check, _optional
from olmoe._endpoint import PathLike
from olmoe._passes import Subject, patiently
from olmoe._units import prefix_token
from olmoe.chat import ChatTemplate
from olmoe.client import Client
from olmoe.lm_eval.answers import Answers, Continuation, calls
from olmoe.policies import PolicyLike, as_policy

with _optional.extra("lm-eval"):
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM
    from tqdm import tqdm

Q = TypeVar("Q")
A = TypeVar("A")

_MAX_ITEMS = 256  # of a Score call
_MAX_CONCURRENT = 256


def _between(name: str, value: Any, most: int) -> int:
    number = _check.integer(name, value, least=1)
    if number > most:
        raise ValueError(f"{name} must be 1..{most}, is {number}")
    return number


def _batch_size(given: int | str) -> int | str:
    """Of lm-eval's words: "8", "auto", "auto:4"."""
    if isinstance(given, str):
        return 1 if given.startswith("auto") else int(given) if given.isdecimal() else given
    return given


class OlmoeLM(LM):
    """The requests of lm-eval's tasks, answered by a server.

    Texts are split into tokens by the server as lm-eval's `hf` model splits them, without special
    tokens: trailing white space of a context moves to the continuation, an empty context is the
    beginning of a text, and a text beyond the model's context is scored in its rolling windows.
    What a task asks of generation and the server cannot do is a ValueError that names it.

    target, token, token_file, ca, cert, key, tls, timeout, retries: as of olmoe.Client.
    arm: of the server's plan, by name; the plan must allow it. policy: of these requests alone, a
      value or olmoectl's notation; the server must allow it. One of the two; neither: what the
      server routes with.
    unit_id: whom the requests are for; a plan of several arms gives them all the same one.
    batch_size: requests in one Score call, 1..256; requests with equal contexts, such as the
      choices of a question, share one anyway. lm-eval's "auto" is 1.
    num_concurrent: calls at a time, 1..256.
    max_gen_toks: new tokens where a task does not say how many.
    chat_template: the model folder whose chat template --apply_chat_template takes.
    seed: of sampling. The n-th request of a task gets seed + n, so that repeats differ.
    max_batch_size, device: what lm-eval gives every model; the server has its own.

    PermissionDenied, NotFound and so on where the server refuses arm or policy: told here, before
    hours are spent. Conflict (ABORTED) by the call that notices that another arm or policy answers
    than before; a swap that leaves both as they are goes on, and `get_model_info` tells the
    generations. Thread-compatible.
    """

    def __init__(self, target: str | None = None, *, token: str | None = None,
                 token_file: PathLike | None = None, ca: PathLike | None = None,
                 cert: PathLike | None = None, key: PathLike | None = None,
                 tls: bool | None = None, timeout: float | None = None, retries: int = 0,
                 arm: str | None = None, policy: PolicyLike | None = None,
                 unit_id: str = "lm-eval", batch_size: int | str = 1, num_concurrent: int = 8,
                 max_gen_toks: int = 256, seed: int = 1234,
                 chat_template: PathLike | None = None, max_batch_size: int | None = None,
                 device: str | None = None) -> None:
        super().__init__()
        del max_batch_size, device
        self._batch_size = _between("batch_size", _batch_size(batch_size), _MAX_ITEMS)
        self._num_concurrent = _between("num_concurrent", num_concurrent, _MAX_CONCURRENT)
        self._max_gen_toks = _check.integer("max_gen_toks", max_gen_toks, least=1)
        self._seed = _check.integer("seed", seed, bits=63)
        self._chat_folder = chat_template
        self._chosen: ChatTemplate | None = None
        if chat_template is not None:
            ChatTemplate.read(chat_template)
        subject = Subject("", None if policy is None else as_policy(policy), arm)
        self._client = Client(target, token=token, token_file=token_file, ca=ca, cert=cert,
                              key=key, tls=tls, timeout=timeout, retries=retries)
        self._model = self._client.model_info()
        self._answers = Answers(self._client, self._model, subject,
                                _check.text("unit_id", unit_id))
        self._answers.score([((), (prefix_token(self._model),))])

    def loglikelihood(self, requests: list[Instance],
                      disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(nats, whether the continuation is the greedy one) of each (context, continuation)."""
        pairs = [each.args for each in requests]
        asked = [self._answers.pair(*pair) for pair in pairs]
        scores = self._map(self._answers.score, calls(asked, self._batch_size, _MAX_ITEMS),
                           len(asked), "loglikelihood", disable_tqdm)
        answers = [(score.logprob_sum, score.is_greedy) for score in scores]
        self._remember("loglikelihood", pairs, answers)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance],
                              disable_tqdm: bool = False) -> list[float]:
        """Nats of each whole text; every token counts once. An empty text has none."""
        texts = [each.args for each in requests]
        asked = [(None, text) for text, in texts if text]
        scores = iter(self._map(
            self._answers.score, calls(asked, self._batch_size, _MAX_ITEMS), len(asked),
            "loglikelihood_rolling", disable_tqdm))
        answers = [next(scores).logprob_sum if text else 0.0 for text, in texts]
        self._remember("loglikelihood_rolling", texts, answers)
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text after each context, up to the first of its stop strings."""
        asked = [each.args for each in requests]

        def answer(continuation: Continuation) -> list[str]:
            return [self._answers.generate(continuation)]
        continuations = [
            Continuation.of(context, kwargs, self._max_gen_toks, self._seed + index)
            for index, (context, kwargs) in enumerate(asked)]
        texts = self._map(answer, continuations, len(asked), "generate_until", disable_tqdm)
        self._remember("generate_until", asked, texts)
        return texts

    def _map(self, ask: Callable[[Q], Sequence[A]], asked: Iterable[Q], requests: int, name: str,
             disable_tqdm: bool) -> list[A]:
        """The answers to all calls, in their order; the first error ends it."""
        answers: list[A] = []
        with (tqdm(total=requests, desc=f"Running {name} requests", disable=disable_tqdm) as bar,
              futures.ThreadPoolExecutor(self._num_concurrent, "olmoe-lm-eval") as threads):
            over = threading.Event()
            work = [threads.submit(patiently, functools.partial(ask, each), over) for each in asked]
            try:
                for each in work:
                    answers += each.result()
                    bar.update(len(answers) - bar.n)
            finally:
                over.set()
                threads.shutdown(cancel_futures=True)
        return answers

    def _remember(self, name: str, asked: Iterable[tuple[Any, ...]],
                  answers: Iterable[Any]) -> None:
        """For lm-eval's --use_cache."""
        for arguments, answer in zip(asked, answers, strict=True):
            self.cache_hook.add_partial(name, arguments, answer)

    def _chat(self, name: bool | str) -> ChatTemplate:
        if self._chat_folder is None:
            raise ValueError("--apply_chat_template needs chat_template=FOLDER among --model_args: "
                             "the folder of the model")
        return ChatTemplate.read(self._chat_folder, name if isinstance(name, str) else "default")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The Jinja of the template, or of the one of that name."""
        if not chat_template:
            return None
        self._chosen = self._chat(chat_template)
        return self._chosen.source

    def apply_chat_template(self, chat_history: list[dict[str, str]],
                            add_generation_prompt: bool = True) -> str:
        """A chat as a prompt. ChatError where the template refuses it."""
        self._chosen = self._chosen or self._chat(True)
        return self._chosen.render(chat_history, add_generation_prompt=add_generation_prompt,
                                   continue_final_message=not add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval's cache of requests goes by."""
        return f"{self._model.model_id}-{self._model.weights_digest}"

    def get_model_info(self) -> dict[str, Any]:
        """What answered, for the `config` of lm-eval's results."""
        return {"olmoe": {
            "model_id": self._model.model_id, "weights_digest": self._model.weights_digest,
            "dtype": self._model.dtype, "kernels": self._model.kernels,
            "server_version": self._model.server_version, **self._answers.told()}}
