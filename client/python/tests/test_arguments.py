"""Arguments that cannot be sent: an error that names them, before anything is sent."""

import asyncio
import dataclasses
import fractions
import inspect
import pathlib
import re
import struct
import tempfile

import pytest

import olmoe
from olmoe import _requests
from olmoe.v1 import inference_pb2

NOBODY = "127.0.0.1:1"  # nothing is sent there
BIG = 10 ** 400
TRACE = olmoe.Trace(0, 1, 1, inference_pb2.RoutingTrace(
    num_positions=1, num_layers=1, counts=b"\2", experts=b"\5\3", weights=bytes(8)))


class Index:
    """An integer of another library, as numpy's are."""

    def __init__(self, value):
        self._value = value

    def __index__(self):
        return self._value


@pytest.fixture(scope="module", name="client")
def _client():
    with olmoe.Client(NOBODY) as client:
        yield client


@pytest.fixture(scope="module", name="admin")
def _admin():
    with olmoe.Admin(NOBODY) as admin:
        yield admin


# Name of the argument in the message -> values of wrong types; "": the method, called without a
# server.
NOT_TEXT = (b"abc", 4, ["abc"], True)
NOT_TEXTS = ("abc", b"abc", 4, [b"a"], {"a": 1}, ["a", 4])
NOT_INT = ("4", 4.0, True, [4], b"4")
NOT_BOOL = (1, "yes", 0)
NOT_NUMBER = ("1", True, b"1", [1.0])
NOT_IDS = ("abc", b"abc", 5, [1.5], ["1"], [True], [b"1"], {1: 2}, bytearray(b"a"))
NOT_PROMPT = (b"Once", bytearray(b"Once"), memoryview(b"Once"), 5, 1.5, True, ["Once"], {"a": 1})

