"""docs/reference/flags.md and olmoectl.md, from what the programs print for --help."""

import os
import re
import subprocess

# `  -n,--name TYPE=default REQUIRED Needs: --other   description`; where the part before the
# description is long, that is on the next line.
OPTION = re.compile(r"^  (-\S*)(?: ([A-Z]+)(?:=(\S*))?)?( REQUIRED)?(?: \.\.\.)?(?: Needs: (\S+))?\s*(.*)$")
COMMAND = re.compile(r"^  ([a-z]+) {2,}(\S.*)$")
# Environment variables of the caller would show in the defaults.
VARIABLES = {name: value for name, value in os.environ.items() if not name.startswith("OLMOE_")}


def print_help(program, *words):
    done = subprocess.run([str(program), *words, "--help"], capture_output=True, text=True,
                          check=True, env=VARIABLES, timeout=60)
    return done.stdout


def _block(text):
    body = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"```text\n{body}\n```\n"


def commands(text):
    """The subcommands that a help text lists."""
    _, _, listed = text.partition("Subcommands:\n")
    return [match[1] for line in listed.splitlines() if (match := COMMAND.match(line))]


def _cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def flags_page(bin_dir):
    _, _, options = print_help(bin_dir / "olmoe-server").partition("Options:\n")
    lines = ["# Flags of olmoe-server\n",
             "[guide/operating.md](../guide/operating.md) tells when to change them. A file of "
             "`--config FILE` has the same keys, without the dashes.\n",
             "| flag | default | |", "| --- | --- | --- |"]
    for line in re.sub(r"\n {8,}", "  ", options).strip("\n").splitlines():
        names, kind, default, required, needs, what = OPTION.match(line).groups()
        flag = f"{names.replace(',', ', ')} {kind or ''}".strip()
        default = "required" if required else f"`{default}`" if default else ""
        needs = f" (with `{needs}`)" if needs else ""
        lines.append(f"| `{flag}` | {default} | {_cell(what)}{needs} |")
    return "\n".join(lines) + "\n"


def _olmoectl_sections(program, words):
    text = print_help(program, *words)
    yield f"## {' '.join(['olmoectl', *words])}\n\n{_block(text)}"
    for command in commands(text):
        yield from _olmoectl_sections(program, [*words, command])


def olmoectl_page(bin_dir):
    return ("# Commands of olmoectl\n\n"
            "[policies.md](policies.md) explains SPEC, [tables.md](tables.md) what is printed, "
            "[errors.md](errors.md) the exit codes.\n\n"
            + "\n".join(_olmoectl_sections(bin_dir / "olmoectl", [])))
