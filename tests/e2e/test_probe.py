"""The probe of PatchRouters on a real model."""

import grpc
import pytest

import api
import background
from api import admin, routing
from server_process import DEADLINE_S

PROMPT = "The river was high that spring, and the old bridge"


def arm(arm_id, **policy):
    return admin.Arm(arm_id=arm_id, weight=1,
                     policy=routing.RoutingPolicy(policy_id=arm_id, **policy))


def top_k(k):
    return routing.Rule(top_k=routing.TopK(k=k))


def same_as(k):
    """Another rule that decides like top-k."""
    return routing.Rule(top_p=routing.TopP(p=0.5, min_k=k, max_k=k))


def probe(server, *arms, text=PROMPT, require_change=False, **fields):
    request = admin.PatchRoutersRequest(plan=admin.RoutingPlan(arms=arms), **fields)
    request.probe.text = text
    request.probe.require_change = require_change
    return server.admin.PatchRouters(request, timeout=DEADLINE_S)


def streams(server, count):
    """This many endless generations in the background."""
    return background.repeated(count, lambda thread, _: server.greedy([5 + thread, 6, 7], 40))


def test_the_numbers_say_what_an_arm_does(demo):
    info = demo.model_info()
    own_k = info.default_top_k
    reply = probe(demo, arm("own", apply=top_k(own_k)), arm("thin", apply=top_k(1)),
                  arm("near", apply=top_k(own_k - 1)), arm("watch", analyze=top_k(1)))
    results = {result.arm_id: result for result in reply.probe_results}
    assert list(results) == ["own", "thin", "near", "watch"]
    for name in ("own", "watch"):
        assert results[name].max_abs_logit_difference == 0
        assert results[name].kl_divergence_nats == 0
        assert not results[name].top1_changed
        assert results[name].layers_covered == 0
        assert results[name].mean_experts_per_token == own_k
    assert results["thin"].mean_experts_per_token == 1
    assert results["thin"].layers_covered == info.num_layers
    assert results["thin"].kl_divergence_nats > results["near"].kl_divergence_nats > 0
    assert any("Prometheus series" in warning for warning in reply.warnings)


def test_without_a_tokenizer_built_in_ids_are_probed(golden, golden_numbers):
    """They are 1..16, so the top token is that of a generation from there."""
    own = golden.generate(api.tokens_request(range(1, 17), 1, logprobs=1)).tokens[0]
    request = admin.PatchRoutersRequest(policy=api.top_k_policy(1), probe=admin.Probe())
    result = golden.admin.PatchRouters(request, timeout=DEADLINE_S).probe_results[0]
    thin = golden.generate(api.tokens_request(range(1, 17), 1, logprobs=1)).tokens[0]
    assert result.layers_covered == golden_numbers["num_layers"]
    assert result.max_abs_logit_difference > 0
    assert result.top1_changed == (own.top[0].token_id != thin.top[0].token_id)


def test_equal_rules_give_equal_bits_under_load_too(demo):
    """Rounding depends on the rows of a step, so a probe shares its steps with nothing."""
    own_k = demo.model_info().default_top_k
    quiet = probe(demo, arm("thin", apply=top_k(1)), validate_only=True).probe_results[0]
    with streams(demo, 6):
        for _ in range(10):
            results = probe(demo, arm("same", apply=same_as(own_k)),
                            arm("watch", analyze=top_k(1)), arm("thin", apply=top_k(1)),
                            validate_only=True).probe_results
            assert [result.max_abs_logit_difference for result in results[:2]] == [0, 0]
            assert results[2] == quiet


def test_a_rule_without_effect_is_refused_where_a_change_must_show(demo):
    own_k = demo.model_info().default_top_k
    before = demo.admin.GetRouting(admin.GetRoutingRequest()).current
    with pytest.raises(grpc.RpcError) as error:
        probe(demo, arm("same", apply=same_as(own_k)), arm("thin", apply=top_k(1)),
              arm("watch", analyze=top_k(1)), require_change=True)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    violations = api.details(error.value)["PreconditionFailure"].violations
    assert [violation.subject for violation in violations] == ["arms/same"]
    assert demo.admin.GetRouting(admin.GetRoutingRequest()).current == before


def test_probes_are_counted_apart_from_the_traffic_of_arms(demo):
    def tokens(arm_id):
        _, text = demo.http("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith("olmoe_moe_routed_tokens_total")
                   and f'arm="{arm_id}"' in line)

    demo.greedy([5], 1)
    default, probed = tokens("default"), tokens("probe")
    requests = demo.metric("olmoe_requests_total")
    probe(demo, arm("default", apply=top_k(1)))
    assert tokens("default") == default
    assert tokens("probe") > probed
    assert demo.metric("olmoe_requests_total") == requests
