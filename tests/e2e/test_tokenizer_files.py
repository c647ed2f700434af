"""tokenizer.json and tokenizer_config.json as others' tools write them: served with the ids that
Hugging Face tokenizers and transformers give, or refused by name."""

import json
import random

import pytest
import tokenizers
import transformers

import api
import models
from server_process import DEADLINE_S, ServerProcess, run_server
from tokenizer_files import (BYTE_LEVEL, END, PADDING, added_token, alphabet, template,
                             tokenizer_json)

TEXTS = [
    "", " ", "the thing", " the  thing   in\tthe\n\nend  ", "it's 12 naïve cafés",
    f"a{END}b", f"the {END}  {END} the", f"  {END}\n{PADDING}  ", "  <x>  the <x>the<x>  <y>  ",
    "word<x>word _<x> .<x>. ́<x>é<y>中<x> <x>", "<x><x>   <y>   <y><x>", "e\u0301 \u00e9 <é> <e\u0301>",
    "\u3000<x>\u2003<y>\u00a0\u200b<x>", "\U0001F600<x>\U0001F600 <y>\U0001F600", "tthhee ing",
]


def model_folder(folder, tokenizer, config=None):
    models.link_model(models.golden_model(), folder, leave_out=["golden.safetensors"])
    (folder / "tokenizer.json").write_text(
        tokenizer if isinstance(tokenizer, str) else json.dumps(tokenizer))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def tokenize(server, text, add_special_tokens):
    return server.stub.Tokenize(api.inference.TokenizeRequest(
        text=text, add_special_tokens=add_special_tokens), timeout=DEADLINE_S)


def assert_like_the_reference(server, reference, texts):
    for text in texts:
        for add_special_tokens in (False, True):
            reply = tokenize(server, text, add_special_tokens)
            expected = reference.encode(text, add_special_tokens=add_special_tokens)
            assert list(reply.ids) == expected.ids, repr(text)
            assert list(zip(reply.start_offsets, reply.end_offsets)) == expected.offsets, repr(text)
            decoded = server.stub.Detokenize(
                api.inference.DetokenizeRequest(ids=reply.ids, skip_special_tokens=True),
                timeout=DEADLINE_S).text
            assert decoded == reference.decode(expected.ids, skip_special_tokens=True), repr(text)


def merges_as_pairs(json_):
    json_["model"]["merges"] = [merge.split(" ") for merge in json_["model"]["merges"]]


def old_model(json_):
    """As files were before there were types and most of the options."""
    for key in ("type", "fuse_unk", "byte_fallback", "ignore_merges"):
        del json_["model"][key]
    json_["model"]["merges"].insert(0, "#version: 0.2")


def unused_stand_ins(json_):
    json_["model"].update(unk_token=END, fuse_unk=True, byte_fallback=True)


def unknown_token_that_is_none(json_):
    json_["model"].update(unk_token="<unk>", dropout=0)


def ignore_merges(json_):
    """The words are in the vocabulary, and no merges make them."""
    json_["model"]["ignore_merges"] = True
    for token in ("word", f"{alphabet()[32]}thing", "é"):
        json_["model"]["vocab"].setdefault(token, len(json_["model"]["vocab"]))


def sequences(json_):
    json_["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Sequence", "normalizers": []}, {"type": "NFC"}]}
    json_["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [BYTE_LEVEL]}
    json_["post_processor"] = {"type": "Sequence",
                               "processors": [BYTE_LEVEL, template(after=[END])]}
    json_["decoder"] = {"type": "Sequence", "decoders": [BYTE_LEVEL]}


def no_normalizer_nor_processor(json_):
    json_.update(normalizer=None, post_processor=None)
    json_["decoder"] = {"type": "Sequence", "decoders": [BYTE_LEVEL, {"type": "Fuse"}]}


def unknown_fields(json_):
    json_["model"]["cache_capacity"] = 10000
    json_["model"]["new"] = {"a": [1]}
    json_["normalizer"]["note"] = "x"
    json_["pre_tokenizer"] = BYTE_LEVEL | {"note": None}
    json_["decoder"] = BYTE_LEVEL | {"note": 1}
    json_["post_processor"]["note"] = True
    json_["added_tokens"][0]["__type"] = "AddedToken"


def stripping_tokens(json_):
    json_["added_tokens"] += [added_token(900, "<x>", special=True, lstrip=True),
                              added_token(901, "<y>", rstrip=True)]
    json_["added_tokens"][0].update(lstrip=True, rstrip=True)
    json_["post_processor"] = BYTE_LEVEL


def single_words(json_):
    json_["added_tokens"] += [added_token(900, "<x>", single_word=True),
                              added_token(901, "<y>", special=True, single_word=True, rstrip=True),
                              added_token(902, "<é>", normalized=False),
                              added_token(903, "<e\u0301>x")]


def overlapping_tokens(json_):
    """<y> takes along white space that the token of two spaces is made of."""
    json_["added_tokens"] += [added_token(900, "<y>", rstrip=True), added_token(901, "<x>")]


def tokens_twice(json_):
    json_["added_tokens"] += [added_token(77, "<x>", special=True), added_token(2, "<y>"),
                              added_token(5, "<x>", lstrip=True), added_token(6, ""),
                              added_token(7, "the", special=True, normalized=True)]


SERVED = [merges_as_pairs, old_model, unused_stand_ins, unknown_token_that_is_none, ignore_merges,
          sequences, no_normalizer_nor_processor, unknown_fields, stripping_tokens, single_words,
          overlapping_tokens, tokens_twice]


@pytest.mark.parametrize("change", SERVED)
def test_a_variant_gives_the_ids_of_the_reference(tmp_path, change):
    changed = tokenizer_json()
    change(changed)
    reference = tokenizers.Tokenizer.from_str(json.dumps(changed))
    with ServerProcess(model_folder(tmp_path, changed)) as server:
        assert_like_the_reference(server, reference, TEXTS)


@pytest.mark.parametrize("seed", range(3))
def test_random_added_tokens_give_the_ids_of_the_reference(tmp_path, seed):
    rng = random.Random(seed)
    pieces = ["<x>", "<y>", " <x>", "x", "é", "e\u0301", "the", " ", "  ", "\n", "\u3000", ".", "_",
              "中", "1", "\u0301", "t", "<"]
    changed = tokenizer_json()
    contents = rng.sample(["<x>", "<y>", " <x>", "the", "<x><y>", "é", "x ", "   ", "中1", "_"], 6)
    for content in contents:
        flags = {name: rng.random() < 0.4
                 for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
        if content.isspace():
            flags["lstrip"] = False  # the reference panics where such a token overlaps another
        changed["added_tokens"].append(added_token(0, content) | flags)
    changed["post_processor"] = rng.choice([None, BYTE_LEVEL,
                                            BYTE_LEVEL | {"add_prefix_space": True},
                                            template(before=[END], after=[PADDING])])
    reference = tokenizers.Tokenizer.from_str(json.dumps(changed))
    texts = ["".join(rng.choices(pieces, k=rng.randrange(1, 16))) for _ in range(300)]
    with ServerProcess(model_folder(tmp_path, changed)) as server:
        assert_like_the_reference(server, reference, texts)


def test_truncation_and_padding_are_ignored_with_one_line(tmp_path):
    reference = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json()))
    used = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json()))
    used.enable_truncation(max_length=2)
    used.enable_padding(pad_id=1, pad_token=PADDING, length=32)
    with ServerProcess(model_folder(tmp_path, used.to_str())) as server:
        assert_like_the_reference(server, reference, TEXTS)
        assert server.log().count("ignored: truncation, padding") == 1


