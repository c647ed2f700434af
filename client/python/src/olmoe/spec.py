"""olmoectl's text form of policies, both ways.

The keys are the fields of each rule's message: a rule that is added to routing.proto can be
written at once. Only the form is checked; what is in range is the server's to say.
"""

from __future__ import annotations

import decimal
import math
import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from olmoe.v1 import routing_pb2

# Of a descriptor, which has several classes, one for each implementation of protobuf.
_Field = Any

_KINDS: list[_Field] = list(routing_pb2.Rule.DESCRIPTOR.oneofs_by_name["kind"].fields)
_WEIGHTS: _Field = routing_pb2.Rule.DESCRIPTOR.fields_by_name["weight_mode"]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_NAME = 32
_HASH_LENGTH = 6
_MAX_LAYERS = 1024


def _key(field: _Field) -> str:
    """"min" for min_k, "calibration" for calibration_id, "top-k" for top_k."""
    name = re.sub(r"^(min|max)_k$", r"\1", field.name)
    return name.removesuffix("_id").replace("_", "-")


def _words(field: _Field) -> dict[str, int]:
    """The values of an enum by their words, without the unspecified one."""
    values = field.enum_type.values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower().replace("_", "-"): value.number
            for value in values[1:]}


def _main(kind: _Field) -> _Field:
    """The parameter that needs no key."""
    return _parameters(kind)[0]


def _parameters(kind: _Field) -> list[_Field]:
    return list(kind.message_type.fields)


def _example(field: _Field) -> str:
    return "4" if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32 else "0.4"


def _required(kind: _Field) -> bool:
    return bool(kind.name != "hc")  # without its beta, it searches on its own


# ---- Text to policy

class _RuleParser:
    """Sets the parts of one rule and collects what is wrong with them."""

    def __init__(self, kind: _Field) -> None:
        self.rule = routing_pb2.Rule()
        self.layers: tuple[int, ...] = ()
        self.analyze = False
        self._kind = kind
        self._message: Any = getattr(self.rule, kind.name)
        self._message.SetInParent()
        self._seen: set[str] = set()
        self._errors: list[str] = []

    def parse(self, arguments: str) -> None:
        """ValueError where a part is wrong."""
        for index, part in enumerate(arguments.split(",") if arguments else ()):
            self._add(part.strip(), first=index == 0)
        main = _key(_main(self._kind))
        if _required(self._kind) and main not in self._seen:
            self._errors.append(f"{main} is missing, as in {_key(self._kind)}="
                                f"{_example(_main(self._kind))}")
        if self._errors:
            raise ValueError(f"{_key(self._kind)}: {'; '.join(self._errors)}")

    def _add(self, part: str, first: bool) -> None:
        key, equals, value = (each.strip() for each in part.partition("="))
        if first and not equals and key != "analyze":
            key, value = _key(_main(self._kind)), key
        if key in self._seen:
            self._errors.append(f"{key} is given twice")
            return
        self._seen.add(key)
        error = self._set(key, value)
        if error:
            self._errors.append(f"{key}{'' if key == 'analyze' else '='}{value} {error}")

    def _set(self, key: str, value: str) -> str:
        """What is wrong with the part, or nothing."""
        if key == "analyze":
            self.analyze = True
            return "takes no value" if value else ""
        if key == "layers":
            return self._set_layers(value)
        if key == "weights":
            return self._set_field(self.rule, _WEIGHTS, value)
        for field in _parameters(self._kind):
            if _key(field) == key:
                return self._set_field(self._message, field, value)
        keys = [*map(_key, _parameters(self._kind)), "weights", "layers", "analyze"]
        return f"is not a key of {_key(self._kind)}; keys: {', '.join(keys)}"

    def _set_layers(self, value: str) -> str:
        layers: set[int] = set()
        for part in value.split("+"):
            match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last or last >= _MAX_LAYERS:
                return "is not a list of layers such as 0-3+7"
            layers.update(range(first, last + 1))
        self.layers = tuple(sorted(layers))
        return ""

    def _set_field(self, message: Any, field: _Field, value: str) -> str:
        parsed: object = value
        try:
            if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
                parsed = float(value)
            elif field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
                parsed = int(value) if value.isdecimal() and value.isascii() else None
            elif field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
                if value not in _words(field):
                    return f"is not one of {', '.join(_words(field))}"
                parsed = _words(field)[value]
            if parsed is None:
                return "is not a number of experts"
            if parsed == 0 and self._zero_is_unset(field):
                return "is not above 0; leave it out for the default"
            setattr(message, field.name, parsed)
        except ValueError:
            return "is not a number"
        return "is empty" if value == "" else ""

    def _zero_is_unset(self, field: _Field) -> bool:
        """The wire would turn this 0 into the default instead of refusing it."""
        main = field.number == _main(self._kind).number and _required(self._kind)
        return not field.has_presence and not main


def _parse_rule(text: str) -> _RuleParser:
    match = re.fullmatch(r"([^=:,]*)(?:[=:,](.*))?", text, re.DOTALL)
    assert match is not None
    name = match[1].strip()
    kind = next((each for each in _KINDS if _key(each) == name), None)
    if kind is None:
        raise ValueError(f'"{name}" is not a rule; rules: {", ".join(map(_key, _KINDS))}')
    parser = _RuleParser(kind)
    parser.parse(match[2] or "")
    return parser


