"""The tests of the documentation use the servers and stubs of the end-to-end tests."""

import pathlib
import sys

SOURCE_DIR = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE_DIR / "tests/e2e"))