# (service, method, positional arguments that are right, argument, wrong values).
WRONG_TYPES = [
    ("client", "generate", {}, "prompt", NOT_PROMPT),
    ("client", "stream", {}, "prompt", NOT_PROMPT),
    *(("client", method, {"prompt": "a"}, name, values) for method in ("generate", "stream")
      for name, values in (
          ("max_new_tokens", (*NOT_INT, None)), ("temperature", NOT_NUMBER), ("top_p", NOT_NUMBER),
          ("top_k", NOT_INT), ("min_p", NOT_NUMBER), ("repetition_penalty", NOT_NUMBER),
          ("presence_penalty", NOT_NUMBER), ("frequency_penalty", NOT_NUMBER),
          ("logit_bias", (4, "1=2", [(1, 2)], {"a": 1}, {1: "a"})),
          ("include_stop", NOT_BOOL), ("skip_special_tokens", NOT_BOOL), ("n", NOT_INT),
          ("prompt_logprobs", NOT_INT), ("seed", NOT_INT), ("stop", (b"a", 4, [4], [b"a"], {"a": 1})),
          ("stop_token_ids", NOT_IDS), ("ignore_eos", NOT_BOOL), ("logprobs", NOT_INT),
          ("add_special_tokens", NOT_BOOL), ("unit", NOT_TEXT), ("arm", NOT_TEXT),
          ("policy", (4, b"native", ["native"], True)), ("trace", (1, "experts", None)),
          ("request_id", NOT_TEXT), ("timeout", NOT_NUMBER), ("routing_seed", NOT_INT))),
    ("client", "score", {"continuation": "b"}, "context", NOT_PROMPT),
    ("client", "score", {"context": "a"}, "continuation", (*NOT_PROMPT, None)),
    ("client", "score", {"context": "a", "continuation": "b"}, "per_token", NOT_BOOL),
    ("client", "score", {"context": "a", "continuation": "b"}, "top", NOT_INT),
    ("client", "score", {"context": "a", "continuation": "b"}, "routing_seed", NOT_INT),
    ("client", "score_rolling", {}, "text", (*NOT_PROMPT, None)),
    ("client", "score_batch", {}, "items",
     ("ab", ["ab"], [("a",)], [("a", "b", "c")], [4], [{"a": "b"}], [(b"a", "b")], 4, None,
      [("a", None)])),
    ("client", "tokenize", {}, "text", NOT_TEXT),
    ("client", "tokenize", {"text": "a"}, "add_special_tokens", NOT_BOOL),
    ("client", "detokenize", {}, "ids", NOT_IDS),
    ("client", "detokenize", {"ids": [1]}, "skip_special_tokens", NOT_BOOL),
    ("client", "model_info", {}, "timeout", NOT_NUMBER),
    ("client", "health", {}, "timeout", NOT_NUMBER),
    ("client", "wait_ready", {}, "timeout", NOT_NUMBER),
    ("admin", "patch", {}, "target", (4, b"native", None, ["native"], olmoe.TopK, True)),
    *(("admin", "patch", {"target": "native"}, name, values) for name, values in (
        ("expected_generation", NOT_INT), ("ttl", NOT_NUMBER), ("note", NOT_TEXT),
        ("probe", ("Once upon", 1, None, ["a"])), ("idempotency_key", NOT_TEXT),
        ("validate_only", NOT_BOOL), ("wait_for_drain", NOT_NUMBER), ("timeout", NOT_NUMBER))),
    ("admin", "patched", {}, "target", (4, None)),
    ("admin", "patched", {"target": "native"}, "ttl", (*NOT_NUMBER, None)),
    ("admin", "patched", {"target": "native"}, "note", NOT_TEXT),
    ("admin", "patched", {"target": "native"}, "probe", ("Once", 1)),
    ("admin", "unpatch", {}, "expected_generation", NOT_INT),
    ("admin", "unpatch", {}, "wait_for_drain", NOT_NUMBER),
    ("admin", "rollback", {}, "to_generation", NOT_INT),
    ("admin", "rollback", {}, "expected_generation", NOT_INT),
    ("admin", "rollback", {}, "ttl", NOT_NUMBER),
    ("admin", "renew", {"ttl": 60}, "generation", (*NOT_INT, None)),
    ("admin", "renew", {"generation": 1}, "ttl", (*NOT_NUMBER, None)),
    ("admin", "routing", {}, "timeout", NOT_NUMBER),
    ("admin", "history", {}, "page_size", (*NOT_INT, None)),
    ("admin", "history", {}, "timeout", NOT_NUMBER),
    ("admin", "watch_routing", {}, "timeout", NOT_NUMBER),
    ("admin", "explain", {}, "units", NOT_TEXTS),
    ("admin", "explain", {"units": ["a"]}, "plan", ("native", olmoe.TopK(4), {})),
    ("admin", "expert_stats", {}, "since", (4, b"x", None)),
    ("admin", "expert_stats", {}, "arms", NOT_TEXTS),
    ("admin", "expert_stats", {}, "current_plan", NOT_BOOL),
    ("admin", "expert_stats", {}, "last", NOT_NUMBER),
    ("admin", "expert_stats", {}, "layers", NOT_IDS),
    ("admin", "expert_stats", {}, "kinds", ("APPLIED", ["APPLIED"], [1], olmoe.Decision.APPLIED)),
    ("admin", "watch_expert_stats", {}, "interval", (*NOT_NUMBER, None)),
    ("admin", "watch_expert_stats", {}, "arms", NOT_TEXTS),
    ("admin", "build_calibration", {"texts": ["a"]}, "calibration_id", NOT_TEXT),
    ("admin", "build_calibration", {"calibration_id": "a"}, "texts", NOT_TEXTS),
    ("admin", "build_calibration", {"calibration_id": "a"}, "live_tokens", NOT_INT),
    ("admin", "build_calibration", {"calibration_id": "a", "live_tokens": 9}, "arms", NOT_TEXTS),
    ("admin", "build_calibration", {"calibration_id": "a", "texts": ["a"]}, "trim_top", NOT_INT),
    ("admin", "get_calibration", {}, "calibration_id", NOT_TEXT),
    ("admin", "put_calibration", {"layers": []}, "calibration_id", NOT_TEXT),
    ("admin", "put_calibration", {"calibration_id": "a"}, "layers", ("abc", [4], [{}], 4)),
    ("admin", "delete_calibration", {}, "calibration_id", NOT_TEXT),
    ("admin", "get_router", {}, "router_id", NOT_TEXT),
    ("admin", "put_router", {"layers": []}, "router_id", NOT_TEXT),
    ("admin", "put_router", {"router_id": "a"}, "layers", ("abc", [4], [{}], 4, [b"abc"])),
    ("admin", "delete_router", {}, "router_id", NOT_TEXT),
    ("admin", "drain", {}, "grace", (*NOT_NUMBER, None)),
]


