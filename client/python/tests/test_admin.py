"""Patches, history, statistics, calibrations, draining."""

import itertools

import pytest

import background
import olmoe
from server_process import DEADLINE_S, ServerProcess
from unread import UNREAD


def test_patch_unpatch_and_rollback_move_generations(client, admin):
    before = admin.routing().current.generation
    patched = admin.patch(olmoe.TopK(2), note="thin", ttl=60)
    assert patched.changed
    assert patched.previous_generation == before
    assert patched.current.generation == before + 1
    assert patched.current.plan.note == "thin"
    assert patched.current.expire_time is not None
    assert 0 < patched.swap_duration_s < 1
    assert client.generate([5], 2).stamp.generation == before + 1
    admin.renew(patched.current.generation, 600)
    assert admin.routing().current.expire_time > patched.current.expire_time
    assert admin.unpatch(expected_generation=before + 1).current.generation == before + 2
    again = admin.rollback(before + 1, expected_generation=before + 2)
    assert again.current.digest == patched.current.digest
    assert again.current.expire_time is None
    records = list(itertools.islice(admin.history(page_size=2), 4))
    assert [record.generation for record in records] == [before + i for i in (3, 2, 1, 0)]
    assert [record.source for record in records[:3]] == ["rollback", "unpatch", "patch"]


def test_a_key_is_made_for_each_patch_and_one_that_is_given_is_kept(admin):
    first = admin.patch(olmoe.TopK(2), idempotency_key="mine-1")
    admin.patch(olmoe.TopK(3))
    again = admin.patch(olmoe.TopK(2), idempotency_key="mine-1")
    assert again.current.generation == first.current.generation
    assert admin.patch(olmoe.TopK(2)).changed
    with pytest.raises(olmoe.InvalidRequest) as error:
        admin.patch(olmoe.TopK(4), idempotency_key="mine-1")
    assert error.value.reason == "IDEMPOTENCY_KEY_REUSED"


def test_validate_only_and_a_probe_change_nothing(admin):
    before = admin.routing().current.generation
    result = admin.patch(olmoe.TopK(1), validate_only=True, probe=True)
    assert not result.changed
    assert result.probe_results[0].mean_experts_per_token == 1
    with pytest.raises(olmoe.Conflict) as error:
        admin.patch(olmoe.TopP(0.5, min_k=8, max_k=8), probe=olmoe.Probe(require_change=True))
    assert error.value.reason == "PROBE_UNCHANGED"
    assert [each.subject for each in error.value.preconditions] == ["arms/default"]
    assert admin.routing().current.generation == before


def test_warnings_come_with_the_result(admin):
    assert admin.unpatch().warnings
    assert admin.patch(olmoe.BH(0.5, p_value=olmoe.PValue.ONE_MINUS_PROB)).warnings


def test_draining_generations_are_told_by_routing_and_by_watch(client, admin):
    with client.stream([5], **UNREAD) as stream:
        next(stream)
        with admin.watch_routing() as watch:
            assert next(watch).current.generation == stream.started.stamp.generation
            patched = admin.patch(olmoe.TopK(1))
            assert patched.in_flight_on_previous == 1
            assert [record.generation for record in admin.routing().draining] == \
                [patched.previous_generation]
            assert next(watch).current.generation == patched.current.generation
            stream.close()
            assert next(watch).drained_generation == patched.previous_generation
            watch.close()
            assert not list(watch)


def test_a_rollback_has_a_time_to_live_of_its_own(admin):
    first = admin.patch(olmoe.TopK(2)).current
    admin.patch(olmoe.TopK(3))
    back = admin.rollback(first.generation, ttl=3600)
    assert back.current.expire_time is not None
    assert back.current.digest == first.digest
    admin.unpatch()


def test_what_a_dry_run_has_checked_is_told(admin):
    checked = admin.patch(olmoe.TopK(3), validate_only=True).checked
    assert checked.plan.arms["default"].policy.applied == olmoe.TopK(3)


def activations(stats, kind=olmoe.Decision.APPLIED):
    return sum(sum(layer.expert_tokens) for arm in stats.arms for layer in arm.layers
               if arm.kind is kind)


def test_expert_statistics_go_on_where_the_last_answer_ended(server, client, admin):
    admin.patch(olmoe.TopK(2).analyze(olmoe.TopK(5)))
    start = admin.expert_stats()
    used = client.generate([5, 6, 7], 4, ignore_eos=True).usage.expert_activations
    server.wait_until_idle()
    since = admin.expert_stats(since=start)
    assert activations(since) == used
    assert activations(since, olmoe.Decision.ANALYZED) == used // 2 * 5
    assert {arm.phase for arm in since.arms} == {olmoe.Phase.PREFILL, olmoe.Phase.DECODE}
    layer = since.arms[0].layers[0]
    assert len(layer.expert_tokens) == 64
    assert layer.experts_per_token[2] == layer.tokens or layer.experts_per_token[5] == layer.tokens
    assert since.start_time == start.end_time < since.end_time
    some = admin.expert_stats(since=start, layers=[3], kinds=[olmoe.Decision.APPLIED])
    assert activations(some) == used // 16
    with pytest.raises(olmoe.InvalidRequest, match='"absent" is no arm'):
        admin.expert_stats(since=start, arms=["absent"])
    of_current = admin.expert_stats(current_plan=True)
    assert {arm.policy_digest for arm in of_current.arms} == {
        arm.policy_digest for arm in since.arms}
    assert admin.expert_stats(last=60).start_time <= start.end_time
    # Last: the server forgets first what a reader has gone on from.
    assert activations(admin.expert_stats(since=since.cursor)) == 0


