"""Chat templates in jinja2's sandbox, set up as transformers does (utils/chat_template_utils.py).

Needs jinja2 (`olmoe[chat]`).
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from olmoe import _optional
from olmoe.chat import ChatError

with _optional.extra("chat"):
    import jinja2
    from jinja2 import ext, nodes, parser, sandbox, utils


def render(source: str, name: str, variables: Mapping[str, Any]) -> str:
    """The text of a template. ChatError, which begins with `name`, where it gives none."""
    try:
        return _compiled(source).render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise ChatError(f"{name}, line {error.lineno}: {error.message}") from error
    except jinja2.TemplateError as error:
        raise ChatError(f"{name} refuses the chat: {error}") from error
    # A template is a program: it may add a number to a text, or recurse without end.
    except Exception as error:  # pylint: disable=broad-except
        raise ChatError(f"{name} fails: {type(error).__name__}: {error}") from error


class _Generation(ext.Extension):
    """{% generation %} marks what the assistant says; in a prompt it is text like any other."""

    tags = {"generation"}

    def parse(self, parser: parser.Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(utils.Namespace):
    """Of {% set ns.found = true %}; without names that could reach Python's own."""

    def __init__(*arguments: Any, **attributes: Any) -> None:
        self, *given = arguments
        values = dict(*given, **attributes)
        for name in values:
            _check_name(name)
        utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no attribute {name!r}")


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    """jinja2's own escapes what HTML needs escaped."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _dict(*arguments: Any, **items: Any) -> dict[Any, Any]:
    """dict, without what hangs on the type."""
    return dict(*arguments, **items)


@functools.lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now,
                               dict=_dict, namespace=_Namespace)
    return environment.from_string(source)
