"""Recordings: olmoectl's files read, and written to the last byte."""

import json
import struct

import pytest

import olmoe
from olmoe import recordings
from olmoe.v1 import inference_pb2

PROMPT = "Once upon a time"
WHOLE = olmoe.TraceOptions(weights=True, logits=True)


def by_olmoectl(server, path, *arguments):
    done = server.ctl(*arguments, "--trace-out", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(name="generated")
def _generated(server, tmp_path):
    """olmoectl's recording of a greedy completion of PROMPT by eight tokens."""
    return by_olmoectl(server, tmp_path / "generated.safetensors", "generate", PROMPT, "-n", "8",
                       "--temperature", "0", "--ignore-eos")


@pytest.fixture(name="scored")
def _scored(server, tmp_path):
    """olmoectl's recording of three scores, two of them of the same positions."""
    return by_olmoectl(server, tmp_path / "scored.safetensors", "score", "--context", "The little ",
                       "--continuation", "rabbit ran.", "--continuation", "fox sat down.",
                       "--rolling-text", "The old hen sat by the door of the barn.")


def rewritten(source, target):
    with olmoe.Recording(source) as recording:
        with olmoe.RecordingWriter(target, recording.metadata) as writer:
            for part in recording:
                writer.append(part)
    return target.read_bytes()


def test_a_recording_that_is_read_and_written_is_the_same_bytes(generated, scored, tmp_path):
    for path in (generated, scored):
        assert rewritten(path, tmp_path / "again") == path.read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_what_is_recorded_here_is_what_olmoectl_records(server, client, generated, tmp_path):
    tokens = list(client.tokenize(PROMPT, add_special_tokens=True).ids)
    mine = tmp_path / "mine.safetensors"
    with client.stream(tokens, 8, temperature=0, ignore_eos=True, trace=WHOLE) as stream:
        deltas = list(stream)
    metadata = olmoe.recording_metadata(client.model_info(), stream.started.stamp)
    with olmoe.RecordingWriter(mine, metadata) as writer:
        for delta in deltas:
            tokens += delta.token_ids
            if delta.trace is not None:
                writer.append(olmoe.RecordedPart.of(delta.trace, tokens))
    assert mine.read_bytes() == generated.read_bytes()
    routed = server.ctl("route", "--policy", "native", "--logits", mine)
    assert routed.returncode == 0, routed.stderr
    assert all(json.loads(line)["as_recorded"] for line in routed.stdout.splitlines())


def test_the_parts_are_the_traces_of_the_request(client, generated, scored):
    reply = client.generate(PROMPT, 8, temperature=0, ignore_eos=True, trace=WHOLE)
    with olmoe.Recording(generated) as recording:
        part, = recording
        assert recording.num_rows == reply.trace.num_positions
        assert recording.metadata["policy_digest"] == reply.stamp.policy_digest
    assert part.trace == reply.trace
    assert part.tokens[-7:] == reply.token_ids[:-1]
    with olmoe.Recording(scored) as recording:
        parts = list(recording)
        info = client.model_info()
        assert (recording.num_layers, recording.num_experts) == (info.num_layers, info.num_experts)
    assert [part.item for part in parts] == [0, 1, 2]
    scores = client.score_batch([("The little ", "rabbit ran."), ("The little ", "fox sat down.")],
                                trace=WHOLE).scores
    assert [score.trace for score in scores] == [part.trace for part in parts[:2]]


def test_a_recording_is_read_again_by_each_iteration(scored):
    with olmoe.Recording(scored) as recording:
        assert list(recording) == list(recording)


# ---- Files that are no recordings, and parts that do not fit.

METADATA = {"format": "olmoe-routing-trace-1", "num_layers": "2", "num_experts": "8",
            "default_top_k": "2"}


def part(first=0, item=0):
    trace = olmoe.Trace.join([inference_pb2.RoutingTrace(
        first_position=first, num_positions=2, num_layers=2, counts=bytes([1, 2, 0, 1]),
        experts=bytes([5, 1, 2, 7]), weights=struct.pack("<4f", 0.5, 0.25, 0.125, 1),
        logits=struct.pack("<32f", *range(32)))])
    return olmoe.RecordedPart.of(trace, range(100, 102 + first), item)


@pytest.fixture(name="small")
def _small(tmp_path):
    path = tmp_path / "small.safetensors"
    with olmoe.RecordingWriter(path, METADATA) as writer:
        for each in (part(), part(2), part(3), part(5, 1)):
            writer.append(each)
    return path


def test_rows_that_follow_each_other_are_one_part(small):
    with olmoe.Recording(small) as recording:
        places = [(each.item, each.trace.first_position, each.tokens) for each in recording]
    assert places == [(0, 0, (100, 101, 102, 103)), (0, 3, (103, 104)), (1, 5, (105, 106))]


def test_a_run_of_rows_of_any_length_is_one_part_until_it_is_longer_than_a_context(
        tmp_path, monkeypatch):
    path = tmp_path / "long"
    with olmoe.RecordingWriter(path, METADATA) as writer:
        for first in range(0, 1000, 2):
            writer.append(part(first % 100, first // 800))

    def lengths():
        with olmoe.Recording(path) as recording:
            return [len(each.tokens) for each in recording]

    assert lengths() == [100] * 10
    monkeypatch.setattr(recordings, "_MAX_PART_ROWS", 64)
    assert lengths() == [64, 36] * 10


def header(path):
    data = path.read_bytes()
    length, = struct.unpack_from("<Q", data)
    return json.loads(data[8:8 + length]), data[8 + length:]


def with_header(path, change):
    """The file with `change` of its header."""
    values, data = header(path)
    change(values)
    text = json.dumps(values).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(("change", "said"), [
    (lambda values: values["__metadata__"].pop("format"), "is not a routing trace"),
    (lambda values: values["__metadata__"].update(default_top_k="0"), "default_top_k"),
    (lambda values: values["__metadata__"].update(default_top_k=2), "__metadata__ must be str"),
    (lambda values: values.pop("weights"), "tensor weights must be F32 of 1 dimension"),
    (lambda values: values["logits"].update(shape=[16, 8]), "tensor logits must be F32 of 3 dim"),
    (lambda values: values["tokens"].update(dtype="F32"), "tensor tokens must be I32"),
    (lambda values: values["tokens"].update(shape=[7]), "tensor tokens: I32 [7] is not at bytes"),
    (lambda values: values["tokens"].update(shape="8"), "tensor tokens: shape and data_offsets"),
    (lambda values: values["tokens"].update(data_offsets=[0, 10 ** 30]), "tensor tokens"),
    (lambda values: values["logits"].update(shape=[4, 4, 8]), "the same number of rows"),
    (lambda values: values["logits"].update(shape=[8, 16, 1]), "the same number of rows"),
])
def test_a_file_that_is_no_recording_is_refused_by_name(small, change, said):
    with pytest.raises(ValueError) as error:
        olmoe.Recording(with_header(small, change))
    assert str(error.value).startswith(f"{small}: ") and said in str(error.value)


@pytest.mark.parametrize("data", [b"", b"abc", struct.pack("<Q", 2 ** 63) + b"{}",
                                  struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{]",
                                  struct.pack("<Q", 60000) + b"[" * 60000])
def test_a_file_of_something_else_is_refused_by_name(tmp_path, data):
    path = tmp_path / "other"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="other: "):
        olmoe.Recording(path)
    with pytest.raises(OSError):
        olmoe.Recording(tmp_path / "absent")


def test_arrays_that_contradict_each_other_are_refused(small):
    values, data = header(small)
    begin = small.stat().st_size - len(data) + values["counts"]["data_offsets"][0]
    damaged = bytearray(small.read_bytes())
    damaged[begin] += 1
    small.write_bytes(damaged)
    with olmoe.Recording(small) as recording, pytest.raises(ValueError, match="rows 0 to 3"):
        list(recording)


def test_a_part_that_does_not_fit_is_refused_and_nothing_of_it_is_written(tmp_path):
    path = tmp_path / "file"
    good = part()
    with olmoe.RecordingWriter(path, METADATA) as writer:
        writer.append(good)
        plain = olmoe.Trace.join([inference_pb2.RoutingTrace(
            num_positions=2, num_layers=2, counts=bytes([1, 2, 0, 1]))])
        with pytest.raises(ValueError, match="weights=True, logits=True"):
            writer.append(olmoe.RecordedPart(0, (1, 2), plain))
        with pytest.raises(ValueError, match="1 tokens at 2 positions"):
            writer.append(olmoe.RecordedPart(0, (1,), good.trace))
        with pytest.raises(ValueError, match="sequence must have 2 tokens"):
            olmoe.RecordedPart.of(good.trace, [1])
    with olmoe.Recording(path) as recording:
        assert list(recording) == [good]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(KeyError), olmoe.RecordingWriter(path, METADATA) as writer:
        writer.append(part())
        raise KeyError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError):
        olmoe.RecordingWriter(tmp_path / "absent" / "file", METADATA)
