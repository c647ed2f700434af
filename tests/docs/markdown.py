"""Markdown files of the checkout: their links, and the commands that they show."""

import dataclasses
import re
import shlex

LINK = re.compile(r"(?<!`)!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)
IN_CODE = re.compile(r"`[^`]*`")
LEFT_OUT = {"build", ".git", "node_modules", ".venv", "venv"}


def files(root):
    for path in sorted(root.rglob("*.md")):
        if not LEFT_OUT & set(path.relative_to(root).parts):
            yield path


def links(text):
    """What the links outside of code point to."""
    return LINK.findall(IN_CODE.sub("``", FENCE.sub("", text)))


def anchors(text):
    """The anchors of a page's headings, as GitHub names them."""
    names = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        numbered = name
        number = 0
        while numbered in names:
            number += 1
            numbered = f"{name}-{number}"
        names.add(numbered)
    return names


# What of a page is run. A block of four spaces, or a fence ```sh, has commands; ```console has
# commands behind "$ " with what they print, in which "..." stands for anything; ```python is run by
# Python. A comment directly before a block says why it is not run, or which program it needs, or
# which package of Python:
#     <!-- not run: installs packages -->
#     <!-- needs: grpcurl -->
RUN_KINDS = ("shell", "console", "python")
SHOWN_KINDS = ("text", "mermaid", "json", "yaml", "toml")
_NOTE = re.compile(r"<!-- (not run|needs): (.+) -->")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, continued lines joined, and what the page says that it prints, if it does."""

    text: str
    shown: str | None = None


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page. `kind`: one of RUN_KINDS, or the word behind a fence."""

    line: int
    kind: str
    text: str
    not_run: str = ""  # why not
    needs: str = ""  # a program; of Python, a package

    def commands(self):
        if self.kind == "python":
            return [Command(self.text)]
        if self.kind == "shell":
            joined = re.sub(r"\\\n\s*", "", self.text)
            return [Command(line.strip()) for line in joined.splitlines()
                    if line.strip() and not line.lstrip().startswith("#")]
        parts = re.split(r"^\$ ", re.sub(r"\\\n> *", "", self.text), flags=re.MULTILINE)[1:]
        return [Command(command.strip(), shown) for command, _, shown in
                (part.partition("\n") for part in parts)]


def blocks(text):
    """The blocks of a page, in order."""
    found, note = [], None
    lines = text.splitlines()
    i = 0
    while i < len(lines):
        line, begin = lines[i], i
        if line.startswith("```"):
            i = lines.index("```", i + 1)
            kind = {"sh": "shell", "bash": "shell"}.get(line[3:], line[3:])
            content = lines[begin + 1:i]
        elif re.match(r" {4,}\S", line):
            while i + 1 < len(lines) and re.match(r" {4,}\S|$", lines[i + 1]):
                i += 1
            kind, content = "shell", lines[begin:i + 1]
        else:
            if line.strip():
                note = _NOTE.fullmatch(line.strip())
            i += 1
            continue
        notes = {note[1]: note[2]} if note else {}
        found.append(Block(begin + 1, kind, "\n".join(content), notes.get("not run", ""),
                           notes.get("needs", "")))
        note = None
        i += 1
    return found


def commands(text):
    """The commands of a page, of blocks that are run and of others."""
    return [command.text for block in blocks(text) if block.kind in ("shell", "console")
            for command in block.commands()]


def _begins_command(words, i):
    """Behind nothing, a pipe or the like, a variable, or `docker exec NAME`."""
    return (i == 0 or set(words[i - 1]) <= set("|&;<>") or "=" in words[i - 1]
            or words[max(i - 3, 0):i - 1] == ["docker", "exec"])


def olmoectl_calls(text):
    """Words after olmoectl of each call."""
    calls = []
    for line in commands(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = list(lexer)
        for i, word in enumerate(words):
            if word == "olmoectl" and _begins_command(words, i):
                call = words[i + 1:]
                ends = [j for j, word in enumerate(call) if set(word) <= set("|&;<>")]
                calls.append(call[:ends[0]] if ends else call)
    return calls