def test_a_watch_of_experts_tells_all_that_is_counted(server, client, admin):
    start = admin.expert_stats()
    with admin.watch_expert_stats(0.1, since=start) as watch:
        seen = activations(next(watch))
        used = client.generate([5, 6, 7], 4).usage.expert_activations
        server.wait_until_idle()
        while seen < used:
            seen += activations(next(watch))
    assert seen == used


def test_calibrations_are_built_listed_copied_and_deleted(admin):
    built = admin.build_calibration("built", texts=["Once upon a time.", "The end."], trim_top=8)
    assert (built.num_layers, built.trim_top, built.in_use) == (16, 8, False)
    layers = admin.get_calibration("built")
    assert [layer.layer for layer in layers] == list(range(16))
    copy = admin.put_calibration("copy", layers)
    assert copy.digest == built.digest
    assert {each.calibration_id for each in admin.calibrations()} >= {"built", "copy"}
    admin.patch(olmoe.BH(0.1, "built"))
    with pytest.raises(olmoe.Conflict) as error:
        admin.delete_calibration("built")
    assert error.value.reason == "CALIBRATION_IN_USE"
    with pytest.raises(olmoe.Conflict):
        admin.put_calibration("copy", [
            olmoe.LayerCdf(layer.layer, layer.x0 + 1, layer.dx, layer.cdf, layer.survival)
            for layer in layers])
    admin.unpatch()
    for name in ("built", "copy"):
        admin.delete_calibration(name)
    assert not {each.calibration_id for each in admin.calibrations()} & {"built", "copy"}
    with pytest.raises(ValueError, match="one of the two"):
        admin.build_calibration("none")


def test_routers_are_exported_put_used_and_deleted(client, admin):
    own = admin.get_router()
    assert [layer.layer for layer in own] == list(range(16))
    put = admin.put_router("some", own[2:4])
    assert (put.router_id, put.layers, put.in_use) == ("some", (2, 3), False)
    assert admin.put_router("some", reversed(own[2:4])) == put
    assert admin.get_router("some") == own[2:4]
    assert put in admin.list_routers()
    wide = [olmoe.RouterLayer(layer.layer, layer.float32) for layer in own[2:4]]
    assert admin.put_router("wide", wide).digest == put.digest, "the same values"
    before = client.score([5, 6, 7], [8, 9])
    admin.patch(olmoe.Native().routed_by("some"))
    assert client.score([5, 6, 7], [8, 9]).logprob_sum == before.logprob_sum
    with pytest.raises(olmoe.Conflict) as error:
        admin.delete_router("some")
    assert error.value.reason == "ROUTER_IN_USE"
    zeros = olmoe.RouterLayer(2, bytes(len(wide[0].weights)))
    with pytest.raises(olmoe.Conflict, match="exists with other weights"):
        admin.put_router("some", [zeros])
    with pytest.raises(olmoe.InvalidRequest, match="layer 2 is in messages"):
        admin.put_router("twice", [own[2], own[2]])
    admin.put_router("zeros", [zeros])
    admin.patch(olmoe.Native().routed_by("zeros"))
    assert client.score([5, 6, 7], [8, 9]).logprob_sum != before.logprob_sum
    admin.unpatch()
    for name in ("some", "wide", "zeros"):
        admin.delete_router(name)
    assert not {each.router_id for each in admin.list_routers()} & {"some", "wide", "zeros"}
    with pytest.raises(olmoe.Conflict, match='policy.router: router "some" does not exist'):
        admin.patch(olmoe.Native().routed_by("some"))


def test_a_calibration_is_collected_from_live_tokens(client, admin):
    with background.repeated(1, lambda *_: client.generate([5], 16, ignore_eos=True)):
        built = admin.build_calibration("live", live_tokens=20)
    assert built.tokens >= 20
    admin.delete_calibration("live")


def test_the_status_names_the_requests(client, admin):
    with client.stream([5, 6], request_id="mine", **UNREAD) as stream:
        next(stream)
        status = admin.server_status()
        assert status.running_requests == 1
        request, = status.requests
        assert (request.request_id, request.method, request.prompt_tokens, request.arm) == \
            ("mine", "generate", 2, "default")
        assert status.kv_cache_used_bytes > 0
        assert not status.draining


def test_a_drained_server_is_not_ready_and_ends_streams_and_watches(model_folder):
    with ServerProcess(model_folder) as server, \
            olmoe.Client(server.address(), timeout=DEADLINE_S) as client, \
            olmoe.Admin(server.address("admin"), timeout=DEADLINE_S) as admin:
        client.wait_ready()
        admin.wait_ready()
        watch = admin.watch_routing()
        next(watch)
        stream = client.stream([5], **UNREAD)
        next(stream)
        assert admin.drain(0) == 1
        with pytest.raises(olmoe.OlmoeError):
            stream.result()
        with pytest.raises(olmoe.Unavailable):
            list(watch)
        assert not client.health()
        with pytest.raises(olmoe.Unavailable):
            client.generate([5], 1)
