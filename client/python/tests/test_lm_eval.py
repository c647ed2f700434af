"""The model `olmoe` of lm-eval asks for what lm-eval's own models compute."""

import json
import math
import statistics
import subprocess
import sys

import pytest
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

import api
import olmoe
from olmoe.lm_eval import OlmoeLM, answers, compare
from olmoe.lm_eval.__main__ import main
from olmoe.lm_eval.answers import Continuation
from server_process import DEADLINE_S

TASKS = api.SOURCE_DIR / "tests/data/lm_eval"


def instances(kind, *arguments):
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


def of_python(program):
    """What a program prints in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(name="model")
def _model(server):
    return OlmoeLM(server.address())


def test_lm_eval_knows_the_model_without_an_import():
    assert of_python("from lm_eval.api.registry import get_model\n"
                     "print(get_model('olmoe').__module__, get_model('local-completions').__name__)"
                     ) == "olmoe.lm_eval.model LocalCompletionsAPI"


def test_a_start_of_python_imports_neither_lm_eval_nor_the_client():
    assert of_python("import sys\n"
                     "print([each for each in ('_olmoe_lm_eval', 'olmoe', 'lm_eval')"
                     " if each in sys.modules])") == "['_olmoe_lm_eval']"


class ByTokens(TemplateLM):
    """lm-eval's own splitting into tokens, as its `hf` model does it; each pair is one call."""

    def __init__(self, client):
        super().__init__()
        self._client = client
        self._info = client.model_info()

    @property
    def eot_token_id(self):
        return self._info.eos_token_id

    def tok_encode(self, string, add_special_tokens=None, **_):
        return list(self._client.tokenize(string).ids)

    def _loglikelihood_tokens(self, requests, **_):
        scores = [self._client.score(context, continuation)
                  for _, context, continuation in requests]
        return [(score.logprob_sum, score.is_greedy) for score in scores]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        totals = []
        for (text,) in (each.args for each in requests):
            windows = map(utils.make_disjoint_window, utils.get_rolling_token_windows(
                self.tok_encode(text), self.prefix_token_id, self._info.max_context, 1))
            totals.append(sum(answer[0] for answer in self._loglikelihood_tokens(
                [(None, *window) for window in windows])))
        return totals

    def generate_until(self, requests, disable_tqdm=False):
        raise NotImplementedError


PAIRS = [
    ("Once upon a", " time"),
    ("Once upon a ", "time"),  # white space at the end of the context
    ("Once upon a \n\t", "time there"),
    ("Once upon a\n\n", "The king"),
    ("", "The king went home."),  # no context
    ("", " "),
    ("", "<|endoftext|>The king"),  # it begins with the prefix itself
    ("One<|endoftext|>Once", " upon a time"),
    ("Caf\u00e9 \u4e2d\u6587 \U0001f600", " et th\u00e9"),
    ("Question: who?\nAnswer:", " the fox"), ("Question: who?\nAnswer:", " the hen"),
    # Longer than the model's context.
    ("The little rabbit ran home. " * 700, " And then it slept."),
]


@pytest.mark.parametrize("batch_size,num_concurrent", [(1, 1), ("3", 8), (256, 2), ("auto:4", 8)])
def test_pairs_are_split_and_scored_as_lm_eval_does(server, client, batch_size, num_concurrent):
    asked = instances("loglikelihood", *PAIRS)
    theirs = ByTokens(client).loglikelihood(asked, disable_tqdm=True)
    model = OlmoeLM(server.address(), batch_size=batch_size, num_concurrent=num_concurrent)
    assert model.loglikelihood(asked, disable_tqdm=True) == theirs


def test_texts_roll_in_the_windows_of_lm_eval(client, model):
    asked = instances("loglikelihood_rolling", ("Once upon a time.",), ("",), (" The end\n",),
                      ("The little rabbit ran home. " * 700,))
    theirs = ByTokens(client).loglikelihood_rolling(asked)
    mine = model.loglikelihood_rolling(asked, disable_tqdm=True)
    assert mine == pytest.approx(theirs, rel=1e-12, abs=0) and mine[1] == 0


def test_a_continuation_without_a_token_of_its_own_is_named(model):
    with pytest.raises(olmoe.InvalidRequest) as error:
        model.loglikelihood(instances("loglikelihood", ("The little rab", "bit"),
                                      ("The little rab", " ran")), disable_tqdm=True)
    assert error.value.__notes__ == ["context 'The little rab', continuation 'bit'"]


# ---- Generation

def generated(model, context, **kwargs):
    return model.generate_until(instances("generate_until", (context, kwargs)),
                                disable_tqdm=True)[0]


