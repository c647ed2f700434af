"""The commands of README and guides: they exist, and are run as written."""

import pytest

import help_pages
import markdown
import page_run
from reference import SOURCE_DIR
from server_process import bin_dir

PAGES = [SOURCE_DIR / "README.md",
         *(path for folder in ("docs/guide", "deploy", "client")
           for path in sorted((SOURCE_DIR / folder).rglob("*.md")))]
RUN = [path for path in PAGES if any(block.kind in markdown.RUN_KINDS and not block.not_run
                                     for block in markdown.blocks(path.read_text()))]


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


@pytest.mark.parametrize("path", PAGES, ids=relative)
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


# ---- As written: each page from its first command to its last, as a reader does.

@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_block_is_run_or_says_why_not(path):
    for block in markdown.blocks(path.read_text()):
        where = f"{relative(path)}:{block.line}"
        assert block.kind in (*markdown.RUN_KINDS, *markdown.SHOWN_KINDS), (
            f"{where}: a block of {block.kind or 'no kind'}; tests/docs/markdown.py has the kinds")
        assert block.kind not in markdown.RUN_KINDS or block.commands(), f"{where}: no command"


@pytest.mark.parametrize("path", RUN, ids=relative)
def test_commands_work_as_written(path, tmp_path):
    page_run.run(path, tmp_path)
