"""The command line client against the real server: output, exit codes, behaviour as a
part of a shell."""

import json
import os
import signal
import shutil
import socket
import subprocess

import pytest

from server_process import DEADLINE_S, bin_dir, wait_until

OLMOECTL = bin_dir() / "olmoectl"


def run(*arguments, **options):
    options = {"capture_output": True, "text": True, "timeout": DEADLINE_S, **options}
    return subprocess.run([OLMOECTL, *arguments], check=False, **options)


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_generate_prints_text_to_stdout_and_the_summary_to_stderr(demo):
    done = demo.ctl("generate", "Once upon a time", "-n", 8, "--temperature", 0)
    assert done.returncode == 0, done.stderr
    text = demo.ctl_json("generate", "Once upon a time", "-n", 8, "--temperature", 0)["text"]
    assert done.stdout == text + "\n"
    assert "generation " in done.stderr and "8 tokens" in done.stderr
    assert "8.00 experts per token and layer" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_generate_reads_stdin(demo):
    arguments = ("-n", 6, "--temperature", 0)
    piped = demo.ctl("generate", "-", *arguments, input="Once upon a time\n")
    assert piped.stdout == demo.ctl("generate", "Once upon a time", *arguments).stdout


def test_stream_json_is_started_deltas_done(demo):
    done = demo.ctl("generate", "Once", "-n", 4, "--stream-json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert "started" in events[0] and "done" in events[-1]
    assert all("delta" in event for event in events[1:-1])


def test_score_and_tokenize(demo):
    done = demo.ctl("score", "--context", "Once upon", "--continuation", " a time",
                    "--continuation", " zebra", "--top", 2)
    assert done.returncode == 0, done.stderr
    assert '" a time"' in done.stdout
    rows = demo.ctl_json("score", "--context", "Once upon", "--continuation", " a time",
                         "--continuation", " zebra")["results"]
    assert rows[0]["logprobSum"] > rows[1]["logprobSum"]
    ids = demo.ctl("tokenize", "Once upon a time", "--ids").stdout.strip()
    assert demo.ctl("detokenize", ids).stdout == "Once upon a time\n"


def test_every_inspection_command_succeeds(demo):
    for command in ("model", "health", "routing", "status"):
        done = demo.ctl(command)
        assert done.returncode == 0, done.stderr
        assert done.stdout and not done.stderr
        assert json.loads(demo.ctl(command, "--json").stdout)
    assert demo.ctl("health", "olmoe.v1.RoutingAdminService").returncode == 0


def test_exit_codes(demo):
    assert demo.ctl("model").returncode == 0
    assert demo.ctl("frobnicate").returncode == 2
    assert demo.ctl("patch", "--top-k", 4, "--layers", "x").returncode == 2
    assert run("model", "--server", free_address()).returncode == 3
    for refused in (("generate", "x", "--top-p", "7"), ("patch", "--top-k", "0"),
                    ("patch", "--top-k", "4", "--expect", "12345"),
                    ("patch", "--top-k", "4", "--layers", "900"),
                    ("generate", "x", "-n", "1000000"), ("health", "no.such.Service")):
        done = demo.ctl(*refused)
        assert done.returncode == 4, (refused, done.stderr)
        assert done.stderr.startswith("olmoectl: ")
    assert demo.ctl("generate", "x", "--arm", "nobody").returncode == 5


def test_a_timeout_is_a_failure(busy):
    done = busy.server.ctl("--timeout", "0.3", "generate", "--tokens", "1")
    assert done.returncode == 1
    assert "DEADLINE_EXCEEDED" in done.stderr


def test_errors_name_the_field_in_text_and_in_json(demo):
    done = demo.ctl("generate", "x", "--top-p", "7", "--temperature", "-1")
    assert "INVALID_ARGUMENT" in done.stderr
    assert "sampling.top_p" in done.stderr and "sampling.temperature" in done.stderr
    error = json.loads(demo.ctl("--json", "generate", "x", "--top-p", "7").stderr)
    assert error["code"] == 3
    assert error["details"][0]["fieldViolations"][0]["field"] == "sampling.top_p"


def test_a_dry_run_changes_nothing(demo):
    before = demo.ctl_json("routing")["current"]["generation"]
    assert not demo.ctl_json("patch", "--top-k", 4, "--dry-run")["changed"]
    assert demo.ctl_json("routing")["current"]["generation"] == before


def test_patch_tells_both_generations(demo):
    before = int(demo.ctl_json("routing")["current"]["generation"])
    done = demo.ctl("patch", "--top-k", 4)
    assert f"generation {before} -> {before + 1}" in done.stdout
    assert "top 4" in demo.ctl("routing").stdout


def test_bytes_that_are_not_utf8_are_bad_usage(demo):
    for arguments in (["generate", b"\xff"], ["score", "--continuation", b"a\xc3"]):
        done = subprocess.run([*demo.ctl_command(), *arguments], capture_output=True,
                              timeout=DEADLINE_S, check=False)
        assert done.returncode == 2
        assert b"not UTF-8" in done.stderr


def test_ctrl_c_cancels_the_call(busy):
    server = busy.server
    with subprocess.Popen(server.ctl_command("generate", "--tokens", "1", "--stream-json"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert "started" in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 130
    assert errors == "olmoectl: interrupted\n"
    wait_until(lambda: server.status().queued_requests == 0, "the request is gone")


def test_a_reader_that_goes_away_is_no_crash(busy):
    server = busy.server
    with subprocess.Popen(server.ctl_command("generate", "--tokens", "1", "--stream-json"),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert "started" in client.stdout.readline()
        client.stdout.close()
        busy.close()  # the client has something to write from here on
        errors = client.stderr.read()
        assert client.wait(DEADLINE_S) == 1
    assert errors == ""
    server.wait_until_idle()


def test_output_that_cannot_be_written_is_a_failure(demo):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = demo.ctl("model", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "olmoectl: cannot write to the standard output\n"
    command = " ".join(demo.ctl_command("model"))
    closed = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, text=True,
                            timeout=DEADLINE_S, check=False)
    assert closed.returncode == 1


def test_addresses_come_from_the_environment(demo):
    env = {**os.environ, "OLMOE_SERVER": demo.address(), "OLMOE_ADMIN": demo.address("admin")}
    assert run("model", env=env).returncode == 0
    assert run("routing", env=env).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(shell):
    done = run("completion", shell)
    assert done.returncode == 0
    assert "max-new-tokens" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: the script was made but not parsed")
    parsed = subprocess.run([shell, "-n", "/dev/stdin"], input=done.stdout, text=True,
                            capture_output=True, timeout=DEADLINE_S, check=False)
    assert parsed.returncode == 0, parsed.stderr


def complete(*words):
    """What bash would offer for the last word."""
    script = run("completion", "bash").stdout + """
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _olmoectl; printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", "olmoectl", *words], text=True,
                          capture_output=True, timeout=DEADLINE_S, check=True)
    return done.stdout.split()


def test_bash_completes_commands_flags_and_values():
    assert complete("pa") == ["patch"]
    assert "--weight-mode" in complete("patch", "--")
    assert "--json" in complete("patch", "--")
    assert complete("patch", "--weight-mode", "s") == ["sum-to-one"]
    assert complete("patch", "--top-k", "") == []
    assert complete("--server", "localhost:1", "gen") == ["generate"]
