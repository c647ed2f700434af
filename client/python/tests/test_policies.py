"""Policies as values, as messages and as text."""

import pytest
from google.protobuf import json_format

import olmoe
from olmoe import (BH, HC, Adjust, BanMass, Bias, BiasScope, Keep, MinP, Native, Noise, Policy, PValue,
                   Steer, TopK, TopP, Weights)
from olmoe.policies import policy_from_proto, policy_to_proto
from olmoe.v1 import routing_pb2

ONE_MINUS = PValue.ONE_MINUS_PROB
POLICIES = [
    Native(),
    TopK(8),
    TopK(4, weights=Weights.SUM_TO_ONE),
    TopP(0.5),
    TopP(0.7, min_k=2, max_k=16),
    MinP(0.1),
    MinP(0.25, max_k=12, weights=Weights.NATIVE),
    BH(0.1, "mine"),
    BH(alpha=1e-4, calibration="mine", min_k=2, max_k=16, temperature=0.5,
       weights=Weights.MATCH_TOP_K_MASS),
    BH(0.5, p_value=ONE_MINUS, min_k=3, temperature=1.0),
    HC(calibration="mine"),
    HC(0.25, p_value=ONE_MINUS, max_k=9),
    TopP(0.5).analyze(),
    TopK(4).analyze(BH(0.1, "mine")),
    Native().analyze(MinP(0.1)).named("watch", "counts only"),
    Native().on(range(4), TopK(16)),
    TopK(8, adjust=Adjust(ban=[3, 5, 6, 7], force=(2, 1))),
    TopP(0.5, max_k=9, adjust=Adjust(steer=Steer(toward=[1], away=[6]), noise=Noise(0.5), ban=[4],
                                     ban_mass=BanMass.KEEP)),
    MinP(0.2, adjust=Adjust(bias=Bias(BiasScope.SELECT, [0.1, -1e-5, 0, 1e7] * 16))),
    TopK(8).analyze(TopK(8, adjust=Adjust(steer=Steer([2], epsilon=1.5)))),
    Keep("p > 0.3 * p1 && rank <= 12"),
    Keep("min(p, p1) / 2 >= 0.01", "mine", min_k=2, max_k=9, adjust=Adjust(ban=[0])),
    TopK(8).decode(TopK(2)).on([1], decoded=TopK(4)),
    Native().decode(Keep("rank == 1")),
    Native().routed_by("mine"),
    TopK(4).decode(TopK(2)).routed_by("mine"),
    TopK(2).on([7, 9], analyzed=TopP(0.5)).on([3], TopK(1), analyzed=TopK(2)),
]


def text_of(policy):
    return str(olmoe.policies.as_policy(policy))


@pytest.fixture(scope="module", name="mine", autouse=True)
def _mine(demo_server):
    """The calibration and the router that some policies name."""
    with olmoe.Admin(demo_server.address("admin"), timeout=60) as admin:
        admin.put_router("mine", admin.get_router())
        yield admin.build_calibration("mine", texts=["Once upon a time there was a king."])


@pytest.mark.parametrize("policy", POLICIES, ids=text_of)
def test_a_policy_comes_back_from_the_server_as_it_was(admin, policy):
    result = admin.patch(policy)
    wanted = olmoe.policies.as_policy(policy)
    arm = admin.routing().current.plan.arms["default"]
    assert arm.policy.policy_id == result.current.plan.arms["default"].policy.policy_id
    assert arm.policy == wanted.named(wanted.policy_id or arm.policy.policy_id,
                                      wanted.description)


def read_by_olmoectl(server, text):
    """What the server has of a policy that olmoectl patched in."""
    patched = server.ctl_json("patch", "--policy", text)
    message = json_format.ParseDict(patched["current"]["plan"]["arms"][0]["policy"],
                                    routing_pb2.RoutingPolicy())
    return policy_from_proto(message)


@pytest.mark.parametrize("policy", POLICIES, ids=text_of)
def test_the_text_of_a_policy_is_olmoectls(server, policy):
    policy = olmoe.policies.as_policy(policy).named("")
    assert Policy.parse(str(policy)) == policy
    assert read_by_olmoectl(server, str(policy)).named("") == policy
    assert str(policy) in server.ctl("history").stdout


@pytest.mark.parametrize("text", [
    "native", "top-k=4", "wide@top-p=0.7,max=16", "top-k=2,layers=0-3/top-k=16,layers=12-15",
    "native/bh=0.12,max=32,calibration=mine,analyze", "bh:alpha=0.4,calibration=mine",
    "hc,calibration=mine", "hc=0.5,p-value=one-minus-prob,temperature=2", " min-p = 0.1 , min=2",
    "top-k=8/top-k=2,layers=0-3+7/bh=0.1,calibration=mine,analyze,weights=sum-to-one",
    "keep=rank <= 2,min=2", 'x@keep="max(p, 0) > 0.1/2",decode',
    "top-k=4,ban=1+3-5,ban-mass=keep,force=0,noise=0.5,toward=7,away=8+9,epsilon=2",
    "native/router=mine", "router=mine", "x@top-k=2/ router = mine", "router=mine/top-k=2",
    "top-p=0.0001", "top-p=0.00012345", "min-p=1e-9", "top-p=0.30000000000000004",
])
def test_what_olmoectl_reads_is_read_alike(server, text):
    theirs = read_by_olmoectl(server, text)
    mine = Policy.parse(text)
    assert mine.named(policy_to_proto(mine).policy_id) == theirs
    assert str(mine) in server.ctl("history").stdout


