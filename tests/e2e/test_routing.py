"""Patching the routers of a server that is in use."""

import itertools
import subprocess

import grpc
import pytest

import api
from api import admin, routing
from server_process import DEADLINE_S, running, wait_until
from unread_stream import UnreadStream

PROMPT = [5, 6, 7, 8, 9]
COUNT = 16
ROWS = len(PROMPT) + COUNT - 1


def test_patch_changes_experts_and_stamp_and_unpatch_brings_both_back(demo):
    info = demo.model_info()
    before = demo.greedy(PROMPT, COUNT)
    assert before.usage.expert_activations == ROWS * info.num_layers * info.default_top_k

    patch = demo.ctl_json("patch", "--top-k", 4, "--policy-id", "half")
    assert patch["changed"]
    assert int(patch["previous_generation"]) == before.routing.generation
    during = demo.greedy(PROMPT, COUNT)
    assert during.usage.expert_activations == ROWS * info.num_layers * 4
    assert during.routing.generation == int(patch["current"]["generation"])
    assert during.routing.generation > before.routing.generation
    assert during.routing.policy_id == "half"
    assert during.routing.policy_digest != before.routing.policy_digest
    assert during.token_ids != before.token_ids

    assert demo.ctl_json("unpatch")["changed"]
    after = demo.greedy(PROMPT, COUNT)
    assert after.token_ids == before.token_ids
    assert after.text == before.text
    assert after.routing.policy_digest == before.routing.policy_digest
    assert after.routing.generation > during.routing.generation


def test_patch_of_some_layers_leaves_the_others(demo):
    info = demo.model_info()
    demo.ctl_json("patch", "--top-k", 1, "--layers", "0-3,7")
    reply = demo.greedy(PROMPT, COUNT)
    others = info.num_layers - 5
    assert reply.usage.expert_activations == ROWS * (others * info.default_top_k + 5)


def test_the_models_own_top_k_as_a_patch_changes_no_bit(demo):
    before = traced(demo)
    with demo.patched(api.top_k_policy(demo.model_info().default_top_k)):
        during = traced(demo)
    assert during.tokens == before.tokens
    assert during.trace == before.trace
    assert before.trace.logits


def traced(server):
    """A reply with log-probabilities and all that a trace has."""
    return server.generate(api.tokens_request(
        PROMPT, COUNT, logprobs=5,
        trace=api.inference.TraceOptions(experts=True, weights=True, logits=True)))


@pytest.mark.parametrize("apply_k", [None, 1], ids=["own", "top-1"])
def test_analyze_changes_no_bit(demo, apply_k):
    policy = api.top_k_policy(apply_k) if apply_k else routing.RoutingPolicy(policy_id="watch")
    with demo.patched(policy):
        before = traced(demo)
    policy.analyze.top_p.p = 0.5
    with demo.patched(policy):
        during = traced(demo)
    assert during.routing.policy_digest != before.routing.policy_digest
    assert during.tokens == before.tokens
    assert during.trace == before.trace
    assert during.usage == before.usage


def test_unpatching_what_is_not_patched_is_a_warning(demo):
    reply = demo.unpatch()
    assert not reply.changed
    assert reply.warnings


def draining(server):
    """The generations that are still in use."""
    routing_now = server.admin.GetRouting(admin.GetRoutingRequest(), timeout=DEADLINE_S)
    return [record.generation for record in routing_now.draining]


def test_a_request_keeps_the_plan_that_it_started_with(demo):
    layers = demo.model_info().num_layers
    top_k = demo.model_info().default_top_k
    with UnreadStream(demo, [5]) as stream:
        patch = demo.patch(api.top_k_policy(1, "thin"))
        assert patch.in_flight_on_previous == 1
        assert draining(demo) == [stream.started.routing.generation]
        assert demo.greedy([5], 2).usage.expert_activations == 2 * layers
        done = stream.read()[-1].done
    assert done.routing == stream.started.routing
    assert done.usage.expert_activations == stream.max_new_tokens * layers * top_k
    assert not draining(demo)


