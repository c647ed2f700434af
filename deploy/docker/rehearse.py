#!/usr/bin/env python3
"""Runs the last stage of the Dockerfile without Docker, and then what it made.

    rehearse.py ROOT BIN_DIR      (as root; needs bubblewrap)

ROOT is a fresh Debian 12 root, as of `mmdebstrap --variant=minbase bookworm ROOT`; BIN_DIR
has the binaries that the build stage would have made. RUN, COPY and WORKDIR are executed
in ROOT. Then ENTRYPOINT starts as USER with the root read-only, no capabilities and no
network but its own loopback; HEALTHCHECK must succeed, the model must answer, a patch must be
there again after a restart, and SIGTERM must end it with exit code 0.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

CONTEXT = pathlib.Path(__file__).resolve().parents[2]
BUILT = "/src/build/release/bin"

TOUR = """
start() { %(entrypoint)s & server=$!
  for _ in $(seq 600); do %(healthcheck)s 2>/dev/null && return; kill -0 $server || exit 1; sleep 0.1; done
  exit 1; }
stop() { kill -TERM $server; wait $server; }
set -e
start
id
olmoectl generate "Once upon a time" --max-new-tokens 16 --seed 7
olmoectl patch --top-k 1 --policy-id one-expert
stop
start
olmoectl routing | grep one-expert
stop
"""


def last_stage(dockerfile):
    """[(instruction, arguments)] behind the last FROM."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    steps = [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]
    start = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    return steps[start + 1:]


def in_root(root, folder, command):
    """As `docker build` does: with /proc, this machine's name servers, and /bin/sh."""
    enter = ('mount -t proc proc "$0/proc" && touch "$0/etc/resolv.conf" && '
             'mount --bind /etc/resolv.conf "$0/etc/resolv.conf" && exec chroot "$0" /bin/sh -c "$1"')
    subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", enter, root,
                    f"cd {folder} && {command}"], check=True,
                   env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})


def copy(root, folder, arguments, bin_dir):
    words = shlex.split(arguments)
    built = words[0].startswith("--from=")
    *sources, target = words[built:]
    into = root / (pathlib.Path(folder) / target).relative_to("/")
    if target.endswith("/"):
        into.mkdir(parents=True, exist_ok=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    for source in sources:
        path = bin_dir / pathlib.Path(source).relative_to(BUILT) if built else CONTEXT / source
        shutil.copy(path, into)


def execute(root, steps, bin_dir):
    """Executes what changes the root; the rest is returned by name."""
    folder, settings = "/", {}
    for name, arguments in steps:
        print(f"{name} {arguments}", flush=True)
        if name == "RUN":
            in_root(root, folder, arguments)
        elif name == "COPY":
            copy(root, folder, arguments, bin_dir)
        elif name == "WORKDIR":
            folder = arguments
            (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        else:
            settings[name] = arguments
    return settings


def serve(root, settings, state):
    user, group = settings["USER"].split(":")
    tour = TOUR % {
        "entrypoint": shlex.join(json.loads(settings["ENTRYPOINT"])),
        "healthcheck": shlex.join(json.loads(settings["HEALTHCHECK"].partition("CMD ")[2])),
    }
    os.chown(state, int(user), int(group))
    subprocess.run(
        ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs",
         "bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--clearenv",
         "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--ro-bind", root, "/",
         "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
         "--bind", state, settings["VOLUME"], "bash", "-c", tour],
        check=True, timeout=300)


def main():
    root, bin_dir = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    steps = last_stage((CONTEXT / "deploy/docker/Dockerfile").read_text())
    settings = execute(root, steps, bin_dir)
    with tempfile.TemporaryDirectory() as state:
        serve(root, settings, state)
    print("the image's last stage works")


if __name__ == "__main__":
    main()