def names(error, argument):
    """Whether the message is about the argument: `items[0] must be ...`."""
    return re.match(rf"{argument}(\[\d+\])?\b", str(error.value))


@pytest.mark.parametrize(("service", "method", "right", "argument", "values"), WRONG_TYPES,
                         ids=[f"{row[1]}-{row[3]}" for row in WRONG_TYPES])
def test_a_value_of_a_wrong_type_is_a_type_error_that_names_its_argument(
        client, admin, service, method, right, argument, values):
    call = getattr({"client": client, "admin": admin}[service], method)
    for value in values:
        with pytest.raises(TypeError) as error:
            call(**right, **{argument: value})
        assert names(error, argument), f"{method}({argument}={value!r}): {error.value}"


def test_every_argument_of_every_method_is_in_the_table_of_wrong_types():
    tested = {(service, method, argument) for service, method, _, argument, _ in WRONG_TYPES}
    for service, kind in (("client", olmoe.Client), ("admin", olmoe.Admin)):
        for method, function in inspect.getmembers(kind, inspect.isfunction):
            if method.startswith("_") or method == "close":
                continue
            for name, parameter in inspect.signature(function).parameters.items():
                if name in ("self", "timeout") or parameter.kind is parameter.VAR_KEYWORD:
                    continue
                shared = method == "watch_expert_stats" and name in ("since", "layers", "kinds")
                assert shared or (service, method, name) in tested, f"{method}: {name}"
    assert {row[3] for row in WRONG_TYPES if row[1] == "generate"} == {
        "prompt", "max_new_tokens", *olmoe.Sampling.__annotations__}


OUT_OF_RANGE = [
    ("client", "generate", {"prompt": "a"}, "seed", (-1, 2 ** 64, BIG)),
    ("client", "generate", {"prompt": "a"}, "routing_seed", (-1, 2 ** 64)),
    ("client", "generate", {"prompt": "a"}, "max_new_tokens", (-1, 2 ** 32)),
    ("client", "generate", {"prompt": "a"}, "top_k", (-1, 2 ** 32)),
    ("client", "generate", {"prompt": "a"}, "logprobs", (-1, 2 ** 32)),
    ("client", "generate", {"prompt": "a"}, "stop_token_ids", ([-1], [2 ** 32])),
    ("client", "generate", {"prompt": "a"}, "temperature", (BIG,)),
    ("client", "generate", {"prompt": "a"}, "timeout", (-1, float("nan"))),
    ("client", "generate", {"prompt": "a"}, "unit", ("\ud800",)),
    ("client", "generate", {}, "prompt", ([5, -1], [2 ** 32], "a\udc00")),
    ("client", "score", {"context": "a"}, "continuation", ([-1], "\ud800")),
    ("client", "detokenize", {}, "ids", ([-1], [2 ** 32])),
    ("client", "wait_ready", {}, "timeout", (-1, float("nan"))),
    ("admin", "patch", {"target": "native"}, "expected_generation", (-1, 2 ** 64)),
    ("admin", "patch", {"target": "native"}, "ttl", (-1, float("nan"), float("inf"), 1e300)),
    ("admin", "patch", {}, "target", ("top-q=4", "top-k=x")),
    ("admin", "patched", {"target": "native"}, "ttl", (-1, float("nan"))),
    ("admin", "rollback", {}, "to_generation", (-1, 2 ** 64)),
    ("admin", "renew", {"ttl": 60}, "generation", (-1, 2 ** 64)),
    ("admin", "history", {}, "page_size", (0, -1, 2 ** 32)),
    ("admin", "expert_stats", {}, "layers", ([-1], [2 ** 32])),
    ("admin", "expert_stats", {}, "last", (-1, float("nan"))),
    ("admin", "rollback", {}, "ttl", (-1, float("nan"))),
    ("admin", "watch_expert_stats", {}, "interval", (-1, float("nan"))),
    ("admin", "build_calibration", {"calibration_id": "a", "texts": ["a"]}, "trim_top", (-1,)),
    ("admin", "build_calibration", {"calibration_id": "a"}, "live_tokens", (-1, 2 ** 64)),
    ("admin", "drain", {}, "grace", (-1, float("inf"))),
]