def test_generation_ends_where_the_task_says(client, model):
    prompt = "Once upon a time there was"
    whole = client.generate(prompt, 24, temperature=0, add_special_tokens=False).text
    assert generated(model, prompt, max_gen_toks=24, until=[]) == whole
    assert generated(model, prompt, max_new_tokens=24) == whole
    words = whole.split(" ")
    assert generated(model, prompt, max_gen_toks=24, until=" " + words[3]) == " ".join(words[:3])
    # More of them than Generate takes, and one that is too long for it.
    many = [f"<{i}>" for i in range(70)] + ["", "x" * 300, " " + words[2]]
    assert generated(model, prompt, max_gen_toks=24, until=many) == " ".join(words[:2])


def test_a_context_that_is_too_long_loses_its_beginning(client, model):
    text = "The little rabbit ran home. " * 700
    ids = client.tokenize(text).ids
    room = client.model_info().max_context - 4
    assert generated(model, text, max_gen_toks=4) == client.generate(
        ids[-room:], 4, temperature=0).text
    assert generated(model, "", max_gen_toks=4) == client.generate([0], 4, temperature=0).text
    with pytest.raises(ValueError, match="max_gen_toks must be less than the model's context"):
        generated(model, text, max_gen_toks=100_000)


def test_repeats_of_a_sampled_request_differ_and_come_again(server):
    asked = instances("generate_until", *[("Once upon a time", {
        "do_sample": True, "temperature": 1.0, "top_p": 0.95, "max_gen_toks": 12})] * 3)
    first = OlmoeLM(server.address(), seed=5).generate_until(asked, disable_tqdm=True)
    assert len(set(first)) == 3
    assert OlmoeLM(server.address(), seed=5, num_concurrent=1).generate_until(
        asked, disable_tqdm=True) == first


def test_what_a_task_wants_and_the_server_cannot_is_told():
    with pytest.raises(ValueError, match="generation_kwargs: num_beams: the model olmoe has until"):
        Continuation.of("Once", {"num_beams": 4, "temperature": 0.5}, 8, 1)
    assert Continuation.of("Once", {"do_sample": False, "temperature": 0.5}, 8, 1).sampling == {
        "temperature": 0.0, "seed": 1}


def test_a_chat_template_is_that_of_a_folder(server, tmp_path):
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}")
    model = OlmoeLM(server.address(), chat_template=tmp_path)
    chat = [{"role": "user", "content": "Who?"}]
    assert model.chat_template(True).startswith("{% for m in messages %}")
    assert model.apply_chat_template(chat) == "<user>Who?\n<assistant>"
    assert model.apply_chat_template([*chat, {"role": "assistant", "content": "Well"}],
                                     add_generation_prompt=False) == "<user>Who?\n<assistant>Well"
    with pytest.raises(ValueError, match="needs chat_template=FOLDER"):
        OlmoeLM(server.address()).chat_template(True)


# ---- Calls and routing

def test_choices_of_a_question_share_a_call():
    pairs = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("c", "2"), ("c", "3")]
    assert list(map(len, answers.calls(pairs, 1, 256))) == [2, 1, 3]
    assert list(map(len, answers.calls(pairs, 1, 2))) == [2, 1, 2, 1]
    assert list(map(len, answers.calls(pairs, 3, 256))) == [3, 3]
    assert list(map(len, answers.calls([(None, "a"), (None, "b")], 1, 256))) == [1, 1]
    assert sum(answers.calls(pairs, 4, 256), []) == pairs


def test_an_arm_and_a_policy_score_by_their_routing(server, client, admin):
    admin.patch(olmoe.Experiment({
        "a": olmoe.Arm("native", 1, allow_explicit=True),
        "b": olmoe.Arm("top-k=1", 1, allow_explicit=True)}))
    asked = instances("loglikelihood", ("Once upon a", " time"))
    native, one = (client.score("Once upon a", " time", policy=each).logprob_sum
                   for each in ("native", "top-k=1"))
    for arguments, nats in (({"arm": "a"}, native), ({"arm": "b"}, one),
                            ({"policy": "top-k=1"}, one), ({"policy": olmoe.Native()}, native)):
        model = OlmoeLM(server.address(), **arguments)
        assert model.loglikelihood(asked, disable_tqdm=True)[0][0] == nats
        told = model.get_model_info()["olmoe"]
        assert told["arm"] == arguments.get("arm", "inline")
        assert told["weights_digest"] == client.model_info().weights_digest


@pytest.mark.parametrize("arguments,error", [
    ({"arm": "nobody"}, olmoe.PermissionDenied), ({"policy": "top-q=1"}, ValueError),
    ({"policy": "top-k=65"}, olmoe.InvalidRequest), ({"arm": "a", "policy": "native"}, ValueError),
    ({"num_concurrent": 0}, ValueError), ({"batch_size": 257}, ValueError),
    ({"batch_size": "many"}, TypeError),
    ({"unit_id": 7}, TypeError)])
