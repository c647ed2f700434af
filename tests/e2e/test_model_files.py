"""Checkpoint folders as others' tools write them: the same weights give the same bits."""

import json
import struct

import grpc
import pytest

import api
import models
import safetensors_files
from server_process import ServerProcess, run_server
from tokenizer_files import added_token, tokenizer_json

PROMPT = [5, 77, 130, 9]


@pytest.fixture(scope="module", name="weights")
def _weights(golden_folder):
    tensors = {}
    for path in sorted(golden_folder.glob("model-*.safetensors")):
        tensors |= safetensors_files.read(path)
    return tensors


@pytest.fixture(name="folder")
def _folder(golden_folder, tmp_path):
    """Only the golden model's config.json, to change."""
    (tmp_path / "config.json").write_text((golden_folder / "config.json").read_text())
    return tmp_path


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def bits(server):
    """Tokens and log-probabilities of a greedy completion."""
    reply = server.generate(api.tokens_request(PROMPT, 12, logprobs=3))
    return [(token.token_id, token.logprob, [(top.token_id, top.logprob) for top in token.top])
            for token in reply.tokens]


def serve(folder, *flags):
    return ServerProcess(folder, "--dtype", "float32", *flags)


def fuse_experts(tensors, config):
    """As transformers 5 has them in memory (OlmoeExperts): of every expert gate, then up."""
    fused = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    experts, width, hidden = (config[key] for key in
                              ("num_experts", "intermediate_size", "hidden_size"))
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}.mlp.experts."
        def joined(*names, prefix=prefix):
            parts = [tensors[f"{prefix}{expert}.{name}.weight"]
                     for expert in range(experts) for name in names]
            return parts[0][0], b"".join(data for _, _, data in parts)
        dtype, data = joined("gate_proj", "up_proj")
        fused[f"{prefix}gate_up_proj"] = dtype, [experts, 2 * width, hidden], data
        dtype, data = joined("down_proj")
        fused[f"{prefix}down_proj"] = dtype, [experts, hidden, width], data
    return fused


def test_fused_experts_old_buffers_and_a_careless_index_change_no_bit(golden, weights, folder):
    tensors = fuse_experts(weights, json.loads((folder / "config.json").read_text()))
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = "F32", [2], struct.pack("<2f", 1, .5)
    (folder / "weights/a").mkdir(parents=True)
    shards = [dict(list(tensors.items())[part::2]) for part in range(2)]
    names = ["weights/a/model-1.safetensors", "weights/model-2.safetensors"]
    for name, shard in zip(names, shards):
        safetensors_files.write(folder / name, shard)
    # Of each shard only one tensor is in the map.
    (folder / "model.safetensors.index.json").write_text(json.dumps({
        "metadata": {"total_size": 1, "by": {"tool": {"version": [1, 2]}}}, "format": "pt",
        "weight_map": {next(iter(shard)): name for name, shard in zip(names, shards)}}))
    with serve(folder) as server:
        assert bits(server) == bits(golden)


def test_a_head_beside_a_tied_embedding_is_used_with_a_warning(golden, weights, folder):
    change_config(folder, tie_word_embeddings=True)
    safetensors_files.write(folder / "model.safetensors", weights)
    with serve(folder) as server:
        assert bits(server) == bits(golden)
        assert server.log().count("tie_word_embeddings is true, but lm_head.weight") == 1


def test_tied_weights_may_be_there_once_or_twice(weights, folder):
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    change_config(folder, tie_word_embeddings=True)
    found = []
    for leave_out in (None, head, embedding):
        tensors = weights | {head: weights[embedding]}
        tensors.pop(leave_out, None)
        safetensors_files.write(folder / "model.safetensors", tensors)
        with serve(folder) as server:
            found.append(bits(server))
            assert "tie_word_embeddings" not in server.log()
    assert found[0] == found[1] == found[2]


def test_a_tensor_that_is_there_twice_is_refused_by_name(weights, folder):
    for name in ("a", "b"):
        safetensors_files.write(folder / f"{name}.safetensors", weights)
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    done = run_server(folder)
    assert done.returncode == 1
    assert "is there a second time" in done.stderr


# Which tokens a greedy completion of PROMPT has.
@pytest.fixture(scope="module", name="greedy")
def _greedy(golden_server):
    return list(golden_server.greedy(PROMPT, 12).token_ids)


def completion(server, **fields):
    request = api.tokens_request(PROMPT, 12)
    for name, value in ({"ignore_eos": False} | fields).items():
        if name == "stop":
            request.stop.extend(value)
        else:
            setattr(request, name, value)
    return server.generate(request)


def first_of(greedy, *ids):
    return min(greedy.index(id_) for id_ in ids) + 1