@pytest.mark.parametrize(("service", "method", "right", "argument", "values"), OUT_OF_RANGE,
                         ids=[f"{row[1]}-{row[3]}" for row in OUT_OF_RANGE])
def test_what_cannot_be_sent_is_a_value_error_that_names_its_argument(
        client, admin, service, method, right, argument, values):
    call = getattr({"client": client, "admin": admin}[service], method)
    for value in values:
        with pytest.raises(ValueError) as error:
            call(**right, **{argument: value})
        assert names(error, argument), f"{method}({argument}={value!r}): {error.value}"


@pytest.mark.parametrize(("make", "said"), [
    (lambda: olmoe.TopK("4"), "TopK: k must be an integer, not '4'"),
    (lambda: olmoe.TopK(4.0), "TopK: k must be an integer, not 4.0"),
    (lambda: olmoe.TopK(True), "TopK: k must be an integer, not True"),
    (lambda: olmoe.TopK(4, weights="sum-to-one"), "TopK: weights must be one of Weights.MODEL_"),
    (lambda: olmoe.TopK(4, weights=3), "TopK: weights must be one of Weights.MODEL_DEFAULT"),
    (lambda: olmoe.TopP("0.5"), "TopP: p must be a number, not '0.5'"),
    (lambda: olmoe.TopP(0.5, max_k="4"), "TopP: max_k must be an integer, not '4'"),
    (lambda: olmoe.MinP(None), "MinP: ratio must be a number, not None"),
    (lambda: olmoe.BH(0.1, 4), "BH: calibration must be a str, not 4"),
    (lambda: olmoe.BH(0.1, b"mine"), "BH: calibration must be a str, not b'mine'"),
    (lambda: olmoe.BH(0.1, p_value="one-minus-prob"), "BH: p_value must be one of PValue.LAYER"),
    (lambda: olmoe.HC(temperature="1"), "HC: temperature must be a number, not '1'"),
    (lambda: olmoe.TopK(4).analyze("top-p=0.5"), "Policy: analyzed must be a rule such as TopK"),
    (lambda: olmoe.TopK(4).named(4), "Policy: policy_id must be a str, not 4"),
    (lambda: olmoe.TopK(4).on(4), "layers must be a sequence of integers, not 4"),
    (lambda: olmoe.TopK(4).on("03"), "layers must be a sequence of integers, not '03'"),
    (lambda: olmoe.TopK(4).on([0.5]), r"layers[0] must be an integer, not 0.5"),
    (lambda: olmoe.TopK(4).on([0], "top-k=1"), "LayerOverride: applied must be a rule"),
    (lambda: olmoe.Policy("top-k=4"), "Policy: applied must be a rule such as TopK(4), not"),
    (lambda: olmoe.Policy(overrides=[4]), "Policy: overrides[0] must be a LayerOverride, not 4"),
    (lambda: olmoe.Policy.parse(4), "text must be a str, not 4"),
    (lambda: olmoe.LayerOverride("03"), "LayerOverride: layers must be a sequence of integers"),
    (lambda: olmoe.Arm(4), "Arm: policy must be a policy, a rule or its text, not 4"),
    (lambda: olmoe.Arm("native", "50"), "Arm: weight must be an integer, not '50'"),
    (lambda: olmoe.Arm("native", 0.5), "Arm: weight must be an integer, not 0.5"),
    (lambda: olmoe.Arm("native", allow_explicit="no"), "Arm: allow_explicit must be True or Fal"),
    (lambda: olmoe.Experiment([olmoe.Arm("native")]), "Experiment: arms must be a mapping"),
    (lambda: olmoe.Experiment({"a": "native"}), "Experiment: arms['a'] must be an Arm, not"),
    (lambda: olmoe.Experiment({4: olmoe.Arm("native")}), "a name of Experiment: arms must be a s"),
    (lambda: olmoe.Experiment({}, salt=4), "Experiment: salt must be a str, not 4"),
    (lambda: olmoe.Probe(4), "Probe: text must be a str, not 4"),
    (lambda: olmoe.Probe(require_change="yes"), "Probe: require_change must be True or False"),
    (lambda: olmoe.TraceOptions(experts=1), "TraceOptions: experts must be True or False, not 1"),
    (lambda: olmoe.LayerCdf("0", 0, 1), "LayerCdf: layer must be an integer, not '0'"),
    (lambda: olmoe.LayerCdf(0, 0, 1, "01"), "LayerCdf: cdf must be a sequence of numbers, not"),
    (lambda: olmoe.RouterLayer("0", b""), "RouterLayer: layer must be an integer, not '0'"),
    (lambda: olmoe.RouterLayer(0, "ab"), "RouterLayer: weights must be bytes or an array of"),
    (lambda: olmoe.RouterLayer(0, [0.5]), "RouterLayer: weights must be bytes or an array of"),
    (lambda: olmoe.RouterLayer(0, b"", "f16"), "RouterLayer: dtype must be 'float32' or 'bflo"),
    (lambda: olmoe.Policy(router=4), "Policy: router must be a str, not 4"),
    (lambda: olmoe.TopK(4).routed_by(b"a"), "Policy: router must be a str, not b'a'"),
    (lambda: olmoe.Replay(4), "Replay: trace must be a Trace, not 4"),
    (lambda: olmoe.Replay(TRACE, "live"), "Replay: weights must be one of ReplayWeights.LIVE"),
    (lambda: olmoe.Replay(TRACE, otherwise=4), "Replay: otherwise must be a policy, a rule or its"),
    (lambda: olmoe.Client(4), "target must be a str, not 4"),
    (lambda: olmoe.Client(b"127.0.0.1:1"), "target must be a str, not b'127.0.0.1:1'"),
    (lambda: olmoe.Client(token=4), "token must be a str, not int"),
    (lambda: olmoe.Client(token_file=4), "token_file must be a path, not 4"),
    (lambda: olmoe.Client(ca=b"ca.pem"), "ca must be a path, not b'ca.pem'"),
    (lambda: olmoe.Client(tls="yes"), "tls must be True or False, not 'yes'"),
    (lambda: olmoe.Client(timeout="5"), "timeout must be a number, not '5'"),
    (lambda: olmoe.Client(retries="5"), "retries must be an integer, not '5'"),
    (lambda: olmoe.Client(retries=True), "retries must be an integer, not True"),
    (lambda: olmoe.Admin(retries=1.0), "retries must be an integer, not 1.0"),
])
def test_what_is_made_of_wrong_types_says_which_field(make, said):
    with pytest.raises(TypeError) as error:
        make()
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(("make", "said"), [
    (lambda: olmoe.TopK(-1), "TopK: k must be 0..4294967295, is -1"),
    (lambda: olmoe.TopK(2 ** 32), "TopK: k must be 0..4294967295, is 4294967296"),
    (lambda: olmoe.TopP(0.5, min_k=0), "TopP: min_k=0 is not above 0"),
    (lambda: olmoe.Arm("native", -1), "Arm: weight must be 0..4294967295, is -1"),
    (lambda: olmoe.Arm("top-q=1"), 'Arm: policy: "top-q" is not a rule'),
    (lambda: olmoe.Replay(TRACE, otherwise="top-q=1"), 'Replay: otherwise: "top-q" is not a rule'),
    (lambda: olmoe.Client(retries=-1), "retries must be 0..4294967295, is -1"),
    (lambda: olmoe.Client(timeout=-1), "timeout must be a number of seconds, 0 or more, is -1"),
    (lambda: olmoe.Client(timeout=float("nan")), "timeout must be a number of seconds"),
])
def test_what_is_made_of_values_that_cannot_be_sent_says_which_field(make, said):
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value).startswith(said)


