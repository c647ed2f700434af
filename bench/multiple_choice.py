"""How many multiple-choice questions a second servers answer, in turn, so that they share whatever
the machine does meanwhile.

  bench/multiple_choice.py --url http://localhost:8000 --url http://localhost:8001 \
      --shots 600 --context 40 --continuation 4 --choices 4 --questions 8 --in-flight 32

A question is asked as lm-evaluation-harness asks it: one POST /v1/completions for each choice, whose
prompt is the examples that all questions have (shots), the question (context) and the choice, with
max_tokens 1, echo and logprobs 1. Tokens are random; each round has examples of its own. `--llama
FILE.gguf` adds llama.cpp, by the Python package llama-cpp-python in this process: one call at a
time, which begins behind what it shares with the one before.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import random
import statistics
import time
import urllib.request
from collections.abc import Callable

Question = list[list[int]]  # the prompt of each choice, as token ids
Ask = Callable[[list[int]], float]  # the log-probability of a prompt's last token


def questions(options: argparse.Namespace, seed: int) -> list[Question]:
    """New ones for each seed."""
    draw = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(1000, options.vocabulary) for _ in range(count)]

    shots = tokens(options.shots)
    made = []
    for _ in range(options.questions):
        context = shots + tokens(options.context)
        made.append([context + tokens(options.continuation) for _ in range(options.choices)])
    return made


def http_asker(url: str) -> Ask:
    """Asks a server of OpenAI's completions API."""

    def ask(prompt: list[int]) -> float:
        body = json.dumps({"prompt": prompt, "max_tokens": 1, "echo": True, "logprobs": 1,
                           "temperature": 0}).encode()
        request = urllib.request.Request(f"{url}/v1/completions", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["choices"][0]["logprobs"]["token_logprobs"][len(prompt) - 1]

    return ask


def llama_asker(path: str, threads: int) -> Ask:
    """Asks llama.cpp."""
    import llama_cpp  # noqa: PLC0415: only where it is measured

    model = llama_cpp.Llama(path, n_ctx=4096, n_threads=threads, n_threads_batch=threads,
                            logits_all=True, verbose=False)

    # What create_completion does with echo and logprobs, which takes no token ids together with echo.
    def ask(prompt: list[int]) -> float:
        next(model.generate(prompt, temp=0))
        row = model.logits_to_logprobs(model.scores[len(prompt) - 2])
        return float(row[prompt[-1]])

    return ask


def questions_per_second(ask: Ask, asked: list[Question], in_flight: int) -> float:
    """Of one round."""
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(ask, [choice for question in asked for choice in question]))
    return len(asked) / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", action="append", default=[],
                        help="a server; the first is compared with")
    parser.add_argument("--llama", help="a GGUF file, for llama.cpp")
    parser.add_argument("--threads", type=int, default=2, help="of llama.cpp")
    parser.add_argument("--shots", type=int, default=600, help="tokens that all questions share")
    parser.add_argument("--context", type=int, default=40, help="that the choices of one share")
    parser.add_argument("--continuation", type=int, default=4, help="tokens of a choice")
    parser.add_argument("--choices", type=int, default=4)
    parser.add_argument("--questions", type=int, default=8, help="of a round")
    parser.add_argument("--in-flight", type=int, default=32, help="calls at a time, for servers")
    parser.add_argument("--vocabulary", type=int, default=50000, help="token ids are below it")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    servers: dict[str, tuple[Ask, int]] = {url: (http_asker(url), options.in_flight)
                                           for url in options.url}
    if options.llama:
        servers["llama.cpp"] = (llama_asker(options.llama, options.threads), 1)
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(options.rounds + 1):
        for name, (ask, in_flight) in servers.items():
            rate = questions_per_second(ask, questions(options, seed=number), in_flight)
            if number > 0:  # the first round warms up
                rates[name].append(rate)
    first = next(iter(rates.values()))
    for name, of_server in rates.items():
        ratio = statistics.median(mine / other for mine, other in zip(of_server, first, strict=True))
        print(f"{name}: {statistics.median(of_server):.3f} questions/s "
              f"({min(of_server):.3f}..{max(of_server):.3f}), {ratio:.3f} times the first")


if __name__ == "__main__":
    main()