def test_wait_for_drain_returns_when_the_old_plan_is_unused(demo):
    with UnreadStream(demo, [5]) as stream:
        with running(demo.ctl_command("patch", "--top-k", 2, f"--wait={DEADLINE_S}"),
                     stdout=subprocess.DEVNULL) as client:
            wait_until(lambda: draining(demo), "the old plan drains")
            assert client.poll() is None
            done = stream.read()[-1].done
            assert client.wait(DEADLINE_S) == 0
    assert not draining(demo)
    assert done.usage.completion_tokens == stream.max_new_tokens


def test_replies_under_swaps_ran_the_experts_of_their_stamp(demo):
    """Two policies are swapped while requests run: each reply is one of the two, whole.

    Counted in experts, which are exact: the last bits of a logit depend on the size of the batch.
    """
    policies = {"native": routing.RoutingPolicy(policy_id="native-again"),
                "thin": api.top_k_policy(2, "thin")}
    expected = {}
    for policy in policies.values():
        demo.patch(policy)
        reply = demo.greedy(PROMPT, COUNT)
        expected[reply.routing.policy_id] = reply.usage.expert_activations
    assert len(set(expected.values())) == 2
    pending = [demo.stub.Generate.future(api.tokens_request(PROMPT, COUNT), timeout=DEADLINE_S)]
    generations = []
    for policy in itertools.islice(itertools.cycle(policies.values()), 40):
        generations.append(demo.patch(policy).current.generation)
        pending.append(demo.stub.Generate.future(api.tokens_request(PROMPT, COUNT),
                                                 timeout=DEADLINE_S))
    for call in pending:
        reply = call.result()
        assert reply.usage.expert_activations == expected[reply.routing.policy_id]
    assert generations == sorted(set(generations))


def test_a_stale_generation_is_aborted_and_changes_nothing(demo):
    current = demo.admin.GetRouting(admin.GetRoutingRequest()).current
    with pytest.raises(grpc.RpcError) as error:
        demo.patch(api.top_k_policy(3), expected_generation=current.generation + 1)
    assert error.value.code() == grpc.StatusCode.ABORTED
    info = api.details(error.value)["ErrorInfo"]
    assert info.reason == "GENERATION_MISMATCH"
    assert info.metadata["current_generation"] == str(current.generation)
    assert demo.admin.GetRouting(admin.GetRoutingRequest()).current.digest == current.digest
    assert demo.patch(api.top_k_policy(3), expected_generation=current.generation).changed


def test_validate_only_changes_nothing(demo):
    before = demo.admin.GetRouting(admin.GetRoutingRequest()).current
    assert not demo.patch(api.top_k_policy(3), validate_only=True).changed
    assert demo.admin.GetRouting(admin.GetRoutingRequest()).current.generation == \
        before.generation


def test_arms_split_units_and_may_be_named(demo):
    plan = admin.RoutingPlan(salt="exp1", arms=[
        admin.Arm(arm_id="control", weight=50, allow_explicit=True),
        admin.Arm(arm_id="thin", weight=50, policy=api.top_k_policy(2, "thin")),
    ])
    plan.arms[0].policy.policy_id = "own"
    demo.admin.PatchRouters(admin.PatchRoutersRequest(plan=plan))

    def arm(**fields):
        return demo.generate(api.tokens_request(PROMPT, 1, **fields)).routing

    # The split vectors of the design: buckets 66 and 17 of 100.
    assert arm(unit_id="alice").arm_id == "thin"
    assert arm(unit_id="bob").arm_id == "control"
    assert arm(unit_id="alice").reason == routing.ASSIGNMENT_REASON_SPLIT
    named = arm(routing=api.inference.RoutingSelector(arm_id="control"))
    assert named.reason == routing.ASSIGNMENT_REASON_EXPLICIT_ARM
    with pytest.raises(grpc.RpcError) as error:
        arm(routing=api.inference.RoutingSelector(arm_id="thin"))
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert api.details(error.value)["ErrorInfo"].reason == "ARM_NOT_ALLOWED"