# ---- What is no method of a client: (function, arguments that are right, argument, wrong values).

ROUTED = olmoe.Trace.join([inference_pb2.RoutingTrace(num_positions=1, num_layers=1,
                                                     counts=b"\1", experts=b"\0")])
ARRAYS = ROUTED.to_numpy()
STAMP = olmoe.Stamp(1, "default", "native", "", olmoe.Assignment.DEFAULT)
MODEL = olmoe.ModelInfo(**{field.name: 1 for field in dataclasses.fields(olmoe.ModelInfo)})
METADATA = {"format": "olmoe-routing-trace-1", "num_layers": "1", "num_experts": "1",
            "default_top_k": "1"}
STATS = olmoe.ExpertStats((), None, None, "")
CORPUS = olmoe.Corpus("a", ("a",))
ROW = olmoe.EvaluationRow(*["a"] * 4, *[1] * 14)
NOT_PATH = (4, True, None, b"a", ["a"])


def evaluate(**arguments):
    with olmoe.Client(NOBODY) as client:
        return olmoe.evaluate(**{"client": client, "data": CORPUS, **arguments})


def append(**arguments):
    with tempfile.TemporaryDirectory() as folder, \
            olmoe.RecordingWriter(pathlib.Path(folder) / "a", METADATA) as writer:
        writer.append(**arguments)