def _add_rule(rule: _RuleParser, policy: routing_pb2.RoutingPolicy) -> None:
    target: routing_pb2.RoutingPolicy | routing_pb2.LayerOverride = policy
    if rule.layers:
        same = (each for each in policy.layer_overrides if tuple(each.layers) == rule.layers)
        target = next(same, None) or policy.layer_overrides.add(layers=rule.layers)
    name = "analyze" if rule.analyze else "apply"
    if target.HasField(name):
        raise ValueError(f"{_format_rule(rule.rule, rule.layers, rule.analyze)}: these layers "
                         f"have a rule {'to analyze ' if rule.analyze else ''}already")
    getattr(target, name).CopyFrom(rule.rule)


def parse_policy(text: str) -> routing_pb2.RoutingPolicy:
    """The policy of "[NAME@]native" or "[NAME@]RULE[/RULE]...".

    ValueError names every part that is wrong.
    """
    policy = routing_pb2.RoutingPolicy()
    name, at, rules = text.strip().partition("@")
    if at:
        if not _NAME.fullmatch(name):
            raise ValueError(f'"{name}" is not a name: 1 to 32 of a-z, 0-9 and -, not - first')
        policy.policy_id = name
    else:
        rules = name
    errors = []
    for index, part in enumerate(rules.split("/")):
        if index == 0 and part.strip() == "native":
            continue
        try:
            _add_rule(_parse_rule(part), policy)
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("; ".join(errors))
    return policy


# ---- Policy to text

def _value(message: Any, field: _Field) -> str:
    value = getattr(message, field.name)
    if field.enum_type is not None:
        return next(word for word, number in _words(field).items() if number == value)
    if isinstance(value, float):
        return _shortest(value)
    return str(value)


def _shortest(value: float) -> str:
    """As olmoectl: the fewest digits that give the same double again, 1e-04 if that is shorter."""
    if not math.isfinite(value):
        return str(value)
    number = decimal.Decimal(repr(value)).normalize()
    fixed = format(number, "f")
    mantissa, _, exponent = format(number, "e").partition("e")
    scientific = f"{mantissa}e{int(exponent):+03d}"
    return scientific if len(scientific) < len(fixed) else fixed


def _is_default(message: Any, field: _Field) -> bool:
    """Leaving the field out means the same."""
    if field.has_presence and not message.HasField(field.name):
        return True
    value = getattr(message, field.name)
    if field.enum_type is not None:
        return bool(value <= 1)
    if field.has_presence:
        return bool(value == 1)
    return not value


def _format_layers(layers: tuple[int, ...]) -> str:
    ranges: list[list[int]] = []
    for layer in layers:
        if ranges and layer == ranges[-1][1] + 1:
            ranges[-1][1] = layer
        else:
            ranges.append([layer, layer])
    return "+".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _format_rule(rule: routing_pb2.Rule, layers: tuple[int, ...], analyze: bool) -> str:
    kind = next((each for each in _KINDS if rule.HasField(each.name)), None)
    if kind is None:
        return "no rule"
    message = getattr(rule, kind.name)
    main, *others = _parameters(kind)
    text = _key(kind)
    if _required(kind) or not _is_default(message, main):
        text += f"={_value(message, main)}"
    parts = [f"{_key(field)}={_value(message, field)}" for field in others
             if not _is_default(message, field)]
    if not _is_default(rule, _WEIGHTS):
        parts.append(f"weights={_value(rule, _WEIGHTS)}")
    if layers:
        parts.append(f"layers={_format_layers(layers)}")
    if analyze:
        parts.append("analyze")
    return ",".join([text, *parts])


def format_policy(policy: routing_pb2.RoutingPolicy) -> str:
    """The inverse of parse_policy, without the name; defaults are left out."""
    texts = ["native"] if policy.HasField("analyze") and not policy.HasField("apply") else []
    rules: list[tuple[Any, tuple[int, ...]]] = [(policy, ())]
    rules += [(some, tuple(some.layers)) for some in policy.layer_overrides]
    for some, layers in rules:
        if some.HasField("apply"):
            texts.append(_format_rule(some.apply, layers, False))
        if some.HasField("analyze"):
            texts.append(_format_rule(some.analyze, layers, True))
    return "/".join(texts) or "native"


def default_policy_id(policy: routing_pb2.RoutingPolicy) -> str:
    """"top-k-4" for top-k=4. Too long for a name: cut, with a hash of the whole text."""
    spec = format_policy(policy)
    name = re.sub(r"[^a-z0-9]+", "-", spec.lower()).lstrip("-")
    if len(name) <= _MAX_NAME:
        return name
    value = 2166136261  # FNV-1a, as olmoectl
    for byte in spec.encode():
        value = ((value ^ byte) * 16777619) & 0xffffffff
    name = name[:_MAX_NAME - _HASH_LENGTH - 1].rstrip("-")
    return f"{name}-{value & 0xffffff:06x}"
