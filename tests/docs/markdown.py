"""Markdown files of the checkout: their links, and the commands that they show."""

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


def shell_lines(text):
    """The lines of the indented blocks, continued ones joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line.strip() for line in joined.splitlines() if re.match(r" {4,}\S", line)]


def _begins_command(words, i):
    """Behind nothing, a pipe or the like, a variable, or `docker exec NAME`."""
    return (i == 0 or set(words[i - 1]) <= set("|&;<>") or "=" in words[i - 1]
            or words[max(i - 3, 0):i - 1] == ["docker", "exec"])


def olmoectl_calls(text):
    """Words after olmoectl of each call in the indented blocks."""
    calls = []
    for line in shell_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = list(lexer)
        for i, word in enumerate(words):
            if word == "olmoectl" and _begins_command(words, i):
                call = words[i + 1:]
                ends = [j for j, word in enumerate(call) if set(word) <= set("|&;<>")]
                calls.append(call[:ends[0]] if ends else call)
    return calls