WRONG_TYPES_OF_FUNCTIONS = [
    (evaluate, {}, "client", ("127.0.0.1:1", None)),
    (evaluate, {}, "data", (4, None, b"a", [4], [b"a"], {"a": "b"})),
    (evaluate, {}, "policies", ("native", olmoe.TopK(4), 4, None, [4], {"a": "native"})),
    (evaluate, {}, "arms", NOT_TEXTS),
    (evaluate, {}, "window", (*NOT_INT, None)),
    (evaluate, {"window": 4}, "stride", NOT_INT),
    (evaluate, {}, "limit", (*NOT_INT, None)),
    (evaluate, {}, "lines", NOT_BOOL),
    (evaluate, {}, "in_flight", (*NOT_INT, None)),
    (evaluate, {}, "seed", (*NOT_INT, None)),
    (olmoe.Corpus.read, {}, "path", NOT_PATH),
    (olmoe.Corpus.read, {"path": "a"}, "lines", NOT_BOOL),
    (olmoe.Question.parse, {}, "line", NOT_TEXT),
    (olmoe.Recording, {}, "path", NOT_PATH),
    (olmoe.RecordingWriter, {"metadata": METADATA}, "path", NOT_PATH),
    (olmoe.RecordingWriter, {"path": "a"}, "metadata", ("a", 4, None, {**METADATA, "a": 4})),
    (append, {}, "part", (ROUTED, None)),
    (olmoe.recording_metadata, {"stamp": STAMP}, "model", (4, None, METADATA)),
    (olmoe.recording_metadata, {"model": MODEL}, "stamp", (4, None)),
    (olmoe.RecordedPart.of, {"sequence": [1]}, "trace", (4, None)),
    (olmoe.RecordedPart.of, {"trace": ROUTED}, "sequence", NOT_IDS),
    (olmoe.RecordedPart.of, {"trace": ROUTED, "sequence": [1]}, "item", NOT_INT),
    (ARRAYS.expert_tokens, {}, "num_experts", NOT_INT),
    (STATS.to_numpy, {}, "arm", NOT_TEXT),
    (STATS.to_numpy, {}, "kind", (1, "APPLIED", None)),
    (STATS.to_numpy, {}, "phase", (1, "SCORE")),
    (olmoe.plots.expert_load, {}, "counts", (4, "abc", None, {1: 2}, [1])),
    (olmoe.plots.expert_load, {"counts": [[1]]}, "path", (4, b"a")),
    (olmoe.plots.expert_load, {"counts": [[1]]}, "title", NOT_TEXT),
    (olmoe.plots.pareto, {}, "rows", (4, [4], None, "abc")),
    (olmoe.plots.pareto, {"rows": [ROW]}, "path", (4, b"a")),
    (olmoe.plots.pareto, {"rows": [ROW]}, "title", NOT_TEXT),
    (olmoe.plots.pareto_rows, {}, "rows", (4, [4], None)),
]
FUNCTIONS = (olmoe.Corpus.read, olmoe.Question.parse, olmoe.Recording, olmoe.RecordingWriter,
             olmoe.recording_metadata, olmoe.RecordedPart.of, ARRAYS.expert_tokens,
             STATS.to_numpy, olmoe.plots.expert_load, olmoe.plots.pareto, olmoe.plots.pareto_rows)