def test_what_cannot_be_is_told_before_anything_is_evaluated(server, arguments, error):
    with pytest.raises(error):
        OlmoeLM(server.address(), **arguments)


def test_a_change_of_the_arm_in_use_is_told_and_one_of_another_is_not(server, admin):
    def plan(control, treatment):
        return olmoe.Experiment({"control": olmoe.Arm(control, allow_explicit=True),
                                 "treatment": olmoe.Arm(treatment, allow_explicit=True)})
    first = admin.patch(plan("native", "top-k=2")).current.generation
    model = OlmoeLM(server.address(), arm="control")
    asked = instances("loglikelihood", ("Once upon a", " time"))
    before = model.loglikelihood(asked, disable_tqdm=True)
    last = admin.patch(plan("native", "top-k=3")).current.generation
    assert model.loglikelihood(asked, disable_tqdm=True) == before
    told = model.get_model_info()["olmoe"]
    assert (told["first_generation"], told["last_generation"]) == (first, last)
    admin.patch(plan("top-k=4", "top-k=3"))
    with pytest.raises(olmoe.Conflict, match="has changed during the evaluation") as error:
        model.loglikelihood(asked, disable_tqdm=True)
    assert error.value.code == "ABORTED"


# ---- Comparisons

@pytest.fixture(name="tasks")
def _tasks(monkeypatch, tmp_path):
    """Those of tests/data, read without the hub."""
    monkeypatch.chdir(api.SOURCE_DIR)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return TaskManager(include_path=str(TASKS), include_defaults=False)


def test_the_paired_rows_are_those_of_the_documents(server, client, tasks):
    models = {name: OlmoeLM(server.address(), policy=name) for name in ("native", "top-k=1")}
    compared = compare(models, ["demo_questions", "demo_stories"], limit=6,
                       task_manager=tasks)
    rows = {(row.metric, row.subject): row for row in compared.rows}
    arc, = olmoe.evaluate(client, olmoe.Corpus("arc", questions=olmoe.Corpus.read(
        "deploy/demo/data/arc_easy.jsonl").questions[:6]), ["native", "top-k=1"]).rows[1:]
    one = rows["acc", "top-k=1"]
    assert (one.value, one.difference, one.difference_low, one.difference_high) == (
        arc.acc, arc.difference, arc.difference_low, arc.difference_high)
    assert rows["acc", "native"].difference is None and one.documents == 6
    # Perplexities as olmoe.evaluate compares losses, but for each word.
    stories = [json.loads(line)["text"] for line in
               (TASKS / "stories.jsonl").read_text().splitlines()][:6]
    losses = [[client.score_rolling(text, policy=policy).logprob_sum for text in stories]
              for policy in ("native", "top-k=1")]
    words = sum(len(text.split()) for text in stories)
    byte = rows["bits_per_byte", "top-k=1"]
    assert byte.difference == pytest.approx(
        sum(a - b for a, b in zip(*losses)) / math.log(2) / sum(len(text) for text in stories))
    word = rows["word_perplexity", "top-k=1"]
    assert word.difference == pytest.approx(
        math.log(word.value / rows["word_perplexity", "native"].value))
    assert word.difference == pytest.approx(sum(a - b for a, b in zip(*losses)) / words, rel=1e-2)
    assert 0 < word.difference_low < word.difference < word.difference_high and word.stderr > 0
    assert compared.answered["top-k=1"]["policy_id"] == "top-k-1"


def test_the_standard_error_of_equal_weights_is_that_of_a_mean():
    values = [0.0, 1.0, 1.0, -1.0, 0.5]
    assert olmoe._bootstrap.standard_error(values, [1.0] * 5) == pytest.approx(
        statistics.stdev(values) / math.sqrt(5))
    assert olmoe._bootstrap.standard_error(values[:1], [1.0]) is None


def test_the_command_compares_arms_and_tells_what_answered(server, admin, tasks, capsys):
    del tasks
    admin.patch(olmoe.Experiment({
        "control": olmoe.Arm("native", allow_explicit=True),
        "treatment": olmoe.Arm("top-k=1", allow_explicit=True)}))
    common = ["--target", server.address(), "--include_path", str(TASKS), "--limit", "3"]
    assert main([*common, "--tasks", "demo_questions,demo_endings", "--arm", "control", "--arm",
                 "treatment"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in table[1:7:2]] == [
        ["demo_questions", "acc"], ["demo_questions", "acc_norm"], ["demo_endings", "exact_match"]]
    assert "arm treatment: arm treatment, policy top-k-1" in table[-1]
    assert main([*common, "--tasks", "demo_endings", "--arm", "nobody"]) == 1
    assert "ARM_NOT_ALLOWED" in capsys.readouterr().err
    assert main([*common, "--tasks", "no_such_task"]) == 1
    assert "no_such_task" in capsys.readouterr().err
