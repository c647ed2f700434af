"""Where the models of the tests are."""

import json
import os
import pathlib

import pytest

import api


def demo_model():
    """The trained demo model; the variable names another folder for a trial."""
    folder = pathlib.Path(os.environ.get("OLMOE_E2E_MODEL", api.SOURCE_DIR / "deploy/demo"))
    if not (folder / "config.json").exists():
        pytest.skip(f"{folder} holds no model")
    return folder


def golden_model():
    """A tiny random model in whose folder are the numbers of a Hugging Face run."""
    return api.SOURCE_DIR / "tests/data/golden/sharded"


def link_model(source, target, leave_out=()):
    """A folder with links to the files of another."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.name not in leave_out:
            (target / path.name).symlink_to(path.resolve())
    return target


def with_context(source, target, tokens):
    """The same model with room for sequences of so many tokens."""
    link_model(source, target, leave_out=["config.json"])
    config = json.loads((source / "config.json").read_text())
    config["max_position_embeddings"] = tokens
    (target / "config.json").write_text(json.dumps(config))
    return target
