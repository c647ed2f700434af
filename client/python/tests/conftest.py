"""The installed package against the real server.

The server's process, its models and raw stubs are those of tests/e2e, which lie next to this in a
checkout. Imported first, the package is where those stubs come from: one process has one set of
messages.
"""

import pathlib
import sys

import pytest

import olmoe

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests/e2e"))

import models  # noqa: E402
from server_process import DEADLINE_S, ServerProcess  # noqa: E402
from unread_stream import UnreadStream  # noqa: E402


@pytest.fixture(scope="session", name="model_folder")
def _model_folder(tmp_path_factory):
    """The demo model, with room for UNREAD."""
    return models.with_context(models.demo_model(), tmp_path_factory.mktemp("model") / "demo", 2048)


@pytest.fixture(scope="session", name="demo_server")
def _demo_server(model_folder):
    with ServerProcess(model_folder, "--allow-inline-policy") as server:
        yield server


@pytest.fixture(scope="session", name="one_slot_server")
def _one_slot_server(model_folder):
    with ServerProcess(model_folder, "--max-batch-sequences", 1) as server:
        yield server


@pytest.fixture(name="busy_client")
def _busy_client(one_slot_server):
    """Of a server whose only slot is taken: completions do not begin."""
    with (UnreadStream(one_slot_server),
          olmoe.Client(one_slot_server.address(), timeout=DEADLINE_S) as client):
        yield client


@pytest.fixture(name="server")
def _server(demo_server):
    """The demo model, unpatched, idle; and so again after the test."""
    demo_server.unpatch()
    yield demo_server
    assert demo_server.process.poll() is None, demo_server.log()
    demo_server.unpatch()
    demo_server.wait_until_idle()


@pytest.fixture(name="client")
def _client(server):
    with olmoe.Client(server.address(), timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture(name="admin")
def _admin(server):
    with olmoe.Admin(server.address("admin"), timeout=DEADLINE_S) as admin:
        yield admin
