"""Chats as prompts: the chat template of a model folder, rendered as transformers renders it.

    template = olmoe.ChatTemplate.read("models/OLMoE-1B-7B-0924-Instruct")
    client.generate(**template.request([{"role": "user", "content": "Hello!"}]), max_new_tokens=64)

Needs jinja2 (`olmoe[chat]`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict

from olmoe import _check

Message = Mapping[str, Any]
PathLike = str | os.PathLike[str]

_CONFIG = "tokenizer_config.json"
_FILE = "chat_template.jinja"
_FOLDER = "additional_chat_templates"  # of further ones, by name
# What templates may ask for; others of the folder are not theirs to see.
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token",
            "mask_token")


def _texts_by_name(name: str, value: Any) -> dict[str, str]:
    return {_check.text(f"a name of {name}", key): _check.text(f"{name}[{key!r}]", each)
            for key, each in _check.mapping(name, value, "a mapping of texts").items()}


class ChatError(ValueError):
    """A chat that the template does not render; the message says why."""


class ChatRequest(TypedDict):
    """What `ChatTemplate.request` gives of Client.generate's arguments."""

    prompt: str
    stop: list[str]
    add_special_tokens: bool


@dataclasses.dataclass(frozen=True)
class ChatTemplate(_check.Fields):
    """A chat template and the special tokens that it may use. Immutable.

    A template of a folder is a program of somebody else: it runs in jinja2's immutable sandbox, as
    in transformers, which bounds what it reaches but not its time and memory. What users write
    goes into the prompt as it is: who passes on the words of strangers has to look for special
    tokens in them.
    """

    _checks = {"Mapping[str, str]": lambda name, value: _texts_by_name(name, value)}

    source: str  # Jinja
    special_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = "chat template"  # in errors

    @classmethod
    def read(cls, folder: PathLike, name: str = "default") -> Self:
        """That of a model folder: chat_template.jinja or additional_chat_templates/NAME.jinja, else
        `chat_template` of tokenizer_config.json.

        OSError where the folder cannot be read; ChatError where it has no such template.
        """
        path = pathlib.Path(folder)
        config = _config(path)
        templates = _of_files(path) or _of_config(path, config)
        if name not in templates:
            has = f"its templates are {', '.join(sorted(templates))}" if templates else (
                f"neither a {_FILE} nor a chat_template in a {_CONFIG}; a model without one has "
                "not learned to chat")
            raise ChatError(f"{path} has no chat template {name!r}: {has}")
        special = {key: text for key in _SPECIAL if (text := _token(config.get(key))) is not None}
        return cls(templates[name], special, f"the chat template {name!r} of {path}")

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True,
               continue_final_message: bool = False,
               tools: Sequence[Mapping[str, Any]] | None = None,
               documents: Sequence[Mapping[str, Any]] | None = None, **variables: Any) -> str:
        """The prompt of a chat, special tokens included, so it is sent without further ones.

        messages: {"role": "user", "content": "..."} and what else the template knows.
        add_generation_prompt: with the beginning of the assistant's turn.
        continue_final_message: to the end of the last message's content, so that it goes on;
          without a generation prompt.
        tools: JSON schemas of functions. variables: of the template.
        ChatError where the template is none, refuses the chat (a role that it does not know, an
        order that it does not take), or fails. ImportError without jinja2.
        """
        from olmoe import _jinja
        chat = _messages(messages)
        if continue_final_message:
            if add_generation_prompt:
                raise ValueError("continue_final_message and add_generation_prompt: one of the two")
            chat[-1]["content"] = _check.text("the last content", chat[-1].get("content")) + _END
        text = _jinja.render(self.source, self.name, {
            **self.special_tokens, **_plain(variables), "messages": chat, "tools": _plain(tools),
            "documents": _plain(documents), "add_generation_prompt": add_generation_prompt})
        return _before_end(self.name, text) if continue_final_message else text

    def request(self, messages: Sequence[Message], **options: Any) -> ChatRequest:
        """Of Client.generate the arguments that continue a chat by the assistant's turn; `options`
        as of `render`. The turn ends with the model's end token, or with that of the folder."""
        end = self.special_tokens.get("eos_token")
        return ChatRequest(prompt=self.render(messages, **options), stop=[end] if end else [],
                           add_special_tokens=False)


# Behind a last message that goes on. Templates may trim the white space around a content.
_END = "<<the end of the last message>> "


def _before_end(name: str, text: str) -> str:
    before, found, after = text.rpartition(_END.strip())
    if not found:
        raise ChatError(f"{name} does not show the whole of the last message")
    return before if after.startswith(" ") else before.rstrip()


# ---- Files

def _config(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.exists():
        os.listdir(folder)  # OSError, with the folder's name, for what is none
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ChatError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise ChatError(f"{path}: not an object")
    return value


def _of_files(folder: pathlib.Path) -> dict[str, str]:
    paths = {path.stem: path for path in sorted((folder / _FOLDER).glob("*.jinja"))}
    if (folder / _FILE).exists():
        paths["default"] = folder / _FILE
    try:
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}
    except UnicodeDecodeError as error:
        raise ChatError(f"{folder}: a chat template is not UTF-8: {error}") from None


def _of_config(folder: pathlib.Path, config: Mapping[str, Any]) -> dict[str, str]:
    """One text, or a list of named ones."""
    given = config.get("chat_template")
    if given is None:
        return {}
    if isinstance(given, str):
        return {"default": given}
    try:
        return {_check.text("name", each["name"]): _check.text("template", each["template"])
                for each in given}
    except (TypeError, KeyError, ValueError):
        raise ChatError(f"{folder / _CONFIG}: chat_template is neither a text nor a list of "
                        '{"name": ..., "template": ...}') from None


def _token(value: Any) -> str | None:
    """Of "</s>" and of {"content": "</s>", ...}."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


# ---- What a template sees

def _plain(value: Any) -> Any:
    """JSON values; ChatError for others, whose methods a template could call."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_check.text("a key of the chat", key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    raise ChatError(f"a chat holds JSON values, not {value!r}")


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Keys that are None are left out: templates ask whether they are there."""
    def message(name: str, value: Any) -> dict[str, Any]:
        given = _check.mapping(name, value, 'a message, {"role": ..., "content": ...}')
        if not isinstance(given.get("role"), str):
            raise ChatError(f"{name} has no role")
        return {key: _plain(each) for key, each in given.items() if each is not None}
    made = _check.items("messages", messages, message, "messages")
    if not made:
        raise ChatError("messages: a chat has at least one")
    return made
