"""AsyncAdmin: what Admin gives, and blocks that leave nothing behind."""

import asyncio

import pytest

import olmoe
from server_process import DEADLINE_S, wait_until


def with_admin(server, calls):
    """What `calls` returns of an AsyncAdmin."""
    async def run():
        async with olmoe.AsyncAdmin(server.address("admin"), timeout=DEADLINE_S) as mine:
            return await calls(mine)

    return asyncio.run(run())


def test_plans_move_as_those_of_admin_do(server, admin):
    before = admin.routing().current.generation

    async def calls(mine):
        await mine.wait_ready()
        patched = await mine.patch(olmoe.TopK(2), note="thin", ttl=60)
        await mine.renew(patched.current.generation, 600)
        routing = await mine.routing()
        with pytest.raises(olmoe.Conflict, match="GENERATION_MISMATCH"):
            await mine.unpatch(expected_generation=before)
        await mine.unpatch()
        again = await mine.rollback(before + 1, ttl=60)
        records = [record async for record in mine.history(page_size=2)]
        explained = await mine.explain(["alice"])
        return patched, routing, again, records, explained

    patched, routing, again, records, explained = with_admin(server, calls)
    assert routing.current.generation == patched.current.generation == before + 1
    assert routing.current.expire_time > patched.current.expire_time
    assert again.current.digest == patched.current.digest
    assert records == list(admin.history())
    assert explained == admin.explain(["alice"])


def test_statistics_and_status_are_those_of_admin(server, admin, client):
    start = admin.expert_stats()
    client.generate([5], 4)

    async def calls(mine):
        stats = await mine.expert_stats(since=start)
        async with mine.watch_expert_stats(since=start) as watch:
            watched = await anext(watch)
        return stats, watched, await mine.server_status()

    stats, watched, status = with_admin(server, calls)
    assert stats.arms == watched.arms == admin.expert_stats(since=start).arms != ()
    assert status.start_time == admin.server_status().start_time


def test_calibrations_are_built_read_written_and_deleted(server, admin):
    async def calls(mine):
        built = await mine.build_calibration("aio-built", texts=["Once upon a time."])
        tables = await mine.get_calibration("aio-built")
        put = await mine.put_calibration("aio-put", tables)
        listed = await mine.calibrations()
        await mine.delete_calibration("aio-built")
        with pytest.raises(olmoe.NotFound):
            await mine.get_calibration("aio-built")
        return built, put, tables, listed

    built, put, tables, listed = with_admin(server, calls)
    assert {built.calibration_id, put.calibration_id} <= {each.calibration_id for each in listed}
    assert built.digest == put.digest
    assert admin.get_calibration("aio-put") == tables
    admin.delete_calibration("aio-put")


def test_routers_are_read_written_and_deleted(server, admin):
    async def calls(mine):
        weights = await mine.get_router()
        put = await mine.put_router("aio-router", weights[:2])
        listed, again = await mine.list_routers(), await mine.get_router("aio-router")
        await mine.delete_router("aio-router")
        with pytest.raises(olmoe.NotFound):
            await mine.get_router("aio-router")
        return weights, put, listed, again

    weights, put, listed, again = with_admin(server, calls)
    assert weights == admin.get_router() and again == weights[:2]
    assert put.layers == (0, 1) and put in listed


def test_a_watch_tells_changes_and_ends_where_it_is_closed(server, admin):
    async def calls(mine):
        watch = mine.watch_routing()
        first = await anext(watch)
        await mine.patch(olmoe.TopK(3))
        changed = await anext(watch)
        watch.close()
        with pytest.raises(StopAsyncIteration):
            while True:
                await anext(watch)
        return first.current, changed.current

    first, changed = with_admin(server, calls)
    assert changed.generation == first.generation + 1 == admin.routing().current.generation


def test_blocks_may_be_nested_and_bring_back_what_was_there(server, admin, client):
    async def calls(mine):
        async with mine.patched(olmoe.TopK(4)) as outer:
            async with mine.patched(olmoe.TopK(2)) as inner:
                stamp = client.generate([5], 1).stamp
                assert (stamp.generation, stamp.policy_id) == (inner.generation, "top-k-2")
                assert inner.result.changed and inner.lost is None
            assert client.generate([5], 1).stamp.generation == outer.generation
            raise KeyError("of the block")

    before = admin.routing().current
    with pytest.raises(KeyError, match="of the block"):
        with_admin(server, calls)
    assert admin.routing().current.digest == before.digest


def test_a_plan_of_somebody_else_stays(server, admin):
    async def calls(mine):
        async with mine.patched(olmoe.TopK(4)):
            await mine.patch(olmoe.TopK(2))

    with pytest.raises(olmoe.PatchReplaced):
        with_admin(server, calls)
    assert admin.routing().current.plan.arms["default"].policy.applied == olmoe.TopK(2)


@pytest.mark.parametrize("when", ["entering", "inside", "leaving"])
def test_a_task_that_is_cancelled_leaves_nothing_behind(server, admin, when):
    before = admin.routing().current
    inside = asyncio.Event()

    async def block(mine):
        async with mine.patched(olmoe.TopK(4)):
            inside.set()
            if when != "leaving":
                await asyncio.sleep(DEADLINE_S)

    async def calls(mine):
        task = asyncio.create_task(block(mine))
        if when == "entering":
            await asyncio.sleep(0)  # the task has begun, and waits for its thread
        else:
            await inside.wait()
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_admin(server, calls)
    wait_until(lambda: admin.routing().current.digest == before.digest, "the plan is back")
    assert admin.routing().current.expire_time is None
