#!/usr/bin/env python3
"""Measure the demonstration model: perplexity for several k, sampled text, agreement with transformers."""

import argparse
import math
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from train import (END_ID, END_OF_TEXT, HERE, WINDOW, build_experts, load_experts, load_exported, read_documents,
                   tokenize, total_loss)


def print_perplexities(model, tokenizer, path, top_ks, limit):
    """Table over k of the held-out text; see train.evaluation_windows."""
    text_bytes = path.stat().st_size
    tokens = tokenize(tokenizer, read_documents(path))
    part = tokens[: limit or None]
    print(f"{len(part)} of {len(tokens)} held-out tokens, windows of {WINDOW}, {text_bytes} bytes in the file")
    print("| k | predicted tokens | loss (nats) | perplexity | bits per byte |")
    print("| --- | --- | --- | --- | --- |")
    for k in top_ks:
        total, count = total_loss(model, part, k)
        bits = f"{total / math.log(2) / text_bytes:.4f}" if len(part) == len(tokens) else ""
        print(f"| {k} | {count} | {total / count:.4f} | {math.exp(total / count):.3f} | {bits} |", flush=True)


@torch.no_grad()
def print_overlapping(model, tokenizer, path, stride):
    """Perplexity with windows that start every stride tokens; a token is scored in the first window that has it.

    So all but the first WINDOW predictions have at least WINDOW - stride tokens of context.
    """
    tokens = tokenize(tokenizer, read_documents(path))
    total, scored, start = 0.0, 0, 0
    while scored < len(tokens) - 1:
        end = min(start + WINDOW, len(tokens) - 1)
        logits = model(tokens[start:end][None])[0][0, scored - start :]
        total += F.cross_entropy(logits, tokens[scored + 1 : end + 1], reduction="sum").item()
        scored, start = end, start + stride
    print(f"windows of {WINDOW} every {stride}: {scored} predicted tokens, loss {total / scored:.4f}, "
          f"perplexity {math.exp(total / scored):.3f}")


@torch.no_grad()
def sample(model, tokenizer, prompt, temperature, limit, seed):
    """Text that continues the prompt, which is preceded by an end-of-text token."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [END_ID] + tokenizer.encode(prompt, add_special_tokens=False).ids
    for _ in range(limit):
        logits = model(torch.tensor([tokens]))[0][0, -1]
        choice = torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1, generator=generator).item()
        if choice == END_ID:
            break
        tokens.append(choice)
    return tokenizer.decode(tokens[1:])


@torch.no_grad()
def compare_with_transformers(model, tokenizer, directory, text):
    """Print the largest difference of the fp32 logits from those of OlmoeForCausalLM."""
    from transformers import OlmoeForCausalLM

    reference = OlmoeForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokens = torch.tensor([[END_ID] + tokenizer.encode(text, add_special_tokens=False).ids])
    ours, theirs = model(tokens)[0], reference(tokens).logits
    print(f"transformers: {type(reference).__name__}, {tokens.shape[1]} tokens, logits up to {theirs.abs().max():.2f}, "
          f"largest difference {(ours - theirs).abs().max():.2e}, "
          f"same best token at {(ours.argmax(-1) == theirs.argmax(-1)).sum().item()} positions")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=HERE, type=Path, help="directory of the exported model")
    parser.add_argument("--corpus", default=HERE / "data", type=Path, help="directory of stories_heldout.txt")
    parser.add_argument("--k", default=[1, 2, 4, 8, 16, 32, 64], type=int, nargs="*", help="experts per token")
    parser.add_argument("--limit", default=0, type=int, help="use only so many of the held-out tokens")
    parser.add_argument("--stride", type=int, help="measure again with windows that start every so many tokens")
    parser.add_argument("--prompt", action="append", default=[], help="print a continuation; may be repeated")
    parser.add_argument("--temperature", default=0.7, type=float)
    parser.add_argument("--tokens", default=120, type=int, help="length of a continuation")
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--transformers", action="store_true", help="compare the logits with transformers")
    parser.add_argument("--threads", default=1, type=int, help="for all but the experts")
    return parser.parse_args()


def main():
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.compiler.set_stance("force_eager")
    model, tokenizer = load_exported(options.model)
    with tempfile.TemporaryDirectory() as directory:
        load_experts(build_experts(directory), model.shape)
    if options.k:
        print_perplexities(model, tokenizer, options.corpus / "stories_heldout.txt", options.k, options.limit)
    if options.stride:
        print_overlapping(model, tokenizer, options.corpus / "stories_heldout.txt", options.stride)
    for prompt in options.prompt:
        print("\n" + sample(model, tokenizer, prompt, options.temperature, options.tokens, options.seed))
    if options.transformers:
        text = (options.corpus / "stories_heldout.txt").read_text(encoding="utf-8")[:1500].replace(END_OF_TEXT, "")
        compare_with_transformers(model, tokenizer, options.model, text)


if __name__ == "__main__":
    main()
