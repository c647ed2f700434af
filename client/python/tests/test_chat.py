"""Chats become the prompts that transformers makes of them, and errors say what is wrong."""

import json
import subprocess
import sys

import pytest
import transformers

import api
import olmoe
from server_process import DEADLINE_S

TOKENIZER = api.SOURCE_DIR / "tests/data/tokenizer-olmoe/tokenizer.json"

# In the manner of the models that have them.
OLMOE = """{{ bos_token }}{% for message in messages %}
{% if message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] }}
{% elif message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
CHATML = """{% for message in messages %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
STRICT = """{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}
{%- set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate user/assistant') }}{% endif %}
{%- if loop.first and system %}[SYS]{{ system }}[/SYS]{% endif %}
{%- if message['role'] == 'user' %}[INST] {{ message['content'] | trim }} [/INST]
{%- else %}{% generation %} {{ message['content'] | trim }}{{ eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}"""
TOOLS = """{%- set ns = namespace(calls=0) %}
{%- if tools %}{{ bos_token }}TOOLS
{% for tool in tools %}
    {{ tool | tojson }}
    {{ tool.function.parameters | tojson(indent=2) }}
{% endfor %}{% endif %}
{%- for message in messages %}
{%- if message.tool_calls is defined %}{% for call in message.tool_calls %}
{%- set ns.calls = ns.calls + 1 %}
<call n={{ ns.calls }}>{{ call.function.name }} {{ call.function.arguments | tojson }}</call>
{%- endfor %}
{%- elif message.role == 'hidden' %}{% continue %}
{%- else %}
<{{ message.role }}{% if style %} {{ style }}{% endif %}>{{ message.content }}
{%- endif %}
{%- endfor %}
{% if add_generation_prompt %}<assistant>{% endif %}"""

SHORT = [{"role": "user", "content": " Who is there? "}]
LONG = [{"role": "system", "content": "Be kind.\n"}, *SHORT,
        {"role": "assistant", "content": "<b>The fox & the hen</b> \u4e2d\u6587"},
        {"role": "user", "content": "And then?"}]
TOOL = {"type": "function", "function": {
    "name": "weather", "description": "It's the \"weather\" <here> \u00e9",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}}
CALLS = [*SHORT, {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "function": {"name": "weather", "arguments": {"place": "K\u00f6ln"}}}]},
    {"role": "hidden", "content": "x"}, {"role": "tool", "content": "rain"}]
SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}


def model_folder(folder, template=None, *, file=None, **config):
    """A folder as of a model, as far as tokens go."""
    (folder / "tokenizer.json").symlink_to(TOKENIZER)
    if template is not None:
        config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL, **config}))
    if file is not None:
        (folder / "chat_template.jinja").write_text(file)
    return folder


CASES = [(OLMOE, SHORT, {}), (OLMOE, LONG, {}), (OLMOE, LONG, {"add_generation_prompt": False}),
         (CHATML, SHORT, {}), (CHATML, LONG, {"add_generation_prompt": False}),
         (STRICT, SHORT, {}), (STRICT, LONG, {}),
         (TOOLS, SHORT, {"tools": [TOOL]}), (TOOLS, CALLS, {"tools": [TOOL, TOOL]}),
         (TOOLS, CALLS, {"style": "loud"}),
         *[(template, [*LONG, {"role": "assistant", "content": "Once upon"}],
            {"add_generation_prompt": False, "continue_final_message": True})
           for template in (OLMOE, CHATML, STRICT)]]


@pytest.mark.parametrize("template,messages,options", CASES)
def test_a_chat_is_rendered_as_transformers_renders_it(tmp_path, template, messages, options):
    model_folder(tmp_path, template)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        messages, tokenize=False, **{"add_generation_prompt": True, **options})
    assert olmoe.ChatTemplate.read(tmp_path).render(messages, **options) == theirs


def test_the_file_comes_before_the_configuration_and_names_are_known(tmp_path):
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    folder = model_folder(tmp_path, named)
    assert olmoe.ChatTemplate.read(folder, "tool_use").source == "t"
    (folder / "chat_template.jinja").write_text("file")
    assert olmoe.ChatTemplate.read(folder).source == "file"
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/rag.jinja").write_text("rag")
    assert olmoe.ChatTemplate.read(folder, "rag").source == "rag"
    assert transformers.AutoTokenizer.from_pretrained(folder).chat_template == {
        "default": "file", "rag": "rag"}


