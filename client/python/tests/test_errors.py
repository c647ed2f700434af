"""What a failed call raises."""

import socket

import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import olmoe
from olmoe import errors


def test_violations_are_listed(client, admin):
    with pytest.raises(olmoe.InvalidRequest) as error:
        client.generate([5], 0, temperature=-1)
    assert {violation.field for violation in error.value.violations} == \
        {"sampling.temperature", "max_new_tokens"}
    with pytest.raises(olmoe.InvalidRequest) as error:
        admin.patch(olmoe.Experiment({"a": olmoe.Arm(olmoe.TopK(99)), "B": olmoe.Arm("native")}))
    assert [violation.field for violation in error.value.violations] == \
        ["plan.arms[0].policy.apply.top_k.k", "plan.arms[1].arm_id"]
    assert "must be 1..64, is 99" in str(error.value)


def test_each_kind_of_failure_has_its_class_and_reason(client, admin):
    current = admin.routing().current.generation
    for kind, reason, call in (
            (olmoe.Conflict, "GENERATION_MISMATCH",
             lambda: admin.patch(olmoe.TopK(1), expected_generation=current + 7)),
            (olmoe.Conflict, "NO_TTL", lambda: admin.renew(current, 60)),
            (olmoe.NotFound, "UNKNOWN_GENERATION", lambda: admin.rollback(current + 7)),
            (olmoe.InvalidRequest, "CONTEXT_LENGTH_EXCEEDED", lambda: client.generate([5], 10**6)),
            (olmoe.PermissionDenied, "ARM_NOT_ALLOWED",
             lambda: client.generate([5], 1, arm="default")),
            (olmoe.NotFound, "", lambda: admin.get_calibration("absent")),
            (olmoe.NotFound, "", lambda: admin.delete_calibration("absent"))):
        with pytest.raises(kind) as error:
            call()
        assert error.value.reason == reason, str(error.value)
        assert type(error.value) is kind
        assert error.value.retry_after is None
    mismatch = pytest.raises(olmoe.Conflict, admin.unpatch, expected_generation=current + 7)
    assert mismatch.value.metadata["current_generation"] == str(current)


def test_a_deadline_is_an_error_of_its_own(busy_client):
    with pytest.raises(olmoe.DeadlineExceeded):
        busy_client.generate([5], 1, timeout=0.02)


def test_a_server_that_is_not_there_is_unavailable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        with olmoe.Client(f"127.0.0.1:{taken.getsockname()[1]}") as client:
            with pytest.raises(olmoe.Unavailable):
                client.model_info()
            with pytest.raises(olmoe.DeadlineExceeded, match="not ready after 0.3 s"):
                client.wait_ready(0.3)


def packed(code, *details):
    status = status_pb2.Status(code=code, message="full")
    for detail in details:
        status.details.add().Pack(detail)
    return status.SerializeToString()


def test_the_details_of_a_status_become_attributes():
    error = errors.make_error("RESOURCE_EXHAUSTED", "full", packed(
        8, error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000)),
        error_details_pb2.ErrorInfo(reason="QUEUE_FULL", metadata={"queue": "256"}),
        any_pb2.Any(type_url="type.example/unknown", value=b"x")))
    assert isinstance(error, olmoe.Busy)
    assert (error.retry_after, error.reason, error.metadata) == (0.25, "QUEUE_FULL",
                                                                 {"queue": "256"})
    assert str(error) == "RESOURCE_EXHAUSTED (QUEUE_FULL): full"


def test_a_status_that_cannot_be_read_or_has_no_class_is_still_an_error():
    error = errors.make_error("DATA_LOSS", "broken", b"\xff\xff")
    assert type(error) is olmoe.Internal
    assert error.violations == ()
    assert str(errors.make_error("INVALID_ARGUMENT", "no", packed(3, error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(
            field="x", description="must be 1")])))) == "INVALID_ARGUMENT: no\n  x: must be 1"