@pytest.mark.parametrize(("function", "right", "argument", "values"), WRONG_TYPES_OF_FUNCTIONS,
                         ids=[f"{row[0].__name__}-{row[2]}" for row in WRONG_TYPES_OF_FUNCTIONS])
def test_a_value_of_a_wrong_type_is_told_by_a_function_too(function, right, argument, values):
    for value in values:
        with pytest.raises(TypeError) as error:
            function(**right, **{argument: value})
        assert names(error, argument), f"{function}({argument}={value!r}): {error.value}"


def test_every_argument_of_every_function_is_in_the_table_of_wrong_types():
    tested = {(row[0], row[2]) for row in WRONG_TYPES_OF_FUNCTIONS}
    for function in FUNCTIONS:
        assert {(function, name) for name in inspect.signature(function).parameters} <= tested
    assert {name for function, name in tested if function is evaluate} == \
        set(inspect.signature(olmoe.evaluate).parameters)


@pytest.mark.parametrize(("function", "right", "argument", "values"), [
    (evaluate, {}, "window", (-1, 2 ** 32)),
    (evaluate, {"window": 4}, "stride", (0, -1, 5)),
    (evaluate, {}, "stride", (4,)),
    (evaluate, {}, "limit", (-1,)),
    (evaluate, {}, "in_flight", (0, 33)),
    (evaluate, {}, "seed", (-1, 2 ** 64)),
    (evaluate, {}, "policies", (["top-q=4"], ["native", "native"])),
    (olmoe.RecordingWriter, {"path": "a"}, "metadata", (
        {}, {**METADATA, "format": "a"}, {**METADATA, "num_layers": "0"},
        {**METADATA, "default_top_k": "129"}, {**METADATA, "num_experts": "-1"})),
    (olmoe.RecordedPart.of, {"trace": ROUTED}, "sequence", ([], [-1])),
    (olmoe.RecordedPart.of, {"trace": ROUTED, "sequence": [1]}, "item", (-1, 2 ** 32)),
    (ARRAYS.expert_tokens, {}, "num_experts", (0, 512, BIG)),
])
def test_a_value_out_of_range_is_told_by_a_function_too(function, right, argument, values):
    for value in values:
        with pytest.raises(ValueError) as error:
            function(**right, **{argument: value})
        assert names(error, argument), f"{function}({argument}={value!r}): {error.value}"


def test_asyncio_checks_the_same():
    async def check(call, right, argument, value):
        with pytest.raises((TypeError, ValueError)) as error:
            made = call(**right, **{argument: value})
            if inspect.isawaitable(made):
                await made
        assert names(error, argument), f"{call}({argument}={value!r}): {error.value}"

    async def calls():
        async with olmoe.AsyncClient(NOBODY) as client, olmoe.AsyncAdmin(NOBODY) as admin:
            for service, method, right, argument, values in WRONG_TYPES + OUT_OF_RANGE:
                call = getattr({"client": client, "admin": admin}[service], method)
                for value in values:
                    await check(call, right, argument, value)

    asyncio.run(calls())


@pytest.mark.parametrize(("kind", "asynchronous"), [(olmoe.Client, olmoe.AsyncClient),
                                                    (olmoe.Admin, olmoe.AsyncAdmin)])
