"""docs/reference/openapi.yaml against the real binary: schemathesis makes of the description what
it allows and what it forbids, and compares the answers with it."""

import http.client
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

import api
from server_process import DEADLINE_S, ServerProcess

TOKEN = "0123456789abcdef"
DESCRIPTION = api.SOURCE_DIR / "docs/reference/openapi.yaml"


@pytest.fixture(scope="module", name="server", params=["open", "guarded"])
def _server(request, demo_folder, tmp_path_factory):
    flags = ["--allow-inline-policy", "--completions-listen", "127.0.0.1:0"]
    if request.param == "guarded":
        tokens = tmp_path_factory.mktemp("openapi") / "tokens"
        tokens.write_text(f"ann:{TOKEN}\n")
        flags += ["--token-file", tokens]
    with ServerProcess(demo_folder, *flags) as server:
        yield server


@pytest.fixture(name="is_guarded")
def _is_guarded(server):
    return "--token-file" in server.process.args


def narrowed(demo_folder, is_guarded):
    """The description with what it cannot know of a server: its model's name and vocabulary, else
    most of what it allows would be refused for these, and whether it asks for a token."""
    description = yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8"))
    config = yaml.safe_load((demo_folder / "config.json").read_text(encoding="utf-8"))
    schemas = description["components"]["schemas"]
    schemas["TokenId"]["maximum"] = config["vocab_size"] - 1
    bodies = [schemas["CompletionRequest"]] + [
        description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for path in ("/tokenize", "/detokenize")]
    for body in bodies:
        body["properties"]["model"] = {"enum": [demo_folder.name, None]}
    description["security"] = [{"token": []}] if is_guarded else [{}]
    return description


def test_the_port_does_what_the_description_says(server, is_guarded, demo_folder, tmp_path):
    description = tmp_path / "openapi.yaml"
    description.write_text(yaml.safe_dump(narrowed(demo_folder, is_guarded)))
    token = [f"--header=Authorization: Bearer {TOKEN}"] if is_guarded else []
    done = subprocess.run(
        [pathlib.Path(sys.executable).with_name("schemathesis"), "run", description,
         f"--url=http://{server.address('completions')}", *token, "--checks=all",
         "--exclude-checks=positive_data_acceptance",  # openapi_checks.py has it
         "--phases=coverage,fuzzing,stateful", "--max-examples=25", "--generation-deterministic",
         f"--request-timeout={DEADLINE_S}", "--no-color", "--output-truncate=false"],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "openapi_checks",
                          "PYTHONPATH": str(pathlib.Path(__file__).parent)},
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 selected / 7 total" in done.stdout
    assert server.process.poll() is None, server.log()
    server.wait_until_idle()


# What no schema describes, as it is no JSON, or not one that is read.
MALFORMED = {
    "nothing": b"", "cut off": b'{"prompt": "a"', "more behind it": b'{"prompt": "a"}x',
    "a key twice": b'{"prompt": "a", "prompt": "b"}', "a comment": b'{"prompt": "a" /**/}',
    "not a number": b'{"prompt": "a", "top_p": NaN}',
    "infinity": b'{"prompt": "a", "top_p": 1e999}',
    "half a character": b'{"prompt": "\\ud800"}', "not UTF-8": b'{"prompt": "\xff"}',
    "a raw NUL": b'{"prompt": "a\0b"}', "depth": b'{"prompt": ' + 100_000 * b"[" + 100_000 * b"]",
}


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/detokenize"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_body_is_an_error_of_the_description(server, path, body):
    connection = http.client.HTTPConnection(server.address("completions"), timeout=DEADLINE_S)
    connection.request("POST", path, body, {"Authorization": f"Bearer {TOKEN}",
                                            "Content-Type": "application/json"})
    reply = connection.getresponse()
    error = json.loads(reply.read())["error"]
    connection.close()
    assert reply.status == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].startswith("the body: ")