@pytest.mark.parametrize(("text", "said"), [
    ("top-q=4", '"top-q" is not a rule; rules: top-k, top-p, min-p, bh, hc'),
    ("top-k", "k is missing, as in top-k=4"),
    ("top-k=four", "k=four is not a number of experts"),
    ("top-k=-1", "k=-1 is not a number of experts"),
    ("top-p=x", "p=x is not a number"),
    ("top-p=0.5,min=0", "min=0 is not above 0"),
    ("top-p=0.5,p=0.6", "p is given twice"),
    ("bh=0.1,calibration=", "calibration= is empty"),
    ("bh=0.1,pvalue=x", "is not a key of bh; keys: alpha, min, max, p-value, calibration"),
    ("bh=0.1,p-value=x", "is not one of layer-cdf, one-minus-prob"),
    ("top-k=1,layers=3-1", "is not a list of layers such as 0-3+7"),
    ("top-k=1,analyze=yes", "takes no value"),
    ("top-k=1/top-k=2", "top-k=2: these layers have a rule already"),
    ("native/router=", "router: no name, as in router=tuned"),
    ("router=a/top-k=1/router=b", "router: is given twice"),
    ("A@top-k=1", '"A" is not a name'),
    ("top-k=x/top-q=1", "k=x is not a number of experts; "),
])
def test_text_that_is_no_policy_is_refused_as_olmoectl_does(server, text, said):
    with pytest.raises(ValueError) as error:
        Policy.parse(text)
    assert said in str(error.value)
    done = server.ctl("patch", "--dry-run", "--policy", text)
    assert done.returncode == 2
    assert said in done.stderr


def test_enums_are_those_of_the_api():
    for enum, words in ((Weights, routing_pb2.WeightMode), (PValue, routing_pb2.PValueKind),
                        (BiasScope, routing_pb2.BiasScope), (BanMass, routing_pb2.BanMass)):
        prefix = words.keys()[0].removesuffix("UNSPECIFIED")
        assert {f"{prefix}{each.name}": each.value for each in enum} == dict(words.items()[1:])


def test_every_adjustment_of_the_api_has_a_value():
    for name, cls in olmoe.policies._GROUPS.items():
        message = getattr(routing_pb2, name)
        assert set(cls.__dataclass_fields__) == {field.name for field in message.DESCRIPTOR.fields}


def test_every_field_of_a_policy_of_the_api_has_one_here():
    names = {"applied": "apply", "analyzed": "analyze", "decoded": "decode",
             "overrides": "layer_overrides"}
    for cls, message in ((Policy, routing_pb2.RoutingPolicy),
                         (olmoe.LayerOverride, routing_pb2.LayerOverride)):
        mine = {names.get(name, name) for name in cls.__dataclass_fields__}
        assert mine == {field.name for field in message.DESCRIPTOR.fields}


def test_every_rule_of_the_api_has_a_class():
    kinds = routing_pb2.Rule.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert {kind.name for kind in kinds} == set(olmoe.policies._KINDS)
    for kind in kinds:
        fields = {olmoe.policies._FIELDS.get(name, name) for name in
                  olmoe.policies._KINDS[kind.name].__dataclass_fields__} - {"weights", "adjust"}
        assert fields == {field.name for field in kind.message_type.fields}


def test_zero_bounds_and_what_is_no_policy_are_refused_here():
    for wrong in (lambda: TopP(0.5, min_k=0), lambda: BH(0.1, max_k=0), lambda: HC(0)):
        with pytest.raises(ValueError, match="leave it out"):
            wrong()
    with pytest.raises(TypeError, match="a policy, a rule or its text"):
        olmoe.policies.as_policy(4)
    with pytest.raises(TypeError, match="one of TopK"):
        policy_to_proto(olmoe.Rule())


def test_an_experiment_comes_back_as_it_was_and_splits_units(client, admin):
    experiment = olmoe.Experiment({
        "control": olmoe.Arm(Native(), weight=50, allow_explicit=True),
        "bh": olmoe.Arm(BH(0.1, "mine"), weight=50)}, salt="exp1", note="BH against top-8")
    result = admin.patch(experiment, probe=olmoe.Probe("Once upon a time", require_change=True))
    assert {probe.arm: probe.layers_covered for probe in result.probe_results}["bh"] == 16
    plan = admin.routing().current.plan
    assert (plan.salt, plan.note) == ("exp1", "BH against top-8")
    assert list(plan.arms) == ["control", "bh"]
    assert plan.arms["bh"].policy.applied == BH(0.1, "mine")
    # The split vectors of the design: buckets 66 and 17 of 100.
    alice, bob = admin.explain(["alice", "bob"])
    assert (alice.arm, alice.bucket, bob.arm, bob.bucket) == ("bh", 66, "control", 17)
    assert client.generate([5], 1, unit="alice").stamp.arm == "bh"
    assert client.generate([5], 1, arm="control").stamp.reason is olmoe.Assignment.EXPLICIT_ARM
    other = olmoe.Experiment({"a": olmoe.Arm(TopK(1))})
    assert admin.explain(["alice"], other)[0].arm == "a"
