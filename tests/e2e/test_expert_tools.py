"""`olmoectl experts diff` and `olmoectl tokens` against the real server: what they print follows
from the server's counts, scores and traces, computed here anew."""

import itertools
import json
import math
import os
import pty
import struct

import pytest

import api
from server_process import ServerProcess

FOX = "Once upon a time there was a little fox who lived in a wood. He was very hungry."
SEA = "The captain of the ship was an old sailor, and he had a map of an island in the sea."


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--allow-inline-policy") as server:
        yield server


@pytest.fixture(autouse=True)
def _unpatched(server):
    server.unpatch()
    yield
    server.unpatch()


def score(server, text):
    server.ctl_json("score", "--rolling-text", text)


def since(server, cursor):
    return json.loads(server.ctl("experts", "--json", "--since", cursor).stdout)


def cursor_of(server):
    return server.ctl_json("experts")["cursor"]


def chi_squared(a, n, b, m):
    pooled = (a + b) / (n + m)
    z = (a / n - b / m) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return math.erfc(abs(z) / math.sqrt(2))


def fisher(a, n, b, m):
    """Exact: the tables of the same margins that are at most as likely, in whole numbers."""
    tables = {x: math.comb(n, x) * math.comb(m, a + b - x)
              for x in range(max(0, a + b - m), min(a + b, n) + 1)}
    return sum(ways for ways in tables.values() if ways <= tables[a]) / math.comb(n + m, a + b)


def counts(reading):
    """(layer, expert) -> tokens that ran it, of the tokens of the layer."""
    return {(layer["layer"], expert): (int(ran), int(layer["tokens"]))
            for arm in reading["arms"] for layer in arm["layers"]
            for expert, ran in enumerate(layer["expert_tokens"])}


def test_experts_diff_is_a_test_of_every_expert(server, tmp_path):
    start = cursor_of(server)
    score(server, FOX * 8)
    fox = since(server, start)
    file = tmp_path / "fox.json"
    file.write_text(json.dumps(fox))
    score(server, SEA * 8)
    sea = since(server, fox["cursor"])
    arguments = ("experts", "diff", "default", "default", "--from-file", file, "--since",
                 fox["cursor"])
    comparison = server.ctl_json(*arguments)["comparison"]
    before, after = counts(fox), counts(sea)
    assert len(comparison["experts"]) == len(before) == 16 * 64
    for row in comparison["experts"]:
        (a, n), (b, m) = before[row["layer"], row["expert"]], after[row["layer"], row["expert"]]
        assert (row["from"], row["to"]) == (a / n, b / m)
        small = min(n, m) * min(a + b, n + m - a - b) / (n + m) < 5
        assert row["test"] == ("fisher" if small and 0 < a + b < n + m else "chi-squared")
        expected = (1 if a + b in (0, n + m) else
                    fisher(a, n, b, m) if small else chi_squared(a, n, b, m))
        assert row["p"] == pytest.approx(expected, rel=1e-9)
    # Benjamini and Hochberg's step-up rule, as they wrote it.
    p_values = sorted(row["p"] for row in comparison["experts"])
    passed = [p for rank, p in enumerate(p_values, 1) if p <= rank / len(p_values) * 0.05]
    significant = [row for row in comparison["experts"] if row["significant"]]
    assert len(significant) == len([p for p in p_values if passed and p <= passed[-1]])
    assert significant and all(row["p"] <= passed[-1] for row in significant)
    assert sum(layer["significant"] for layer in comparison["layers"]) == len(significant)
    table = server.ctl(*arguments, "--top", 5)
    assert f"{len(significant)} of 1024 experts" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80


def test_the_same_text_twice_differs_in_nothing(server, tmp_path):
    start = cursor_of(server)
    score(server, FOX)
    first = since(server, start)
    file = tmp_path / "first.json"
    file.write_text(json.dumps(first))
    score(server, FOX)
    arguments = ("experts", "diff", "default", "default", "--from-file", file, "--since",
                 first["cursor"])
    experts = server.ctl_json(*arguments)["comparison"]["experts"]
    assert {row["p"] for row in experts} == {1}
    done = server.ctl(*arguments, "--suggest-steer", 3)
    assert done.returncode == 1 and "no expert's share differs" in done.stderr


