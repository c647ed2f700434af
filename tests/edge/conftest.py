"""The servers that are attacked: one a setup, started again where an attack has left it broken."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import models  # noqa: E402
from certificates import Authority  # noqa: E402
from edge_server import Victim, open_files_for_attackers  # noqa: E402


class Arena:
    """At most one running victim, that of the setup asked for last."""

    def __init__(self, authority):
        self._authority = authority
        self._victim = None

    def victim(self, setup):
        if self._victim is None or self._victim.setup != setup:
            self.close()
            self._victim = Victim(setup, models.demo_model(), self._authority)
        return self._victim

    def close(self):
        """The next one who asks gets a new server."""
        if self._victim is not None:
            self._victim.__exit__(None, None, None)
        self._victim = None


@pytest.fixture(scope="session", name="arena")
def _arena(tmp_path_factory):
    open_files_for_attackers()
    arena = Arena(Authority(tmp_path_factory.mktemp("edge") / "authority"))
    yield arena
    arena.close()
