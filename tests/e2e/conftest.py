"""Servers that the tests share: one a model and a run, each left as it was found."""

import json

import pytest

import models
from server_process import ServerProcess
from unread_stream import UnreadStream


@pytest.fixture(scope="session", name="demo_folder")
def _demo_folder():
    return models.demo_model()


@pytest.fixture(scope="session", name="demo_server")
def _demo_server(demo_folder):
    with ServerProcess(demo_folder) as server:
        yield server


@pytest.fixture(name="demo")
def _demo(demo_server):
    """The demo model, unpatched, idle; and so again after the test."""
    demo_server.unpatch()
    yield demo_server
    assert demo_server.process.poll() is None, demo_server.log()
    demo_server.unpatch()
    demo_server.wait_until_idle()


@pytest.fixture(scope="session", name="golden_folder")
def _golden_folder():
    return models.golden_model()


@pytest.fixture(scope="session", name="golden_numbers")
def _golden_numbers(golden_folder):
    return json.loads((golden_folder / "golden.json").read_text())


@pytest.fixture(scope="session", name="golden_server")
def _golden_server(golden_folder):
    with ServerProcess(golden_folder, "--dtype", "float32", "--allow-inline-policy") as server:
        yield server


@pytest.fixture(name="golden")
def _golden(golden_server):
    """The random reference model in float32; it has no tokenizer."""
    golden_server.unpatch()
    yield golden_server
    assert golden_server.process.poll() is None, golden_server.log()
    golden_server.unpatch()
    golden_server.wait_until_idle()


@pytest.fixture(scope="session", name="one_slot_server")
def _one_slot_server(demo_folder):
    with ServerProcess(demo_folder, "--max-batch-sequences", 1) as server:
        yield server


@pytest.fixture(name="busy")
def _busy(one_slot_server):
    """The UnreadStream in the only slot of `busy.server`: other requests wait for its end."""
    with UnreadStream(one_slot_server) as stream:
        yield stream
    one_slot_server.wait_until_idle()
