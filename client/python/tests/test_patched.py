"""The patch of a `with` block: what comes back, whatever happens."""

import datetime
import signal
import subprocess
import sys

import pytest

import olmoe
from server_process import DEADLINE_S, wait_until


def current(admin):
    return admin.routing().current


def applied(admin):
    return current(admin).plan.arms["default"].policy.applied


@pytest.fixture(name="before", params=["unpatched", "patched"])
def _before(request, admin):
    """What is served before the block."""
    if request.param == "patched":
        admin.patch(olmoe.TopP(0.9), note="before")
    return current(admin)


def same_plan(admin, before):
    now = current(admin)
    return now.digest == before.digest and now.plan == before.plan and now.expire_time is None


def test_the_block_is_routed_and_what_was_there_comes_back(client, admin, before):
    with admin.patched(olmoe.TopK(2), note="block") as patch:
        assert patch.result.changed
        assert client.generate([5], 1).stamp.generation == patch.generation
        assert client.generate([5], 1).usage.expert_activations == 16 * 2
        assert current(admin).plan.note == "block"
        assert current(admin).expire_time is not None
        assert patch.lost is None
    assert same_plan(admin, before)
    assert current(admin).source == "rollback"


def test_an_exception_passes_through_and_what_was_there_comes_back(admin, before):
    with pytest.raises(KeyError, match="mine"):
        with admin.patched(olmoe.TopK(2)):
            raise KeyError("mine")
    assert same_plan(admin, before)


def test_a_block_in_a_block_gives_back_the_outer_one_which_goes_on_living(admin, before):
    with admin.patched(olmoe.TopK(2), ttl=3) as outer:
        first = outer.generation
        with admin.patched(olmoe.TopK(3), ttl=300) as inner:
            # Longer than the outer plan's time to live, which nobody can renew meanwhile.
            outer_end = current_time(admin) + datetime.timedelta(seconds=3.2)
            wait_until(lambda: current_time(admin) > outer_end, "the outer time is over")
            assert applied(admin) == olmoe.TopK(3)
        assert applied(admin) == olmoe.TopK(2)
        assert outer.generation > inner.generation > first
        returned = current(admin)
        assert returned.generation == outer.generation
        assert returned.digest == outer.result.current.digest
        # Renewed again: it outlives the time that it came back with.
        wait_until(lambda: current(admin).expire_time > returned.expire_time, "it is renewed")
        assert outer.lost is None
    assert same_plan(admin, before)


def current_time(admin):
    """The server's, by the end of a read of its statistics."""
    return admin.expert_stats().end_time


def test_an_outer_plan_that_came_back_gives_way_to_what_was_before_both(admin, before):
    """As if the process died between the blocks: nothing renews the outer plan."""
    outer = admin.patched(olmoe.TopK(2), ttl=3)
    outer.__enter__()
    outer._over.set()
    with admin.patched(olmoe.TopK(3), ttl=300):
        pass
    assert applied(admin) == olmoe.TopK(2)
    wait_until(lambda: applied(admin) != olmoe.TopK(2), "the outer plan ends")
    assert same_plan(admin, before)


def test_a_plan_with_a_time_to_live_of_its_own_comes_back_for_the_rest_of_it(admin):
    mine = admin.patch(olmoe.TopK(5), ttl=300).current
    with admin.patched(olmoe.TopK(2)):
        pass
    assert current(admin).digest == mine.digest
    assert current(admin).expire_time == mine.expire_time


@pytest.mark.filterwarnings("error")
def test_a_foreign_patch_stays_and_is_told(server, admin):
    with pytest.raises(olmoe.PatchReplaced, match=r"source 'patch'\) is .* stays") as error:
        with admin.patched(olmoe.TopK(2), ttl=3) as patch:
            assert server.ctl("patch", "--top-k", "6").returncode == 0
            wait_until(lambda: patch.lost is not None, "the block hears of it")
            assert isinstance(patch.lost, olmoe.Conflict)
    assert error.value.reason == "GENERATION_MISMATCH"
    assert applied(admin) == olmoe.TopK(6)


def test_a_foreign_patch_does_not_hide_the_exception_of_the_block(server, admin):
    with pytest.warns(RuntimeWarning, match="leaving the patched block"):
        with pytest.raises(KeyError) as error:
            with admin.patched(olmoe.TopK(2)):
                server.unpatch()
                raise KeyError("mine")
    assert "instead of the block's" in error.value.__notes__[0]
    assert applied(admin) is None


def test_the_block_is_renewed_beyond_its_time_to_live(admin):
    with admin.patched(olmoe.TopK(2), ttl=3) as patch:
        first = patch.result.current.expire_time
        wait_until(lambda: current_time(admin) > first, "the first time to live is over")
        assert current(admin).generation == patch.generation


def test_a_block_is_refused_before_it_changes_anything(admin):
    before = current(admin).generation
    with pytest.raises(olmoe.InvalidRequest):
        with admin.patched(olmoe.TopK(99)):
            pytest.fail("entered")
    with pytest.raises(olmoe.InvalidRequest):
        with admin.patched(olmoe.TopK(2), ttl=0):
            pytest.fail("entered")
    assert current(admin).generation == before
    with admin.patched(olmoe.TopK(2)) as patch:
        with pytest.raises(RuntimeError, match="once"):
            patch.__enter__()
    assert current(admin).plan.arms["default"].policy.applied is None


def test_blocks_that_overlap_end_at_what_was_before_both(admin, before):
    first = admin.patched(olmoe.TopK(2))
    second = admin.patched(olmoe.TopK(3))
    first.__enter__()
    second.__enter__()
    with pytest.raises(olmoe.PatchReplaced):
        first.__exit__(None, None, None)
    assert applied(admin) == olmoe.TopK(3)
    second.__exit__(None, None, None)
    # The first block's plan has time left and nobody who renews it.
    assert applied(admin) == olmoe.TopK(2)
    admin.renew(current(admin).generation, 0.01)
    wait_until(lambda: applied(admin) != olmoe.TopK(2), "its time ends")
    assert same_plan(admin, before)


CRASH = """
import sys, time
import olmoe
with olmoe.Admin(sys.argv[1]).patched(olmoe.TopK(2), ttl=3) as patch:
    print(patch.generation, flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_leaves_nothing_behind(server, admin, before):
    child = subprocess.Popen([sys.executable, "-c", CRASH, server.address("admin")],
                             stdout=subprocess.PIPE, text=True)
    try:
        generation = int(child.stdout.readline())
        assert current(admin).generation == generation
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait(DEADLINE_S)
        child.stdout.close()
    wait_until(lambda: current(admin).generation != generation, "the plan ends")
    assert same_plan(admin, before)
    assert current(admin).source == "expired"
