"""What callers give, checked before anything is sent: errors name the argument.

A value of a wrong type is a TypeError, one that cannot be sent a ValueError; what depends on the
model is the server's to say. Numbers of any library that follows Python's protocols are taken:
integers by __index__ (numpy, torch), others as numbers.Real. A bool is not a number here, because
it is a slip. A text is not a list of texts, because its letters are.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import numbers
import operator
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

# Longer ones would overflow the clock of gRPC's deadlines: 30 years are as good as no limit.
_LONGEST_WAIT_S = 1e9
_LONGEST_DURATION_S = 315_576_000_000  # of protobuf


def _wrong(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {wanted}, not {reprlib.repr(value)}")


def _is_bool(value: object) -> bool:
    # numpy's has no common type with Python's.
    return type(value).__name__ in ("bool", "bool_")


def boolean(name: str, value: Any) -> bool:
    """True or False, numpy's too."""
    if not _is_bool(value):
        raise _wrong(name, "True or False", value)
    return bool(value)


def integer(name: str, value: Any, *, bits: int = 32, least: int = 0) -> int:
    """`least`..2^bits - 1."""
    if _is_bool(value):
        raise _wrong(name, "an integer", value)
    try:
        number = operator.index(value)
    except TypeError:
        raise _wrong(name, "an integer", value) from None
    if not least <= number < 2 ** bits:
        raise ValueError(f"{name} must be {least}..{2 ** bits - 1}, is {reprlib.repr(number)}")
    return number


def real(name: str, value: Any) -> float:
    """Any number, infinities and NaN too."""
    if _is_bool(value) or not isinstance(value, numbers.Real):
        raise _wrong(name, "a number", value)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large: {reprlib.repr(value)}") from None


def seconds(name: str, value: Any) -> float:
    """A duration that protobuf can hold."""
    number = real(name, value)
    if not 0 <= number <= _LONGEST_DURATION_S:
        raise ValueError(f"{name} must be a number of seconds, 0 or more, is {value!r}")
    return number


def wait(name: str, value: Any) -> float | None:
    """How long to wait, in seconds; None and what is longer than a life: no limit."""
    if value is None:
        return None
    number = real(name, value)
    if not number >= 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or more, is {value!r}")
    return None if number > _LONGEST_WAIT_S else number


def text(name: str, value: Any) -> str:
    """What can be sent as UTF-8."""
    if not isinstance(value, str):
        raise _wrong(name, "a str", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} is not valid Unicode: a lone surrogate at character "
                         f"{error.start}") from None
    return value


def one_of(name: str, value: Any, kind: type[E]) -> E:
    """A member of an enum."""
    if not isinstance(value, kind):
        some = ", ".join(f"{kind.__name__}.{each.name}" for each in kind)
        raise _wrong(name, f"one of {some}", value)
    return value


def instance(name: str, value: Any, kind: type[T], wanted: str) -> T:
    """A value of a class, in words `wanted`."""
    if not isinstance(value, kind):
        raise _wrong(name, wanted, value)
    return value


def mapping(name: str, value: Any, wanted: str) -> Mapping[Any, Any]:
    """A mapping, in words `wanted`."""
    return instance(name, value, Mapping, wanted)  # type: ignore[type-abstract]


def optional(check: Callable[..., T], name: str, value: Any, **options: Any) -> T | None:
    """None, or what `check` takes."""
    return None if value is None else check(name, value, **options)


def items(name: str, value: Any, check: Callable[[str, Any], T], wanted: str) -> list[T]:
    """The items of any iterable but a text, bytes or a mapping; `check` takes name and item."""
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping) or not isinstance(
            value, Iterable):
        raise _wrong(name, f"a sequence of {wanted}", value)
    try:
        listed = list(value)
    except TypeError:  # an array without a dimension says that it can be iterated
        raise _wrong(name, f"a sequence of {wanted}", value) from None
    return [check(f"{name}[{i}]", item) for i, item in enumerate(listed)]


def texts(name: str, value: Any) -> list[str]:
    """Texts; one text alone is no list of them."""
    return items(name, value, text, "str")


def integers(name: str, value: Any) -> list[int]:
    """Integers 0..2^32 - 1, such as token ids or layers; bytes are not."""
    return items(name, value, integer, "integers")


def reals(name: str, value: Any) -> list[float]:
    """Numbers."""
    return items(name, value, real, "numbers")


def keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """TypeError for an unknown one."""
    known = list(known)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"no keyword {', '.join(unknown)}; keywords: {', '.join(known)}")


class Fields:
    """Checks the fields of a dataclass by their annotations as it is made.

    A subclass lists in `_checks` what is not built in. Values become plain ones: 4 for
    numpy.int64(4), a tuple for a list.
    """

    _checks: Mapping[str, Callable[[str, Any], Any]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            kind = str(field.type)
            value = getattr(self, field.name)
            if value is None and kind.endswith(" | None"):
                continue
            kind = kind.removesuffix(" | None")
            check = self._checks.get(kind) or _FIELDS[kind]
            object.__setattr__(self, field.name,
                               check(f"{type(self).__name__}: {field.name}", value))


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "int": integer,
    "float": real,
    "str": text,
    "bool": boolean,
    "tuple[int, ...]": lambda name, value: tuple(integers(name, value)),
    "Sequence[float]": lambda name, value: tuple(reals(name, value)),
}
