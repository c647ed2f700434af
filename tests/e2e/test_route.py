"""Random adjusted rules on random rows: `olmoectl route` against the slow, exact oracle."""

import importlib.util
import json
import pathlib
import random
import subprocess

import pytest

from server_process import DEADLINE_S, bin_dir

DATA = pathlib.Path(__file__).parent.parent / "data" / "selection"
CASES = 1500
NUDGE = 1e-4  # cases that change by it are left out: there rounding may decide
KEEPS = ("rank <= 3 || p > 0.2 * p1", "before < 0.6 && p > 0.02", "s > z - 1 && rank < 9",
         "expert * 3 > E ? rank <= 2 : rank <= 7", "p > 0.5 * entropy / E",
         "decode ? rank <= 2 : p >= p4", "z > 0", "min(rank, expert) < 3", "0")


def load_oracle():
    spec = importlib.util.spec_from_file_location("selection_oracle", DATA / "oracle.py")
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    return oracle


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def some(self, ids, most):
        """Up to `most` of the ids, which it takes away."""
        taken = self.random.sample(sorted(ids), self.random.randint(0, min(most, len(ids))))
        ids.difference_update(taken)
        return taken

    def adjust(self, experts):
        free, adjust = set(range(experts)), {}
        if self.chance(0.35):
            adjust["bias"] = {"scope": self.random.choice(["SELECT", "BOTH"]),
                              "values": [round(self.random.gauss(0, 2), 3)
                                         for _ in range(experts)]}
        if self.chance(0.3):
            toward, away = self.some(free, 3), self.some(free, 3)
            if toward or away:
                adjust["steer"] = {"toward": toward, "away": away,
                                   "epsilon": self.random.choice([0.01, 0.5, 3.0])}
        if self.chance(0.3):
            adjust["noise"] = {"tau": self.random.choice([0.1, 1.0, 50.0])}
        forced = self.some(free, 4) if self.chance(0.4) else []
        if self.chance(0.5):
            adjust["ban"] = self.some(free, max(0, experts // 2))
            adjust["ban_mass"] = self.random.choice(["KEEP", "REDISTRIBUTE"])
        if forced:
            adjust["force"] = forced
        return adjust

    def rule(self, experts):
        adjust = self.adjust(experts)
        left = experts - len(adjust.get("ban", []))
        kind = self.random.choice(["TOP_K", "TOP_P", "MIN_P", "BENJAMINI_HOCHBERG",
                                   "HIGHER_CRITICISM", "EXPRESSION"])
        rule = {"kind": kind, "adjust": adjust, "weight_mode": self.random.choice(
            ["NATIVE", "SUM_TO_ONE", "MATCH_TOP_K_MASS"])}
        if kind == "TOP_K":
            return rule | {"k": self.random.randint(1, left)}
        low = self.random.randint(1, left)
        rule |= {"min_k": low, "max_k": self.random.randint(low, left)}
        if kind in ("BENJAMINI_HOCHBERG", "HIGHER_CRITICISM"):
            rule |= {"pvalue": "ONE_MINUS_PROB",
                     "temperature": self.random.choice([0.5, 1.0, 2.0])}
        return rule | {"TOP_P": {"p": round(self.random.uniform(0.05, 1), 3)},
                       "MIN_P": {"ratio": round(self.random.uniform(0.01, 1), 3)},
                       "BENJAMINI_HOCHBERG": {"alpha": round(self.random.uniform(0.1, 1), 3)},
                       "HIGHER_CRITICISM": {"beta": round(self.random.uniform(0.1, 1), 3)},
                       "EXPRESSION": {"keep": self.random.choice(KEEPS)}}[kind]

    def case(self, index):
        experts = self.random.choice([2, 7, 8, 16, 64])
        case = {"id": index, "E": experts, "k0": self.random.randint(1, min(8, experts)),
                "layer": self.random.randint(0, 3), "layers": 4,
                "position": self.random.randint(0, 40), "prompt_tokens": 20,
                "routing_seed": self.random.getrandbits(64),
                "logits": [round(self.random.gauss(0, 2), 4) for _ in range(experts)],
                "policy": self.rule(experts)}
        if self.chance(0.3):
            case["decode"] = self.rule(experts)
        elif self.chance(0.3):
            case["base"] = self.rule(experts)
        return case

    def nudged(self, case):
        return case | {"logits": [z + self.random.choice([-NUDGE, NUDGE])
                                  for z in case["logits"]]}


def decisions(expected):
    """What may not depend on rounding."""
    return {key: value for key, value in expected.items()
            if key not in ("weights", "p_first", "s_first", "candidate")} | {
                "candidate": {key: value for key, value in expected.get("candidate", {}).items()
                              if key not in ("p_first", "s_first")}}


def test_random_adjusted_rules_are_those_of_the_oracle(tmp_path):
    oracle, generator = load_oracle(), Generator(1)
    cases, expected = [], []
    for index in range(CASES):
        case = generator.case(index)
        wanted = oracle.route(case, {})
        if all(decisions(oracle.route(generator.nudged(case), {})) == decisions(wanted)
               for _ in range(2)):
            cases.append(case)
            expected.append(wanted)
    assert len(cases) > 0.8 * CASES
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    done = subprocess.run([str(bin_dir() / "olmoectl"), "route", "--cases", str(path)],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    for case, wanted, answer in zip(cases, expected, answers):
        assert decisions(answer) == decisions(wanted), case
        assert answer["weights"] == pytest.approx(wanted["weights"], rel=2e-5, abs=1e-37), case
