"""Runs a page: its commands in one shell, in their order, in what a clean clone has.

The shell has a network of its own, so the ports of the page are free. A program that stays, such as
olmoe-server, is put behind and waited for until it is ready, as a reader does in another terminal.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys

import markdown
import own_network
from reference import SOURCE_DIR
from server_process import DEADLINE_S, bin_dir

# What stays, and where it says that it is ready.
STAY = {"olmoe-server": "http://127.0.0.1:9464/readyz",
        "prometheus": "http://127.0.0.1:9090/-/ready"}
PORTS = (50051, 50052, 9464, 9090, 8000)
NOT_CLONED = {".git", "build"}
SHELL = """
step() {
  eval "$(<"$RUN/$1.command")" >"$RUN/$1.out" 2>"$RUN/$1.err" </dev/null
  echo $? >"$RUN/$1.code"
  [ "$(<"$RUN/$1.code")" = 0 ] || exit
}
ready() {
  until curl --silent --fail --output "$RUN/ready" "$1"; do
    jobs -r | grep -q . || exit
    sleep 0.05
  done
}
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
set -o pipefail
"""


def cloned_paths():
    """What a clone has: all that git knows or would add; where there is no git, all but builds."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=SOURCE_DIR, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.split("\0") if name and (SOURCE_DIR / name).exists()]
    return [path.name for path in SOURCE_DIR.iterdir() if path.name not in NOT_CLONED]


def clone(folder):
    """The layout of a checkout that has been built."""
    for name in cloned_paths():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(SOURCE_DIR / name)
    (folder / "build/release").mkdir(parents=True)
    (folder / "build/release/bin").symlink_to(bin_dir().resolve())


def variables(home):
    """The caller's, without what would change the commands; the binaries are found, as the README
    of the guides says, and so are the programs of the environment that the client is in."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("OLMOE_", "PYTHONPATH")) and not name.endswith("_proxy")}
    return {**kept, "HOME": str(home), "NO_COLOR": "1",
            "PATH": ":".join(map(str, (bin_dir().resolve(), os.path.dirname(sys.executable),
                                       kept["PATH"], SOURCE_DIR / "build/tools")))}


def stays(command):
    """The program that the command starts and that stays, or None."""
    words = shlex.split(command, comments=True)
    program = next((word for word in words if "=" not in word), "")
    return program if program in STAY else None


def lines_of(number, kind, command):
    """What the script does for a command; `command` is what is in its file."""
    if kind == "python":
        return f"{shlex.quote(sys.executable)} $RUN/{number}.py", [f"step {number}"]
    program = stays(command)
    if program is None:
        return command, [f"step {number}"]
    words = re.sub(r"\s+#.*$", "", command)
    return (words if words.endswith("&") else f"{words} &"), [
        f"step {number}", f"ready {STAY[program]}"]


def left_out(block):
    """Why a block is not run on this machine, or nothing."""
    if block.not_run:
        return block.not_run
    if block.needs and not (
            importlib.util.find_spec(block.needs) if block.kind == "python"
            else shutil.which(block.needs, path=variables("")["PATH"])):
        return f"{block.needs} is not installed"
    if block.kind == "python" and importlib.util.find_spec("olmoe") is None:
        return "the Python client is not installed"
    return ""


def same(shown, printed):
    """Whether the output is what the page shows, "..." standing for anything."""
    def lines(text):
        return "\n".join(line.rstrip() for line in text.strip().splitlines())
    pattern = ".*".join(map(re.escape, lines(shown).split("...")))
    return re.fullmatch(pattern, lines(printed), re.DOTALL) is not None


def steps_of(path):
    """(block, command) of what is run, in order."""
    return [(block, command) for block in markdown.blocks(path.read_text())
            if block.kind in markdown.RUN_KINDS and not left_out(block)
            for command in block.commands()]


def run(path, folder):
    """Fails with the command, and what it printed, where one fails or prints something else."""
    prefix = own_network.prefix(*PORTS)
    checkout, notes = folder / "checkout", folder / "run"
    checkout.mkdir()
    notes.mkdir()
    clone(checkout)
    steps = steps_of(path)
    script = [SHELL]
    for number, (block, command) in enumerate(steps):
        text, calls = lines_of(number, block.kind, command.text)
        (notes / f"{number}.command").write_text(text)
        (notes / f"{number}.py").write_text(command.text)
        script += calls
    (notes / "script").write_text("\n".join(script) + "\n")
    subprocess.run([*prefix, "bash", notes / "script"], cwd=checkout,
                   env={**variables(folder), "RUN": str(notes)}, timeout=5 * DEADLINE_S, check=False,
                   stdin=subprocess.DEVNULL)
    for number, (block, command) in enumerate(steps):
        def read(suffix, number=number):
            file = notes / f"{number}.{suffix}"
            return file.read_text(errors="replace") if file.exists() else "(never ran)"
        told = (f"{path.relative_to(SOURCE_DIR)}:{block.line}: {command.text}\n"
                f"{read('out')}{read('err')}")
        assert read("code").strip() == "0", told
        if command.shown is not None:
            assert same(command.shown, read("out")), f"{told}\nThe page shows:\n{command.shown}"
