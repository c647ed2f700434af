"""The command line client against the real server: output, exit codes, behaviour as a
part of a shell."""

import json
import os
import re
import signal
import shutil
import socket
import subprocess

import pytest

import api
from server_process import DEADLINE_S, ServerProcess, bin_dir, running, wait_until

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
    assert re.search(r"\| seed \d+]$", done.stderr.strip())
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
    assert rows[0]["logprob_sum"] > rows[1]["logprob_sum"]
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
    for refused in (("generate", "x", "--sample-top-p", "7"), ("patch", "--top-k", "0"),
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
    done = demo.ctl("generate", "x", "--sample-top-p", "7", "--temperature", "-1")
    assert "INVALID_ARGUMENT" in done.stderr
    assert "sampling.top_p" in done.stderr and "sampling.temperature" in done.stderr
    error = json.loads(demo.ctl("--json", "generate", "x", "--sample-top-p", "7").stderr)
    assert error["code"] == 3
    assert error["details"][0]["field_violations"][0]["field"] == "sampling.top_p"


def test_a_dry_run_changes_nothing(demo):
    before = demo.ctl_json("routing")["current"]["generation"]
    assert not demo.ctl_json("patch", "--top-k", 4, "--dry-run")["changed"]
    assert demo.ctl_json("routing")["current"]["generation"] == before


def test_a_dry_run_shows_the_plan_that_was_checked(demo):
    demo.patch(api.top_k_policy(2, "thin"))
    for flags in ((), ("--probe", "Once upon a time"), ("--probe", "")):
        done = demo.ctl("patch", "--top-k", 4, "--dry-run", *flags)
        assert done.returncode == 0, done.stderr
        assert "top 4" in done.stdout and "top 2" not in done.stdout
        assert done.stdout.startswith("valid: nothing is changed, generation ")
    reply = demo.ctl_json("patch", "--top-k", 4, "--dry-run")
    checked, = reply["checked"]["plan"]["arms"]
    current, = reply["current"]["plan"]["arms"]
    assert checked["policy"]["apply"]["top_k"]["k"] == 4
    assert current["policy"]["apply"]["top_k"]["k"] == 2
    same = demo.ctl("patch", "--top-k", 2, "--policy-id", "thin", "--dry-run")
    assert "that of the current plan" in same.stdout


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
    with running(server.ctl_command("generate", "--tokens", "1", "--stream-json"),
                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert "started" in client.stdout.readline()
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=DEADLINE_S)
    assert client.returncode == 130
    assert errors == "olmoectl: interrupted\n"
    wait_until(lambda: server.status().queued_requests == 0, "the request is gone")


def test_a_reader_that_goes_away_is_no_crash(busy):
    server = busy.server
    with running(server.ctl_command("generate", "--tokens", "1", "--stream-json"),
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


# ---- What people type

# A flag or positional of a help page, and the name of its value.
ARGUMENT = re.compile(r"^  (?:-\w,)?(--[a-z0-9-]+|[a-z]+) (N|NUMBER|GENERATION|SECONDS)\b", re.M)


def commands(*words):
    """Every command of olmoectl, as its words."""
    text = run(*words, "--help").stdout
    _, _, listed = text.partition("Subcommands:\n")
    below = re.findall(r"^  ([a-z]+) {2,}\S", listed, re.M)
    return [words, *(path for name in below for path in commands(*words, name))]


def test_every_number_of_every_command_is_checked():
    """A number that the packaged CLI11 would bend is bad usage, before there is any call."""
    found = []
    for path in commands():
        for flag, kind in ARGUMENT.findall(run(*path, "--help").stdout):
            found.append(flag)
            bad = ["nan", "inf", "1e999", "x"]
            if kind in ("N", "GENERATION") and flag != "--weight":
                bad += ["-1", "18446744073709551616", "99999999999999999999", "0x10", "1.5"]
            for value in bad:
                words = [f"{flag}={value}"] if flag.startswith("--") else ["--", value]
                done = run("--server", "127.0.0.1:1", "--admin", "127.0.0.1:1", *path, *words)
                assert done.returncode == 2, (path, flag, value, done.stderr)
                said = re.search("is not a(?: whole)? number", done.stderr)
                assert said or f"{flag} " in done.stderr, (path, flag, value, done.stderr)
    assert {"--seed", "--expect", "--timeout", "--rate", "--limit", "generation"} <= set(found)
    assert len(found) > 30


def test_a_seed_is_taken_as_it_is_written(demo):
    for seed in ("0", "18446744073709551615"):
        reply = demo.ctl_json("generate", "Once", "-n", 2, "--seed", seed)
        assert reply["seed"] == seed


@pytest.mark.parametrize("words, meant", [
    (("generat", "x"), "generate"), (("patch", "--topk", "4"), "--top-k"),
    (("experts", "dif", "a", "b"), "diff"), (("calibration", "lst"), "list"),
    (("patch", "--top-k", "4", "--dryrun"), "--dry-run"), (("model", "--jsn"), "--json")])
def test_a_mistyped_word_gets_a_suggestion(words, meant):
    done = run(*words)
    assert done.returncode == 2
    assert f"did you mean {meant}?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_usage_errors_are_json_where_replies_are():
    for words in (("frobnicate",), ("generate", "x", "--seed", "-1"), ("patch",),
                  ("eval", "--data", "/no/such/file"), ("score", "--rolling", "/no/such/file"),
                  ("model", "--server", "http://localhost"), ("renew", "--ttl", "soon"),
                  ("route", "--policy", "top-k=1", "--logits", "/no/such/file")):
        for arguments in (("--json", *words), (*words, "--json")):
            done = run(*arguments)
            assert done.returncode == 2, (arguments, done.stderr)
            error = json.loads(done.stderr)
            assert error["code"] == 3 and error["message"]


def keys(value):
    """Of all objects in it."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from keys(one)


def test_json_has_one_style_and_one_page(demo):
    demo.ctl_json("generate", "Once", "-n", 1)
    replies = [demo.ctl_json(*command) for command in (
        ("model",), ("status",), ("routing",), ("history",), ("experts",), ("calibration", "list"),
        ("generate", "Once", "-n", 2, "--logprobs", 1), ("score", "--continuation", "Once"),
        ("tokenize", "Once upon"), ("explain", "alice"), ("patch", "--top-k", 4, "--dry-run"),
        ("bench", "--requests", 1, "-n", 1), ("unpatch",))]
    replies.append(json.loads(demo.ctl("--json", "generate", "x", "--sample-top-p", 7).stderr))
    names = set(keys(replies))
    assert {"server_version", "field_violations", "run"} <= names
    assert not [name for name in names if not re.fullmatch("[a-z0-9_]+|@type", name)]
    page = (api.SOURCE_DIR / "docs/reference/json.md").read_text()
    groups = {path[:-1] for path in commands()}
    for path in commands():
        assert path in groups or path == ("completion",) or f"`{path[-1]}`" in page \
            or f"`{' '.join(path)}`" in page, path


@pytest.mark.parametrize("address, right", [
    ("http://localhost:50051", "localhost:50051"), ("grpc://localhost", "localhost:50051"),
    ("https://olmoe.example", "olmoe.example:50051, and --tls"), ("localhost", "localhost:50051"),
    ("/run/olmoe.sock", "unix:/run/olmoe.sock")])
def test_an_address_of_another_form_is_refused_with_the_right_one(address, right):
    done = run("model", "--server", address)
    assert done.returncode == 2
    assert f"write {right}" in done.stderr
    env = {**os.environ, "OLMOE_SERVER": address}
    assert f"write {right}" in run("model", env=env).stderr


def test_a_missing_file_is_not_scored_as_its_name(demo, tmp_path):
    done = demo.ctl("score", "--rolling", tmp_path / "stories.txt")
    assert done.returncode == 2
    assert "stories.txt: cannot be read" in done.stderr and "--rolling-text" in done.stderr
    (tmp_path / "stories.txt").write_text("Once upon a time\n")
    for arguments in (("--rolling", tmp_path / "stories.txt"),
                      ("--rolling-text", "Once upon a time\n")):
        result, = demo.ctl_json("score", *arguments)["results"]
        assert result["byte_count"] == 17


# ---- Whom it talks to

def test_another_service_on_the_port_is_named(demo):
    done = run("model", "--server", demo.address("admin"))
    assert done.returncode == 4
    assert "another service answers there" in done.stderr
    assert "--server is the address of olmoe-server's public port" in done.stderr
    assert "50051" in done.stderr
    done = run("routing", "--admin", demo.address())
    assert done.returncode == 4
    assert "--admin is the address of olmoe-server's admin port" in done.stderr
    assert "50052" in done.stderr
    done = run("model", "--server", demo.address("http"))
    assert done.returncode == 3
    assert demo.address("http") in done.stderr and "HTTP" in done.stderr


def test_tls_towards_a_port_without_is_named(demo):
    done = demo.ctl("--tls", "model")
    assert done.returncode == 3
    assert "speaks no TLS" in done.stderr
    assert json.loads(demo.ctl("--tls", "--json", "model").stderr)["code"] == 14


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
def test_loopback_goes_past_a_proxy_and_elsewhere_the_message_names_it(demo, variable):
    proxy = free_address()
    env = {**{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
           variable: f"http://user:secret@{proxy}"}
    assert demo.ctl("model", env=env).returncode == 0
    assert demo.ctl("routing", env=env).returncode == 0
    done = run("model", "--server", "olmoe.invalid:50051", env=env)
    assert done.returncode == 3
    assert f"the proxy {proxy} of {variable}" in done.stderr
    assert "secret" not in done.stderr


def test_health_of_a_server_that_is_not_ready_is_3(demo_folder):
    with ServerProcess(demo_folder) as server:
        assert server.ctl("health").returncode == 0
        started = server.ctl("status").stdout
        assert started.startswith("serving since ")
        assert server.ctl("drain", "--grace", "0s").returncode == 0
        done = server.ctl("health")
        assert done.returncode == 3 and "NOT_SERVING" in done.stdout
        assert server.ctl("health", "--json").returncode == 3
        now = server.ctl("status").stdout
        assert now.startswith("draining since ")
        status = server.ctl_json("status")
        assert status["drain_time"] >= status["start_time"]
        assert f"started {started.split(' since ')[1].split(' UTC')[0]}" in now


def test_drain_asks_on_a_terminal(demo_folder):
    """`script` lends a terminal."""
    if shutil.which("script") is None:
        pytest.skip("script is not installed")
    with ServerProcess(demo_folder) as server:
        command = " ".join(server.ctl_command("drain", "--grace", "0s"))

        def ask(answer):
            return subprocess.run(["script", "--quiet", "--return", "--command", command,
                                   "/dev/null"], input=answer, capture_output=True, text=True,
                                  timeout=DEADLINE_S, check=False)
        done = ask("n\n")
        assert done.returncode == 1
        assert "Drain the server at" in done.stdout and "not drained" in done.stdout
        assert server.ctl("health").returncode == 0
        assert ask("y\n").returncode == 0
        assert server.ctl("health").returncode == 3


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
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; _olmoectl; printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", script, "bash", str(OLMOECTL), *words], text=True,
                          capture_output=True, timeout=DEADLINE_S, check=True)
    return done.stdout.split()


def test_bash_completes_commands_flags_and_values():
    assert complete("pa") == ["patch"]
    assert "--weight-mode" in complete("patch", "--")
    assert "--json" in complete("patch", "--")
    assert complete("patch", "--weight-mode", "s") == ["sum-to-one"]
    assert complete("patch", "--top-k", "") == []
    assert complete("--server", "localhost:1", "gen") == ["generate"]


def test_bash_completes_what_the_server_has(demo):
    admin = ("--admin", demo.address("admin"))
    generation = demo.ctl_json("patch", "--arm", "control", "--arm", "wide", "--top-k",
                               "16")["current"]["generation"]
    assert complete(*admin, "generate", "x", "--arm", "") == ["control", "wide"]
    assert complete(*admin, "experts", "diff", "con") == ["control"]
    assert generation in complete(*admin, "rollback", "")
    assert generation in complete(*admin, "renew", "")
    assert generation in complete(*admin, "patch", "--expect", "")
    assert complete("--admin", free_address(), "generate", "x", "--arm", "") == []
    assert "complete-names" not in complete("c")
