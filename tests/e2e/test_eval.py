"""olmoectl eval, route and --trace-out against the real server, and against what plain Python
makes of the same calls."""

import contextlib
import json
import math
import signal
import struct
import subprocess

import pytest

import api
from server_process import DEADLINE_S, ServerProcess, running, wait_until
from unread_stream import UnreadStream

STORY = """Once upon a time there was a little fox who lived in a hole under an old oak tree.
Every morning he ran down to the brook to drink, and every morning the frog said to him:
"Good morning, little fox! Where are you going today?"
"""
SECOND = """The old hen sat by the door of the barn and looked at the rain.
"It will never stop," said the hen, "and my feet are wet already."
"""
WINDOW = 16
SERVER_FLAGS = ("--allow-inline-policy", "--dtype", "float32")


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, *SERVER_FLAGS) as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture(scope="module", name="text_file")
def _text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("eval") / "stories.txt"
    path.write_text(f"{STORY}<|endoftext|>\n{SECOND}<|endoftext|>\n")
    return path


def tokenize(server, text):
    request = api.inference.TokenizeRequest(text=text)
    return list(server.stub.Tokenize(request, timeout=DEADLINE_S).ids)


def score_ids(server, context, continuation):
    item = api.inference.ScoreItem()
    item.context_tokens.ids.extend(context)
    item.continuation_tokens.ids.extend(continuation)
    return server.score(item, per_token=True).results[0]


