"""Perplexity of a text under several policies, and how many experts each of them runs.

With --inline the policies go with the requests: nobody else is disturbed, and the server must run
with --allow-inline-policy. Without it each policy is patched in for the time of its measurement.

    python sweep.py text.txt --policy native --policy top-k=4 --policy top-p=0.5
"""

import argparse
import contextlib
import pathlib

import olmoe

POLICIES = ("native", "top-k=1", "top-k=2", "top-k=4", "top-k=16", "top-p=0.5")
BATCH = 64


def measure(client: olmoe.Client, layers: int, documents: list[str],
            policy: olmoe.Policy | None) -> tuple[float, int, float]:
    """(mean loss in nats per token, tokens, experts per token and layer)."""
    loss, tokens, activations, rows = 0.0, 0, 0, 0
    for first in range(0, len(documents), BATCH):
        batch = client.score_batch([(None, text) for text in documents[first:first + BATCH]],
                                   policy=policy)
        loss -= sum(score.logprob_sum for score in batch.scores)
        tokens += sum(score.token_count for score in batch.scores)
        activations += batch.usage.expert_activations
        rows += batch.usage.routed_tokens  # contexts too, which are not scored
    return loss / tokens, tokens, activations / (rows * layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path, help="a document a paragraph")
    parser.add_argument("--policy", action="append", help="in olmoectl's notation")
    parser.add_argument("--inline", action="store_true")
    parser.add_argument("--server", help="HOST:PORT; else OLMOE_SERVER, else 127.0.0.1:50051")
    parser.add_argument("--admin", help="HOST:PORT; else OLMOE_ADMIN, else 127.0.0.1:50052")
    arguments = parser.parse_args()
    documents = [text for text in arguments.text.read_text().split("\n\n") if text.strip()]
    if not documents:
        parser.error(f"{arguments.text} is empty")
    with olmoe.Client(arguments.server, retries=3) as client, \
            olmoe.Admin(arguments.admin) as admin:
        layers = client.model_info().num_layers
        print(f"{'policy':24} {'tokens':>8} {'loss':>8} {'experts':>8}")
        for policy in map(olmoe.Policy.parse, arguments.policy or POLICIES):
            patched = contextlib.nullcontext() if arguments.inline else admin.patched(policy)
            with patched:
                loss, tokens, experts = measure(client, layers, documents,
                                                policy if arguments.inline else None)
            print(f"{policy!s:24} {tokens:8} {loss:8.4f} {experts:8.2f}")


if __name__ == "__main__":
    main()
