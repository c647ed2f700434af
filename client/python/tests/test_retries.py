"""When a call is sent again, and when not: against a server that says what the test wants."""

import asyncio
import time
from concurrent import futures

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

import olmoe
from olmoe.v1 import admin_pb2, admin_pb2_grpc, inference_pb2, inference_pb2_grpc

RETRY_AFTER_S = 0.05


class FakeServer(inference_pb2_grpc.InferenceServiceServicer,
                 admin_pb2_grpc.RoutingAdminServiceServicer):
    """Refuses the next `refusals` calls with `code`, with or without RetryInfo.

    Counts the calls and keeps the idempotency keys. Thread-compatible.
    """

    def __init__(self):
        self.refusals = 0
        self.code = grpc.StatusCode.RESOURCE_EXHAUSTED
        self.retry_info = True
        self.calls = 0
        self.keys = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(self, self._server)
        admin_pb2_grpc.add_RoutingAdminServiceServicer_to_server(self, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self):
        self._server.stop(None).wait()

    def _refuse(self, context):
        self.calls += 1
        if self.calls > self.refusals:
            return
        if self.retry_info:
            status = status_pb2.Status(code=self.code.value[0], message="full")
            status.details.add().Pack(error_details_pb2.RetryInfo(
                retry_delay=duration_pb2.Duration(nanos=int(RETRY_AFTER_S * 1e9))))
            context.set_trailing_metadata(
                (("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, "full")

    def GetModelInfo(self, request, context):
        self._refuse(context)
        return inference_pb2.GetModelInfoResponse(model_id="fake")

    def PatchRouters(self, request, context):
        self.keys.append(request.idempotency_key)
        self._refuse(context)
        return admin_pb2.PatchRoutersResponse(changed=True)

    def UnpatchRouters(self, request, context):
        self._refuse(context)
        return admin_pb2.PatchRoutersResponse(changed=True)


@pytest.fixture(name="fake")
def _fake():
    fake = FakeServer()
    yield fake
    fake.stop()


def test_nothing_is_sent_again_unless_asked_for(fake):
    fake.refusals = 1
    with olmoe.Client(fake.target) as client, pytest.raises(olmoe.Busy) as error:
        client.model_info()
    assert fake.calls == 1
    assert error.value.retry_after == pytest.approx(RETRY_AFTER_S)


def test_a_busy_server_is_asked_again_after_the_time_that_it_says(fake):
    fake.refusals = 2
    start = time.monotonic()
    with olmoe.Client(fake.target, retries=3) as client:
        assert client.model_info().model_id == "fake"
    assert fake.calls == 3
    assert time.monotonic() - start >= 2 * RETRY_AFTER_S


def test_asyncio_asks_again_too(fake):
    async def call():
        async with olmoe.AsyncClient(fake.target, retries=1) as client:
            return await client.model_info()

    fake.refusals = 1
    assert asyncio.run(call()).model_id == "fake"
    assert fake.calls == 2


def test_retries_end(fake):
    fake.refusals = 10
    with olmoe.Client(fake.target, retries=2) as client, pytest.raises(olmoe.Busy):
        client.model_info()
    assert fake.calls == 3


def test_a_server_that_is_not_reachable_for_a_moment_is_asked_again(fake):
    fake.refusals, fake.code, fake.retry_info = 1, grpc.StatusCode.UNAVAILABLE, False
    with olmoe.Client(fake.target, retries=1) as client:
        assert client.model_info().model_id == "fake"


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INTERNAL"])
def test_what_would_fail_again_is_not_sent_again(fake, code):
    fake.refusals, fake.code, fake.retry_info = 1, grpc.StatusCode[code], False
    with olmoe.Client(fake.target, retries=5) as client, pytest.raises(olmoe.OlmoeError) as error:
        client.model_info()
    assert error.value.code == code
    assert fake.calls == 1


def test_the_timeout_is_for_all_attempts_together(fake):
    fake.refusals = 1000
    with olmoe.Client(fake.target, retries=1000, timeout=0.5) as client:
        with pytest.raises((olmoe.Busy, olmoe.DeadlineExceeded)):
            client.model_info()
    assert fake.calls < 10


def test_a_patch_is_sent_again_with_its_key_and_an_unpatch_is_not(fake):
    fake.refusals = 1
    with olmoe.Admin(fake.target, retries=3) as admin:
        assert admin.patch(olmoe.TopK(4)).changed
        assert len(fake.keys) == 2
        assert fake.keys[0] == fake.keys[1] != ""
        admin.patch(olmoe.TopK(4))
        assert fake.keys[2] != fake.keys[0]
        fake.refusals, fake.calls = 1, 0
        with pytest.raises(olmoe.Busy):
            admin.unpatch()
        assert fake.calls == 1
