"""A server that cannot start says why in one line and exits: 1, or 2 for bad usage."""

import json
import os
import socket
import subprocess

import pytest

import models
from server_process import DEADLINE_S, bin_dir, run_server, server_command


def assert_refused(done, code, *words):
    """One line of its own beside the log, which names what is wrong."""
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("olmoe-server: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert str(word) in lines[0]


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen", "--http-listen"])
def test_a_port_in_use_is_named(demo_folder, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ports = {"--listen": "127.0.0.1:0", "--admin-listen": "127.0.0.1:0",
                 "--http-listen": "127.0.0.1:0", flag: address}
        done = run_server(demo_folder, ports=[part for pair in ports.items() for part in pair])
    assert_refused(done, 1, address)


def test_a_port_of_a_running_server_is_in_use(demo):
    done = run_server(models.demo_model(), ports=("--listen", demo.address(), "--admin-listen",
                                                  "127.0.0.1:0", "--http-listen", "127.0.0.1:0"))
    assert_refused(done, 1, demo.address())


def test_a_missing_model_folder_is_named(tmp_path):
    assert_refused(run_server(tmp_path / "nothing"), 1, tmp_path / "nothing")


def test_an_empty_model_folder_names_config_json(tmp_path):
    assert_refused(run_server(tmp_path), 1, "config.json")


def test_a_file_in_place_of_a_folder_is_refused(demo_folder):
    assert_refused(run_server(demo_folder / "config.json"), 1, "config.json")


def test_a_checkpoint_that_is_cut_off_names_the_file(demo_folder, tmp_path):
    folder = models.link_model(demo_folder, tmp_path / "cut", leave_out=["model.safetensors"])
    data = (demo_folder / "model.safetensors").read_bytes()
    for size in (0, 7, 100, len(data) // 2, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:size])
        assert_refused(run_server(folder), 1, "model.safetensors")


def test_a_header_length_beyond_the_file_is_refused(demo_folder, tmp_path):
    folder = models.link_model(demo_folder, tmp_path / "long", leave_out=["model.safetensors"])
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}" * 100)
    assert_refused(run_server(folder), 1, "model.safetensors")


def test_another_architecture_is_refused_by_name(demo_folder, tmp_path):
    folder = models.link_model(demo_folder, tmp_path / "other", leave_out=["config.json"])
    text = (demo_folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("olmoe", "llama").replace("Olmoe", "Llama"))
    assert_refused(run_server(folder), 1, "config.json", "lama")


def test_a_broken_tokenizer_is_named(demo_folder, tmp_path):
    folder = models.link_model(demo_folder, tmp_path / "broken", leave_out=["tokenizer.json"])
    (folder / "tokenizer.json").write_text('{"model": {')
    assert_refused(run_server(folder), 1, "tokenizer.json")


@pytest.mark.parametrize("flags", [
    ["--no-such-flag"],
    ["--threads", "many"],
    ["--listen", "nowhere"],
    ["--listen", "127.0.0.1:99999"],
    ["--dtype", "float8"],
    ["--max-queue", "0"],
], ids=lambda flags: " ".join(flags))
def test_bad_usage_exits_with_2(demo_folder, flags):
    assert_refused(run_server(demo_folder, *flags, ports=()), 2)


def test_threads_that_cannot_be_made_are_told(demo_folder):
    if b"libasan" in (bin_dir() / "olmoe-server").read_bytes():
        pytest.skip("AddressSanitizer takes more memory than the limit")
    # Enough to begin, if OpenBLAS makes no threads of its own; the stacks of 1,024 take 8 GiB.
    done = subprocess.run(
        ["prlimit", f"--data={1 << 30}", *server_command(demo_folder, "--threads", 1024)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False)
    assert_refused(done, 1, "1024 compute threads", "--threads")


@pytest.mark.parametrize("device, words", [
    ("cuda:99", ["cuda:99"]),
    ("graphics", ["graphics", "none of cpu, cuda"]),
])
def test_a_device_that_is_not_there_is_one_short_line(demo_folder, device, words):
    done = run_server(demo_folder, "--device", device)
    assert_refused(done, 1, *words)
    assert all(len(line) < 400 for line in done.stderr.splitlines()), done.stderr


def test_a_start_that_fails_tells_it_in_json(tmp_path):
    done = run_server(tmp_path / "nothing", "--log-format", "json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    last = lines[-1]
    assert last["severity"] == "ERROR"
    assert str(tmp_path / "nothing") in last["message"]


def test_a_model_is_required():
    done = subprocess.run([bin_dir() / "olmoe-server"], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert_refused(done, 2, "--model")


def test_help_and_version_succeed():
    for flag, word in (("--help", "--ports-file"), ("--version", "olmoe-server")):
        done = subprocess.run([bin_dir() / "olmoe-server", flag], capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)
        assert done.returncode == 0
        assert word in done.stdout