def test_every_end_token_ends_a_completion(golden_folder, greedy, tmp_path):
    late, early = greedy[7], greedy[3]
    models.link_model(golden_folder, tmp_path, leave_out=["config.json"])
    (tmp_path / "config.json").write_text((golden_folder / "config.json").read_text())
    change_config(tmp_path, eos_token_id=[300_000, late, early])
    with serve(tmp_path) as server:
        reply = completion(server)
        assert reply.finish_reason == api.inference.FINISH_REASON_EOS
        assert list(reply.token_ids) == greedy[:first_of(greedy, late, early)]
        assert list(completion(server, ignore_eos=True).token_ids) == greedy
        assert list(server.model_info().eos_token_ids) == [300_000, late, early]
    # generation_config.json counts before it.
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [late, 0x7FFF]}))
    with serve(tmp_path) as server:
        assert list(completion(server).token_ids) == greedy[:first_of(greedy, late)]
        assert list(server.model_info().eos_token_ids) == [late, 0x7FFF]
    for nothing in ({}, {"eos_token_id": None}):
        (tmp_path / "generation_config.json").write_text(json.dumps(nothing))
        with serve(tmp_path) as server:
            assert list(completion(server).token_ids) == greedy[:first_of(greedy, late, early)]


def test_a_malformed_generation_config_is_named(golden_folder, tmp_path):
    models.link_model(golden_folder, tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "</s>"}')
    done = run_server(tmp_path)
    assert done.returncode == 1
    assert "generation_config.json: eos_token_id: must be an integer" in done.stderr


def test_a_special_token_is_a_stop_string(golden_folder, greedy, tmp_path):
    """Each id of the model has a token; the one that the completion reaches is special."""
    special = greedy[4]
    models.link_model(golden_folder, tmp_path)
    tokenizer = tokenizer_json()
    vocab = tokenizer["model"]["vocab"]
    for id_ in range(len(vocab), 384):
        vocab[f"<{id_}>"] = id_
    content = next(token for token, id_ in vocab.items() if id_ == special)
    tokenizer["added_tokens"].append(added_token(special, content, special=True))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with serve(tmp_path) as server:
        whole = completion(server, ignore_eos=True)
        assert list(whole.token_ids) == greedy
        stopped = completion(server, ignore_eos=True, stop=["never", content])
        assert stopped.finish_reason == api.inference.FINISH_REASON_STOP_STRING
        assert stopped.matched_stop == content
        assert list(stopped.token_ids) == greedy[:first_of(greedy, special)]
        assert whole.text.startswith(stopped.text)


COMMIT = "89ab0123456789abcdef0123456789abcdef0123"


def test_a_model_in_the_cache_of_the_hub_has_the_name_of_its_repository(golden_folder, tmp_path):
    repository = tmp_path / "hub/models--some-org--Tiny-OLMoE"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(golden_folder.iterdir()):
        if path.is_file():
            blob = repository / "blobs" / f"{number:040x}"
            blob.symlink_to(path.resolve())
            (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    with serve(snapshot) as server:
        assert server.model_info().model_id == "some-org/Tiny-OLMoE@89ab012"
        assert "serving some-org/Tiny-OLMoE@89ab012 (" in server.log()
    with serve(snapshot, "--served-model-name", "my/model") as server:
        assert server.model_info().model_id == "my/model"
        assert '="my/model"' in server.http("/metrics")[1]
    for name in ("", "a\nb", "x" * 257):
        done = run_server(snapshot, "--served-model-name", name)
        assert done.returncode == 2 and "--served-model-name" in done.stderr


MERGING = ("The little rab", "bit")


def score_item(context, continuation):
    return api.inference.ScoreItem(context_text=context, continuation_text=continuation)


def test_a_continuation_that_merges_into_its_context_is_told(demo):
    with pytest.raises(grpc.RpcError) as error:
        demo.score(score_item(*MERGING))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "merges into the end of the context" in error.value.details()
    assert api.details(error.value)["ErrorInfo"].reason == "CONTINUATION_MERGED"
    others = [score_item("The little", " rabbit"), score_item("Once", " upon a time")]
    first, merged, last = demo.score(others[0], score_item(*MERGING), others[1]).results
    assert "items[1].continuation: " in merged.error.message
    for result, item in zip((first, last), others):
        alone = demo.score(item).results[0]
        assert (result.logprob_sum, result.token_count) == (alone.logprob_sum, alone.token_count)
        assert not result.HasField("error")


def test_olmoectl_tells_what_could_not_be_scored(demo):
    command = ("score", "--context", MERGING[0], "--continuation", MERGING[1],
               "--continuation", " ran")
    done = demo.ctl(*command)
    assert done.returncode == 4
    assert "items[0].continuation: has no token of its own" in done.stderr
    assert len(done.stdout.splitlines()) == 3, done.stdout
    reply = demo.ctl("--json", *command)
    assert reply.returncode == 4
    assert json.loads(reply.stdout)["results"][0]["error"]["code"] == 3


def test_eval_leaves_out_questions_that_merge_and_counts_them(demo, tmp_path):
    questions = [
        {"context": "The little fox", "continuations": [" ran", " the"], "label": 0},
        {"context": MERGING[0], "continuations": [MERGING[1], " ran"], "label": 0},
        {"context": MERGING[0], "continuations": [MERGING[1], MERGING[1]], "label": 0},
    ]
    data = tmp_path / "q.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in questions))
    row, = demo.ctl_json("eval", "--data", data)["results"]
    assert (row["units"], row["skipped"]) == (1, 2)
    data.write_text(json.dumps(questions[0]) + "\n")
    alone, = demo.ctl_json("eval", "--data", data)["results"]
    assert (row["acc"], row["loss"]) == (alone["acc"], alone["loss"])