def without_a_byte(json_):
    json_["model"]["unk_token"] = END
    del json_["model"]["vocab"]["q"]


REFUSED = {
    "model.dropout: must be 0 or null, is 0.1": lambda j: j["model"].update(dropout=0.1),
    "model.unk_token: ": without_a_byte,
    "model.end_of_word_suffix":
        lambda j: j["model"].update(end_of_word_suffix="</w>"),
    "pre_tokenizer.add_prefix_space":
        lambda j: j.update(pre_tokenizer=BYTE_LEVEL | {"add_prefix_space": True}),
    "pre_tokenizer.pretokenizers[0].type: \"Digits\"": lambda j: j.update(pre_tokenizer={
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}),
    'normalizer.type: "Lowercase"': lambda j: j.update(normalizer={"type": "Lowercase"}),
    'post_processor.type: "RobertaProcessing"': lambda j: j.update(post_processor={
        "type": "RobertaProcessing", "sep": [END, 0], "cls": [END, 0], "trim_offsets": True,
        "add_prefix_space": False}),
    "decoder.decoders[1].type": lambda j: j.update(decoder={"type": "Sequence", "decoders": [
        BYTE_LEVEL, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_changes_the_ids_is_refused_by_name(tmp_path, message):
    changed = tokenizer_json()
    REFUSED[message](changed)
    tokenizers.Tokenizer.from_str(json.dumps(changed))  # the reference takes it
    done = run_server(model_folder(tmp_path, changed))
    assert done.returncode == 1
    assert f"tokenizer.json: {message}" in done.stderr


CONFIGS = {
    "flags off": {"add_bos_token": False, "add_eos_token": False},
    "flags on": {"add_bos_token": True, "add_eos_token": True},
    "no flags": {},
    "GPTNeoXTokenizer": {"tokenizer_class": "GPTNeoXTokenizer", "add_eos_token": False},
    "GPTNeoXTokenizerFast": {"tokenizer_class": "GPTNeoXTokenizerFast", "add_bos_token": True},
    "PreTrainedTokenizerFast": {"tokenizer_class": "PreTrainedTokenizerFast",
                                "add_eos_token": False},
    "TokenizersBackend": {"tokenizer_class": "TokenizersBackend", "add_bos_token": True},
}
TEMPLATES = {"end": template(after=[END]), "both": template(before=[END], after=[END]),
             "none": BYTE_LEVEL}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("processor", TEMPLATES)
def test_special_tokens_are_added_as_by_autotokenizer(tmp_path, config, processor):
    folder = model_folder(
        tmp_path, tokenizer_json() | {"post_processor": TEMPLATES[processor]},
        {"bos_token": END, "eos_token": END, "pad_token": PADDING} | CONFIGS[config])
    reference = transformers.AutoTokenizer.from_pretrained(str(folder))
    with ServerProcess(folder) as server:
        for text in ("the thing", ""):
            assert list(tokenize(server, text, True).ids) == reference(text)["input_ids"]
        given = server.log().count("no special tokens are added to texts")
        by_file = list(tokenize(server, "x", True).ids) == tokenizers.Tokenizer.from_file(
            str(folder / "tokenizer.json")).encode("x").ids
        asked = any(CONFIGS[config].get(f"add_{name}_token") for name in ("bos", "eos"))
        assert by_file or given == 1
        assert given == 0 or asked or not by_file