def test_a_token_may_be_an_object(tmp_path):
    folder = model_folder(tmp_path, OLMOE, eos_token={"content": "</s>", "lstrip": False},
                          bos_token=None)
    template = olmoe.ChatTemplate.read(folder)
    assert template.special_tokens == {"eos_token": "</s>", "pad_token": "<|padding|>"}
    assert template.request(SHORT)["stop"] == ["</s>"]


def test_a_folder_without_a_template_says_so(tmp_path):
    with pytest.raises(olmoe.ChatError, match="no chat template 'default': neither a chat_template"):
        olmoe.ChatTemplate.read(model_folder(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        olmoe.ChatTemplate.read(tmp_path / "nowhere")
    (tmp_path / "chat_template.jinja").write_text("x")
    with pytest.raises(olmoe.ChatError, match="no chat template 'rag': its templates are default"):
        olmoe.ChatTemplate.read(tmp_path, "rag")


@pytest.mark.parametrize("config,told", [
    ("{", "tokenizer_config.json"), ("[]", "not an object"),
    ('{"chat_template": 3}', "neither a text nor a list"),
    ('{"chat_template": [{"name": "a"}]}', "neither a text nor a list")])
def test_a_configuration_that_is_none_is_named(tmp_path, config, told):
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(olmoe.ChatError, match=told):
        olmoe.ChatTemplate.read(tmp_path)


@pytest.mark.parametrize("template,messages,told", [
    (STRICT, [*SHORT, *SHORT], "refuses the chat: roles must alternate user/assistant"),
    ("{% for m in messages %}", SHORT, "line 1: Unexpected end of template"),
    ("\n{{ messages | no_filter }}", SHORT, "line 2: No filter named"),
    ("{{ messages[0]['content'] + 1 }}", SHORT, "fails: TypeError"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", SHORT, "fails: RecursionError"),
    ("{{ messages[0].missing.more }}", SHORT, "refuses the chat: 'dict object' has no attribute"),
    ("x", [], "a chat has at least one"), ("x", [{"content": "a"}], r"messages\[0\] has no role"),
    ("x", [{"role": "user", "content": object()}], "a chat holds JSON values")])
def test_a_chat_that_cannot_be_rendered_says_why(template, messages, told):
    with pytest.raises(olmoe.ChatError, match=told):
        olmoe.ChatTemplate(template).render(messages)


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ dict.__subclasses__() }}",
    "{{ raise_exception.__globals__ }}", "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
    "{{ namespace(_a=1) }}", "{{ cycler.__init__.__globals__ }}"])
def test_a_template_does_not_leave_its_sandbox(template):
    try:
        shown = olmoe.ChatTemplate(template).render(SHORT)
    except olmoe.ChatError:
        return
    assert shown == ""


def test_wrong_arguments_are_told():
    template = olmoe.ChatTemplate(CHATML)
    for messages in ("hello", {"role": "user"}, ["hello"], None):
        with pytest.raises(TypeError, match="messages"):
            template.render(messages)
    with pytest.raises(ValueError, match="one of the two"):
        template.render(SHORT, continue_final_message=True)


def test_a_reply_ends_with_the_turn(client):
    template = olmoe.ChatTemplate(CHATML, {"eos_token": " the"})
    request = template.request(SHORT)
    assert request["prompt"].endswith("<|im_start|>assistant\n")
    whole = client.generate(request["prompt"], 24, temperature=0, add_special_tokens=False)
    reply = client.generate(**request, max_new_tokens=24, temperature=0)
    assert " the" in whole.text and reply.text == whole.text.partition(" the")[0]
    # The template has the special tokens: none is added.
    assert reply.usage.prompt_tokens == len(client.tokenize(request["prompt"]).ids)


def test_the_client_needs_no_jinja2():
    program = ("import sys\nsys.modules['jinja2'] = None\nimport olmoe\n"
               "try:\n  olmoe.ChatTemplate('x').render([{'role': 'user'}])\n"
               "except ImportError as error:\n  print(error)\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)
    assert 'pip install "olmoe[chat]"' in done.stdout, done.stderr
