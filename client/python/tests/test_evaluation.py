"""evaluate() is `olmoectl eval`: the same losses, to the last bit, and the same intervals."""

import json
import math
from concurrent import futures

import pytest

import models
import olmoe
from olmoe import _bootstrap, _passes, _units
from server_process import DEADLINE_S, ServerProcess, wait_until
from unread_stream import UnreadStream

HELD_OUT = models.demo_model() / "data/stories_heldout.txt"
POLICIES = ["native", "k8@top-k=8", "top-k=1", "top-p=0.5"]
NUMBERS = ("tokens", "units", "skipped", "loss", "perplexity", "token_accuracy", "acc", "acc_norm",
           "experts_per_token", "activations_per_token", "difference")


def by_olmoectl(server, *arguments):
    done = server.ctl("eval", "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


def same(rows, theirs):
    assert len(rows) == len(theirs)
    for row, their in zip(rows, theirs, strict=True):
        for name in ("data", "policy", "policy_digest", "kind", *NUMBERS):
            assert getattr(row, name) == their[name], name
        for name in ("difference_low", "difference_high"):
            mine, other = getattr(row, name), their[name]
            # Their mean may be rounded once where a machine fuses a product and a sum.
            assert mine == other or math.isclose(mine, other, rel_tol=1e-12), name


def policies():
    return [word for policy in POLICIES for word in ("--policy", policy)]


def test_windows_give_the_losses_and_intervals_of_olmoectl(server, client):
    theirs = by_olmoectl(server, "--data", HELD_OUT, "--window", 64, "--stride", 48, "--limit", 9,
                         *policies(), "--seed", 7)
    mine = olmoe.evaluate(client, HELD_OUT, POLICIES, window=64, stride=48, limit=9, seed=7)
    same(mine.rows, theirs)
    native, k8, one, _ = mine.rows
    assert k8.difference == 0 and native.difference is None
    assert 0 < one.difference_low < one.difference < one.difference_high
    assert one.experts_per_token == 1 and one.tokens_per_second > 0
    assert (mine.window, mine.stride, mine.limit, mine.seed) == (64, 48, 9, 7)
    assert mine.model == client.model_info()
    assert list(mine.to_frame().loss) == [row["loss"] for row in theirs]


def test_documents_and_questions_give_the_numbers_of_olmoectl(server, client, tmp_path):
    documents = tmp_path / "stories.txt"
    documents.write_text("\r\nA fox ran.\r\nIt sat.\r\n<|endoftext|>\r\n\n<|endoftext|>\n"
                         "The hen\r\nlooked up.\n\n<|endoftext|>\n")
    questions = tmp_path / "questions.txt"  # by its first line
    questions.write_text("\n".join(json.dumps(each) for each in (
        {"context": "Once upon a", "continuations": [" time", " zebra"], "label": 0},
        {"context": "The little rab", "continuations": ["bit", " ran"], "label": 0},
        {"context": "The old hen", "continuations": [" sat", " flew to the moon"], "label": 1})))
    arc = models.demo_model() / "data/arc_easy.jsonl"
    data = [documents, questions, arc]
    flags = [word for path in data for word in ("--data", path)]
    same(olmoe.evaluate(client, data, ["native", "top-k=1"], limit=5).rows,
         by_olmoectl(server, *flags, "--limit", 5, "--policy", "native", "--policy", "top-k=1"))
    same(olmoe.evaluate(client, documents, lines=True).rows,
         by_olmoectl(server, "--data", documents, "--lines"))


def test_a_corpus_is_what_its_file_is(client):
    corpus = olmoe.Corpus.read(HELD_OUT)
    assert "\n<|endoftext|>\n".join(corpus.documents) == HELD_OUT.read_text().strip("\n")
    by_file = olmoe.evaluate(client, HELD_OUT, limit=2).rows
    by_value = olmoe.evaluate(client, olmoe.Corpus(HELD_OUT.name, corpus.documents[:2])).rows
    assert by_file[0].loss == by_value[0].loss
    assert by_file[0].policy == "served"


def test_arms_come_after_the_policies(client, admin):
    admin.patch(olmoe.Experiment({
        "a": olmoe.Arm("native", 1, allow_explicit=True),
        "b": olmoe.Arm("top-k=1", 1, allow_explicit=True)}))
    rows = olmoe.evaluate(client, HELD_OUT, ["top-k=1"], arms=["a", "b"], window=32, limit=2).rows
    assert [row.policy for row in rows] == ["top-k-1", "arm a", "arm b"]
    assert rows[0].loss == rows[2].loss != rows[1].loss


def test_a_routing_that_changes_meanwhile_is_an_error(client, admin, monkeypatch):
    units = _units.Cutting.units

    def patch_first(*arguments):
        made = units(*arguments)
        admin.patch("top-k=1")
        return made

    monkeypatch.setattr(_units.Cutting, "units", patch_first)
    with pytest.raises(olmoe.Conflict, match="has changed during") as error:
        olmoe.evaluate(client, HELD_OUT, window=32, limit=2)
    assert error.value.__notes__ == ["stories_heldout.txt, unit 1 of 2, served"]


def refused(server):
    """Requests that the server has refused because it was full."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in server.http("/metrics")[1].splitlines()
               if line.startswith("olmoe_requests_total{") and 'code="RESOURCE_EXHAUSTED"' in line)


def test_a_full_server_is_asked_again(model_folder):
    with (ServerProcess(model_folder, "--max-batch-sequences", 1, "--max-queue", 1) as small,
          olmoe.Client(small.address(), timeout=DEADLINE_S) as client,
          futures.ThreadPoolExecutor() as threads):
        digest = client.score([5], [6]).stamp.policy_digest
        units = [_units.Unit((((5,), (6 + i,)),), 1) for i in range(4)]
        with UnreadStream(small):
            work = threads.submit(
                _passes.Pass(client, _passes.Subject("served"), digest, "a", units).run, 4)
            wait_until(lambda: refused(small) > 0, "a request is refused")
        assert [result.tokens for result in work.result(DEADLINE_S)] == [1] * 4


def test_what_the_server_refuses_is_told_first(client, one_slot_server):
    with pytest.raises(olmoe.InvalidRequest, match=r"top_k\.k"):
        olmoe.evaluate(client, HELD_OUT, ["native", "top-k=0"])
    with (olmoe.Client(one_slot_server.address(), timeout=DEADLINE_S) as strict,
          pytest.raises(olmoe.PermissionDenied)):
        olmoe.evaluate(strict, HELD_OUT, ["native"])
    with pytest.raises(ValueError, match="window must be at most the model's context"):
        olmoe.evaluate(client, HELD_OUT, window=10 ** 6)


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.txt", b"\xff", "not UTF-8 from byte 0 on"),
    ("a.txt", b"\n<|endoftext|>\n\r\n", "holds nothing"),
    ("a.jsonl", b"\n", "holds nothing"),
    ("a.jsonl", b'\n{"context": "a"}', "line 2: continuations is missing"),
    ("a.jsonl", b'{"context": "a", "continuations": ["b"], "label": 0}', "2..256 texts"),
    ("a.jsonl", b'{"context": "a", "continuations": ["b", ""], "label": 0}', "not empty"),
    ("a.jsonl", b'{"context": "a", "continuations": ["b", "c"], "label": 2}', "label must be 0..1"),
    ("a.jsonl", b'{"context": "a", "continuations": ["b", "c"], "label": 0.5}', "label must be an"),
    ("a.JSONL", b"[1]", "line 1"), ("a.ndjson", b"[" * 100000, "line 1"),
])
def test_a_file_that_cannot_be_evaluated_is_named(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_bytes(text)
    with pytest.raises(ValueError) as error:
        olmoe.Corpus.read(path)
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value)


def slow_interval(differences, weights, seed):
    """_bootstrap.interval, a number at a time."""
    mask, state, means = 2 ** 64 - 1, seed, []
    for _ in range(_bootstrap.RESAMPLES):
        total = weight = 0.0
        for _ in differences:
            z = state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            drawn = ((z ^ (z >> 31)) * len(differences)) >> 64
            total += differences[drawn]
            weight += weights[drawn]
        means.append(total / weight)
    means.sort()

    def quantile(share):
        place = share * (len(means) - 1)
        below = int(place)
        return means[below] + (place - below) * (means[below + 1] - means[below])

    return quantile((1 - 0.95) / 2), quantile((1 + 0.95) / 2)


@pytest.mark.parametrize("seed", [0, 1, 2 ** 64 - 1])
def test_the_interval_is_that_of_a_resample_at_a_time(seed):
    differences, weights = [0.1, -0.7, 3.3, 1e-9, 0.25], [1.0, 2.0, 3.0, 4.0, 5.0]
    assert _bootstrap.interval(differences, weights, seed) == slow_interval(
        differences, weights, seed)
    assert _bootstrap.interval([1.0], [1.0], seed) is None


def test_windows_predict_every_token_but_the_first_once():
    for tokens in range(12):
        for window in range(1, 8):
            for stride in range(1, window + 1):
                windows = _units.cut_windows(tokens, window, stride)
                predicted = [i for _, first, end in windows for i in range(first, end)]
                assert predicted == list(range(1, tokens))
                assert all(end - begin <= window + 1 for begin, _, end in windows)
    assert _units.cut_windows(10, 4, 2, 2) == [(0, 1, 5), (2, 5, 7)]
