"""The commands of the guides: they exist, and those of some guides are run as written."""

import os
import subprocess

import pytest

import help_pages
import markdown
import models
from reference import SOURCE_DIR
from server_process import ServerProcess, bin_dir

GUIDES = [SOURCE_DIR / "README.md", *sorted((SOURCE_DIR / "docs/guide").glob("*.md")),
          SOURCE_DIR / "deploy/README.md"]
# What is run, and what would take too long.
RUN = ["README.md", "docs/guide/experiments.md", "docs/guide/evaluation.md",
       "docs/guide/recordings.md"]
SHORTER = {"olmoectl eval ": " --limit 2"}


def relative(path):
    return str(path.relative_to(SOURCE_DIR))


@pytest.fixture(scope="module", name="helps")
def _helps():
    """Words of a command -> what its help prints."""
    program = bin_dir() / "olmoectl"
    texts = {(): help_pages.print_help(program)}
    pending = [(command,) for command in help_pages.commands(texts[()])]
    while pending:
        words = pending.pop()
        texts[words] = help_pages.print_help(program, *words)
        pending += [(*words, command) for command in help_pages.commands(texts[words])]
    return texts


def flags_of(text):
    words = text.replace(",", " ").split()
    return {word for word in words if word.startswith("-")}


@pytest.mark.parametrize("path", GUIDES, ids=relative)
def test_every_command_and_flag_exists(path, helps):
    for call in markdown.olmoectl_calls(path.read_text()):
        known = flags_of(helps[()])
        command = ()
        for word in call:
            if (*command, word) in helps:
                command = (*command, word)
                known |= flags_of(helps[command])
            elif word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, f"{relative(path)}: {call}"
        assert command or known & set(call), f"{relative(path)}: {call}"


@pytest.fixture(scope="module", name="server")
def _server():
    with ServerProcess(models.demo_model(), "--allow-inline-policy") as server:
        yield server


@pytest.mark.parametrize("name", RUN)
def test_commands_work_as_written(name, server, tmp_path):
    for folder in ("deploy", "tests"):
        (tmp_path / folder).symlink_to(SOURCE_DIR / folder)
    env = {**os.environ, "PATH": f"{bin_dir()}:{os.environ['PATH']}",
           "OLMOE_SERVER": server.address(), "OLMOE_ADMIN": server.address("admin")}
    server.unpatch()
    for line in markdown.shell_lines((SOURCE_DIR / name).read_text()):
        if "olmoectl " not in line:
            continue
        line = line.split("  #", 1)[0]
        for command, addition in SHORTER.items():
            if line.startswith(command):
                line = line.rstrip() + addition
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, env=env,
                              capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{name}: {line}\n{done.stdout}{done.stderr}"
