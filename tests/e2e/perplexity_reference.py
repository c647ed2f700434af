#!/usr/bin/env python3
"""The perplexity of a model folder as Hugging Face transformers computes it in float32, over the
windows of `olmoectl eval --window W --stride S`. Not part of the test run: it needs torch,
transformers and tokenizers (deploy/demo/requirements.txt).

  perplexity_reference.py --model DIR --data TEXT [--window 256] [--stride 256] [--limit WINDOWS]

The stream is the end-of-text token, then the tokens of each document followed by one. Window i
reads the tokens from i * stride on, at positions 0 to window - 1, and predicts those that no
earlier window predicted.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import OlmoeForCausalLM

SEPARATOR = "<|endoftext|>"


def token_stream(folder, path, end):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stream = [end]
    text = "\n" + path.read_text(encoding="utf-8") + "\n"
    for document in text.split(f"\n{SEPARATOR}\n"):
        document = document.strip("\n")
        if document:
            stream += tokenizer.encode(document, add_special_tokens=False).ids + [end]
    return torch.tensor(stream)


@torch.no_grad()
def losses(model, stream, window, stride, limit):
    """(sum of nats, predicted tokens)."""
    total, predicted, start, done = 0.0, 0, 0, 0
    while predicted < len(stream) - 1 and (limit == 0 or done < limit):
        end = min(start + window, len(stream) - 1)
        logits = model(stream[None, start:end]).logits[0, predicted - start:].float()
        targets = stream[predicted + 1:end + 1]
        total += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
        predicted, start, done = end, start + stride, done + 1
    return total, predicted


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--stride", type=int, default=256)
    parser.add_argument("--limit", type=int, default=0, help="windows; 0 = all")
    parser.add_argument("--k", type=int, help="experts per token; default: the model's own")
    options = parser.parse_args()
    model = OlmoeForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    if options.k:
        for layer in model.model.layers:
            layer.mlp.gate.top_k = options.k
    stream = token_stream(options.model, options.data, model.config.eos_token_id)
    total, predicted = losses(model, stream, options.window, options.stride, options.limit)
    print(json.dumps({"tokens": predicted, "loss": total / predicted,
                      "perplexity": math.exp(total / predicted)}))


if __name__ == "__main__":
    main()