def test_asyncio_has_every_method_with_the_same_arguments(kind, asynchronous):
    for name, function in inspect.getmembers(kind, inspect.isfunction):
        if name == "__init__" or not name.startswith("_"):
            assert inspect.signature(getattr(asynchronous, name)).parameters == \
                inspect.signature(function).parameters, name


def test_numbers_of_other_libraries_are_taken():
    request = _requests.generate((Index(5), Index(6)), Index(3), {
        "seed": Index(2 ** 64 - 1), "temperature": fractions.Fraction(1, 2), "top_p": 1,
        "stop_token_ids": iter([Index(7)]), "logprobs": Index(2)})
    assert list(request.tokens.ids) == [5, 6]
    assert (request.max_new_tokens, request.sampling.seed, request.sampling.temperature,
            list(request.stop_token_ids), request.logprobs) == (3, 2 ** 64 - 1, 0.5, [7], 2)
    assert olmoe.TopK(Index(4)) == olmoe.TopK(4)
    assert olmoe.TopK(1).on([Index(0), Index(1)], olmoe.TopK(2)) == \
        olmoe.TopK(1).on(range(2), olmoe.TopK(2))
    assert hash(olmoe.Arm("native", Index(3))) == hash(olmoe.Arm("native", 3))


def test_numpys_numbers_and_arrays_are_taken():
    numpy = pytest.importorskip("numpy")
    request = _requests.generate(numpy.array([5, 6], dtype=numpy.int64), numpy.int32(3), {
        "seed": numpy.uint64(7), "temperature": numpy.float32(0.5), "ignore_eos": numpy.True_})
    assert list(request.tokens.ids) == [5, 6]
    assert (request.sampling.seed, request.sampling.temperature, request.ignore_eos) == \
        (7, 0.5, True)
    assert olmoe.TopP(numpy.float64(0.5), max_k=numpy.int8(4)) == olmoe.TopP(0.5, max_k=4)
    for wrong in (numpy.array([0.5]), numpy.array([[1, 2]]), numpy.str_("4")):
        with pytest.raises(TypeError, match="TopK: k must be an integer"):
            olmoe.TopK(wrong)
    for wrong in (numpy.array([0.5]), numpy.array(5), numpy.array([[1, 2]]),
                  numpy.array([True])):
        with pytest.raises(TypeError, match="prompt"):
            _requests.generate(wrong, 1, {})


def test_the_weights_of_a_router_may_be_an_array():
    numpy = pytest.importorskip("numpy")
    values = numpy.array([[0.5, -1.25], [3.0, 0.1]], dtype=numpy.float32)
    layer = olmoe.RouterLayer(1, values.T)
    assert layer.weights == numpy.ascontiguousarray(values.T).tobytes()
    assert olmoe.RouterLayer(1, layer.weights) == layer
    assert layer.to_proto().float32 == layer.weights
    for wrong in (values.astype(numpy.float64), values.astype(numpy.int32)):
        with pytest.raises(TypeError, match="weights must be bytes or an array of float32"):
            olmoe.RouterLayer(1, wrong)


def test_bfloat16_widens_exactly():
    layer = olmoe.RouterLayer(0, bytes.fromhex("803f20c0"), "bfloat16")
    assert struct.unpack("<2f", layer.float32) == (1.0, -2.5)
    assert olmoe.RouterLayer.from_proto(layer.to_proto()) == layer


def test_none_is_as_if_the_keyword_was_not_given():
    wanted = _requests.generate("a", 1, {})
    given = {name: None for name in olmoe.Sampling.__annotations__ if name != "trace"}
    assert _requests.generate("a", 1, given) == wanted


def test_every_public_value_that_is_sent_checks_its_fields():
    sent = {kind for name in olmoe.__all__ if isinstance(kind := getattr(olmoe, name), type)
            and dataclasses.is_dataclass(kind)
            and kind.__module__ in ("olmoe.policies", "olmoe.replay", "olmoe._requests")} | {
        olmoe.Probe, olmoe.LayerCdf, olmoe.RouterLayer}
    assert all(issubclass(kind, olmoe._check.Fields) for kind in sent)
    assert olmoe.BH in sent