def test_a_suggested_policy_steers(server, tmp_path):
    """Every token of another text runs the experts that it steers toward, none the others."""
    start = cursor_of(server)
    score(server, FOX)
    fox = since(server, start)
    (tmp_path / "fox.json").write_text(json.dumps(fox))
    score(server, SEA)
    plan = tmp_path / "plan.json"
    steering = server.ctl_json("experts", "diff", "default", "default", "--from-file",
                               tmp_path / "fox.json", "--since", fox["cursor"], "--suggest-steer",
                               5, "--plan-out", plan)["steering"]
    assert steering["k"] == 8 and len(steering["toward"]) == len(steering["away"]) == 5
    assert all(row["difference"] > 0 for row in steering["toward"])
    by_plan = server.ctl_json("patch", "--plan", plan)["current"]
    start = cursor_of(server)
    score(server, "A boy and a girl went to the market with a basket of eggs.")
    steered = counts(since(server, start))
    for row in steering["toward"]:
        ran, tokens = steered[row["layer"], row["expert"]]
        assert ran == tokens > 0
    for row in steering["away"]:
        assert steered[row["layer"], row["expert"]][0] == 0
    by_policy = server.ctl_json("patch", "--policy", steering["policy"])["current"]
    assert by_policy["digest"] == by_plan["digest"]


def entropy(logits):
    top = max(logits)
    powers = [math.exp(z - top) for z in logits]
    return -sum(p / sum(powers) * math.log(p / sum(powers)) for p in powers)


def test_tokens_are_what_the_trace_says(server):
    policy = "min-p=0.3,max=20"
    shown = server.ctl_json("tokens", FOX, "--policy", policy)
    assert "".join(token["piece"] for token in shown["tokens"]) == FOX
    request = api.inference.ScoreRequest(per_token=True)
    request.items.add(rolling=True, continuation_text=FOX)
    request.trace.experts = request.trace.weights = request.trace.logits = True
    request.routing.policy.policy_id = "same"
    request.routing.policy.apply.min_p.ratio = 0.3
    request.routing.policy.apply.min_p.max_k = 20
    result = server.stub.Score(request).results[0]
    assert shown["logprob_sum"] == result.logprob_sum
    assert [token["token_id"] for token in shown["tokens"]] == [t.token_id for t in result.tokens]
    assert [token["logprob"] for token in shown["tokens"]] == [t.logprob for t in result.tokens]
    trace = result.trace
    ends = [0, *itertools.accumulate(trace.counts)]
    logits = struct.unpack(f"<{len(trace.logits) // 4}f", trace.logits)
    for index, token in enumerate(shown["tokens"][:-1]):
        for layer in range(16):
            slot = (index + 1) * 16 + layer  # behind the row of the prefix token
            assert token["k"][layer] == trace.counts[slot]
            assert token["experts"][layer] == list(trace.experts[ends[slot]:ends[slot + 1]])
            assert token["entropy"][layer] == pytest.approx(
                entropy(logits[slot * 64:slot * 64 + 64]), rel=1e-4)
    assert shown["tokens"][-1]["k"] is None
    assert len({k for token in shown["tokens"][:-1] for k in token["k"]}) > 3


def test_tokens_as_a_table_and_from_a_file(server, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("A café in a wood\n")
    done = server.ctl("tokens", "--file", file, "--layer", 15, "--per-layer")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["#", "TOKEN", "PIECE", "PROB"] and "EXPERTS" in lines[0]
    assert "8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8" in lines[1]
    assert '"\\n"' in lines[-1] and lines[-1].split()[-3:] == ["-", "-", "-"]
    assert "perplexity" in done.stderr
    ids = ",".join(line.split()[1] for line in lines[1:])
    again = server.ctl("tokens", "--ids", "-", input=ids)
    assert [line.split()[1] for line in again.stdout.splitlines()] == \
        [line.split()[1] for line in lines]
    done = server.ctl("tokens", "x", "--layer", 16)
    assert done.returncode == 2 and "--layer 16: the model has 16 layers" in done.stderr


def test_tokens_are_coloured_on_a_terminal(server):
    reader, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = server.ctl("tokens", FOX, "--color-by", "entropy", capture_output=False,
                      stdout=terminal, env=environment)
    os.close(terminal)
    assert done.returncode == 0
    shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert "\x1b[48;5;" in shown and "entropy of the router over its maximum:" in shown


def test_a_long_text_is_refused_and_not_half_shown(server):
    done = server.ctl("tokens", "-", input="fox " * 20000)
    assert done.returncode == 4 and done.stdout == ""
    assert "RESPONSE_TOO_LARGE" in done.stderr
