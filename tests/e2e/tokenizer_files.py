"""A tokenizer.json small enough to change by hand, in the shape of OLMoE's."""

import copy

END, PADDING = "<|endoftext|>", "<|padding|>"
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": True}


def alphabet():
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(0x100 + number) for number, byte in enumerate(others)}


def added_token(id_, content, special=False, **fields):
    return {"id": id_, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": not special, "special": special, **fields}


def template(before=(), after=()):
    """A TemplateProcessing that adds special tokens around a text."""
    def pieces(tokens):
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]
    text = {"Sequence": {"id": "A", "type_id": 0}}
    pair = {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [*pieces(before), text, *pieces(after)],
            "pair": [text, pair],
            "special_tokens": {token: {"id": token, "ids": [id_], "tokens": [token]}
                               for id_, token in enumerate((END, PADDING))}}


def _tokenizer_json():
    characters = alphabet()
    space = characters[ord(" ")]
    merges = ["t h", "th e", f"{space} t", f"{space}t h", f"{space}th e", "i n", "in g",
              f"{space} {space}"]
    vocab = {END: 0, PADDING: 1, "  ": 2}
    for token in [*characters.values(), *(merge.replace(" ", "") for merge in merges)]:
        vocab[token] = len(vocab)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(0, END, special=True), added_token(1, PADDING, special=True),
                         added_token(2, "  ")],
        "normalizer": {"type": "NFC"}, "pre_tokenizer": BYTE_LEVEL,
        "post_processor": template(before=[END]), "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges}}


_TOKENIZER = _tokenizer_json()


def tokenizer_json():
    """One to change."""
    return copy.deepcopy(_TOKENIZER)