def evaluate(server, *arguments):
    done = server.ctl("eval", "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


def plain_window_scores(server, documents):
    """(nats, tokens, most likely ones) over windows of WINDOW, one call after the other."""
    end = server.model_info().eos_token_id
    stream = [end]
    for document in documents:
        stream += tokenize(server, document.strip("\n")) + [end]
    results = [score_ids(server, stream[start:start + 1], stream[start + 1:start + WINDOW + 1])
               for start in range(0, len(stream) - 1, WINDOW)]
    ranks = [token.rank for result in results for token in result.tokens]
    assert len(ranks) == len(stream) - 1
    return -sum(result.logprob_sum for result in results), len(ranks), ranks.count(1)


def test_perplexity_of_the_models_own_routing_is_that_of_plain_score_calls(server, text_file):
    nats, tokens, greedy = plain_window_scores(server, [STORY, SECOND])
    native, default_k, one = evaluate(
        server, "--data", text_file, "--window", WINDOW, "--policy", "native",
        f"top-k={server.model_info().default_top_k}", "top-k=1")
    assert native["tokens"] == tokens
    assert math.isclose(native["loss"], nats / tokens, rel_tol=1e-5)
    assert math.isclose(native["perplexity"], math.exp(nats / tokens), rel_tol=1e-5)
    assert native["token_accuracy"] == greedy / tokens
    assert native["experts_per_token"] == server.model_info().default_top_k
    # The same routing by another name.
    assert default_k["policy_digest"] == native["policy_digest"]
    assert default_k["difference"] == 0 == default_k["difference_low"]
    # Another one.
    assert one["experts_per_token"] == 1
    assert one["activations_per_token"] == server.model_info().num_layers
    assert one["difference_low"] <= one["difference"] <= one["difference_high"]
    assert math.isclose(one["difference"], one["loss"] - native["loss"], rel_tol=1e-9)


def test_documents_are_scored_as_rolling_scores_them(server, text_file):
    items = [api.inference.ScoreItem(continuation_text=text.strip("\n"), rolling=True)
             for text in (STORY, SECOND)]
    results = server.score(*items).results
    row, = evaluate(server, "--data", text_file)
    assert row["policy"] == "served" and row["units"] == 2
    assert row["tokens"] == sum(result.token_count for result in results)
    nats = -sum(result.logprob_sum for result in results)
    assert math.isclose(row["loss"] * row["tokens"], nats, rel_tol=1e-5)


def test_overlapping_windows_give_more_context_and_predict_the_same_tokens(server, text_file):
    apart, = evaluate(server, "--data", text_file, "--window", WINDOW)
    overlapping, = evaluate(server, "--data", text_file, "--window", WINDOW, "--stride", 4)
    assert overlapping["tokens"] == apart["tokens"]
    assert overlapping["loss"] < apart["loss"]


def test_choices_are_those_of_plain_score_calls(server):
    path = api.SOURCE_DIR / "deploy/demo/data/arc_easy.jsonl"
    questions = [json.loads(line) for line in path.read_text().splitlines()[:4]]
    correct = correct_norm = 0
    for question in questions:
        results = server.score(*[
            api.inference.ScoreItem(context_text=question["context"], continuation_text=text)
            for text in question["continuations"]]).results
        sums = [result.logprob_sum for result in results]
        norms = [total / len(text.removeprefix(" ").encode())
                 for total, text in zip(sums, question["continuations"])]
        correct += sums.index(max(sums)) == question["label"]
        correct_norm += norms.index(max(norms)) == question["label"]
    row, = evaluate(server, "--data", path, "--limit", len(questions))
    assert row["kind"] == "multiple_choice"
    assert row["acc"] == correct / len(questions)
    assert row["acc_norm"] == correct_norm / len(questions)


def interrupt_when(server, condition, *arguments):
    """What olmoectl printed that got Ctrl-C when the condition was true. It has one request at a
    time, and the server one slot, which the requests get one by one: it is not over before."""
    with (running(server.ctl_command(*arguments), stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE, text=True) as client,
          contextlib.ExitStack() as streams):
        in_slot = streams.enter_context(UnreadStream(server))
        wait_until(lambda: server.status().queued_requests == 1, "a request waits")
        while not condition():
            next_in_line = streams.enter_context(contextlib.closing(UnreadStream(server)))
            assert next_in_line.started
            in_slot.close()
            in_slot = next_in_line.await_running()
            wait_until(lambda: server.status().queued_requests == 1, "the next request waits")
        client.send_signal(signal.SIGINT)
        printed = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 130, printed
    return printed


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_numbers(
        server, demo_folder, tmp_path):
    text = tmp_path / "long.txt"
    text.write_text("".join(f"{STORY}{i}\n<|endoftext|>\n{SECOND}{i}\n<|endoftext|>\n"
                            for i in range(40)))
    journal = tmp_path / "journal.jsonl"
    flags = ("--data", text, "--window", WINDOW, "--policy", "native", "top-k=2")
    with ServerProcess(demo_folder, *SERVER_FLAGS, "--max-batch-sequences", 1) as one_slot:
        out, errors = interrupt_when(
            one_slot, lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2,
            "eval", *flags, "--in-flight", 1, "--resume", journal)
    assert out == "" and "goes on from there" in errors
    done_before = journal.read_bytes()
    resumed = evaluate(server, *flags, "--resume", journal)
    assert journal.read_bytes().startswith(done_before)
    whole = evaluate(server, *flags)
    for row, expected in zip(resumed, whole, strict=True):
        assert row["tokens_per_second"] > 0
        for name in ("tokens", "loss", "perplexity", "token_accuracy", "experts_per_token"):
            assert math.isclose(row[name], expected[name], rel_tol=1e-4), name
    # Everything is in the journal now: the same bytes, without a computation.
    again = [server.ctl("eval", *flags, "--resume", journal, "--format", "csv").stdout
             for _ in range(2)]
    assert again[0] == again[1] != ""


def test_without_inline_policies_there_is_a_hint(demo, text_file):
    done = demo.ctl("eval", "--data", text_file, "--policy", "top-k=1")
    assert done.returncode == 5
    assert "--allow-inline-policy" in done.stderr
    assert demo.ctl("eval", "--data", text_file).returncode == 0


def test_a_bad_policy_is_refused_before_anything_is_computed(server, text_file):
    done = server.ctl("eval", "--data", text_file, "--policy", "top-k=0", "bh=0.1,calibration=no")
    assert done.returncode == 4
    assert "top_k.k" in done.stderr and "calibrations/no" in done.stderr


def read_safetensors(path):
    """(metadata, name -> (shape, values)): the format in its own words."""
    data = path.read_bytes()
    length, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__")
    codes = {"U8": "B", "I32": "i", "I64": "q", "F32": "f"}
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = struct.unpack(
            f"<{math.prod(entry['shape'])}{codes[entry['dtype']]}", data[begin:end])
        tensors[name] = (entry["shape"], values)
    return metadata, tensors


def check_recording(server, path, policy, tokens, expected_policy_id):
    """The file holds these tokens, and `route` on its logits gives its experts and weights."""
    info = server.model_info()
    metadata, tensors = read_safetensors(path)
    assert metadata["weights_digest"] == info.weights_digest
    assert metadata["policy_id"] == expected_policy_id
    assert list(tensors["tokens"][1]) == tokens
    rows = len(tokens)
    assert tensors["logits"][0] == [rows, info.num_layers, info.num_experts]
    assert tensors["counts"][0] == [rows, info.num_layers]
    offsets = tensors["offsets"][1]
    assert len(offsets) == rows * info.num_layers + 1

    routed = server.ctl("route", "--policy", policy, "--logits", path)
    assert routed.returncode == 0, routed.stderr
    lines = [json.loads(line) for line in routed.stdout.splitlines()]
    assert len(lines) == rows * info.num_layers
    for slot, line in enumerate(lines):
        part = slice(offsets[slot], offsets[slot + 1])
        assert line["as_recorded"]
        assert line["order_prefix"] == list(tensors["experts"][1][part])
        assert line["weights"] == list(tensors["weights"][1][part])
    return tensors


RECORDED_RULES = {
    "native": None,
    "top-k=3,weights=sum-to-one": api.routing.Rule(
        top_k=api.routing.TopK(k=3), weight_mode=api.routing.WEIGHT_MODE_SUM_TO_ONE),
    "top-p=0.5,max=12": api.routing.Rule(top_p=api.routing.TopP(p=0.5, max_k=12)),
    "bh=0.5,p-value=one-minus-prob,min=2": api.routing.Rule(
        bh=api.routing.BenjaminiHochberg(alpha=0.5, min_k=2,
                                         p_value=api.routing.P_VALUE_KIND_ONE_MINUS_PROB)),
}


@pytest.mark.parametrize("spec", RECORDED_RULES)
def test_route_on_a_recorded_generation_gives_what_ran(server, tmp_path, spec):
    prompt = "Once upon a time"
    arguments = ("generate", prompt, "-n", 6, "--temperature", 0, "--ignore-eos")
    stream, unary = tmp_path / "stream.safetensors", tmp_path / "unary.safetensors"
    with server.patched(api.routing.RoutingPolicy(policy_id="recorded",
                                                  apply=RECORDED_RULES[spec])):
        done = server.ctl(*arguments, "--trace-out", stream)
        assert done.returncode == 0, done.stderr
        assert done.stdout == server.ctl(*arguments).stdout
        reply = server.ctl_json(*arguments, "--trace-out", unary)
    assert reply.get("trace") is None
    request = api.inference.TokenizeRequest(text=prompt, add_special_tokens=True)
    tokens = list(server.stub.Tokenize(request, timeout=DEADLINE_S).ids) + reply["token_ids"][:-1]
    for path in (stream, unary):
        tensors = check_recording(server, path, spec, tokens, "recorded")
        assert list(tensors["positions"][1]) == list(range(len(tokens)))


def test_scores_are_recorded_with_the_tokens_of_their_contexts(server, tmp_path):
    path = tmp_path / "trace.safetensors"
    context, continuation = "The little rabbit ran ", "as fast as he could."
    done = server.ctl("score", "--context", context, "--continuation", continuation,
                      "--rolling-text", STORY.rstrip("\n"), "--trace-out", path)
    assert done.returncode == 0, done.stderr
    assert "RANK" not in done.stdout
    stripped = tokenize(server, context.rstrip())
    pair = stripped + tokenize(server, context + continuation)[len(stripped):]
    rolling = [server.model_info().eos_token_id] + tokenize(server, STORY.rstrip("\n"))
    tensors = read_safetensors(path)[1]
    items = tensors["items"][1]
    tokens = tensors["tokens"][1]
    assert [t for t, item in zip(tokens, items) if item == 0] == pair[:-1]
    assert [t for t, item in zip(tokens, items) if item == 1] == rolling[:-1]
    check_recording(server, path, "native", list(tokens), "native")


def test_a_trace_that_cannot_be_written_is_an_error(server, tmp_path):
    done = server.ctl("generate", "Once", "-n", 2, "--trace-out", tmp_path / "no" / "x.safetensors")
    assert done.returncode == 2
    assert "x.safetensors: cannot be written" in done.stderr


def test_questions_are_questions_whatever_their_file_is_called(server, tmp_path):
    question = json.dumps({"context": "Once upon a", "continuations": [" time", " zebra"],
                           "label": 0})
    for name in ("q.jsonl", "q.JSONL", "q.ndjson", "q.txt"):
        (tmp_path / name).write_text(question + "\n")
        row, = evaluate(server, "--data", tmp_path / name)
        assert row["kind"] == "multiple_choice", name
    (tmp_path / "plain.txt").write_text('{"context": "Once"}\n')
    row, = evaluate(server, "--data", tmp_path / "plain.txt")
    assert row["kind"] == "text"


def test_route_of_nothing_is_a_failure(server, tmp_path):
    for text, code in (("", 1), ("\n", 1), ('[1, "NaN"]\n', 1), ("[1, 2]\n", 0)):
        done = server.ctl("route", "--policy", "top-k=1", "--logits", "-", input=text)
        assert done.returncode == code, done.stderr
        assert ("nothing was routed" in done.stderr) == (code == 1)
    (tmp_path / "none.jsonl").write_text("\n")
    assert server.ctl("route", "--cases", tmp_path / "none.jsonl").returncode == 1


def test_generate_and_score_take_a_policy_as_eval_does(server):
    reply = server.ctl_json("generate", "Once", "-n", 2, "--policy", "thin@top-k=2")
    assert reply["routing"]["policy_id"] == "thin"
    assert reply["routing"]["reason"] == "ASSIGNMENT_REASON_INLINE_POLICY"
    reply = server.ctl_json("score", "--continuation", "Once", "--policy", "thin@top-k=2")
    assert reply["routing"]["policy_id"] == "thin"
    done = server.ctl("generate", "Once", "--top-k", "4")
    assert done.returncode == 2
    assert "--sample-top-k 4" in done.stderr and "--policy top-k=4" in done.stderr
    assert server.ctl("generate", "Once", "-n", 1, "--sample-top-k", "4").returncode == 0


def test_a_policy_that_the_server_does_not_take_is_refused_with_what_helps(demo):
    for command in (("generate", "Once"), ("score", "--continuation", "Once")):
        done = demo.ctl(*command, "--policy", "top-k=2")
        assert done.returncode == 5
        assert "--allow-inline-policy" in done.stderr
