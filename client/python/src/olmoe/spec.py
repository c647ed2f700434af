"""olmoectl's text form of policies, both ways.

The keys are the fields of each rule's message: a rule that is added to routing.proto can be
written at once. Only the form is checked; what is in range is the server's to say.
"""

from __future__ import annotations

import decimal
import math
import re
import struct
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from olmoe.v1 import routing_pb2

# Of a descriptor, which has several classes, one for each implementation of protobuf.
_Field = Any

_KINDS: list[_Field] = list(routing_pb2.Rule.DESCRIPTOR.oneofs_by_name["kind"].fields)
_WEIGHTS: _Field = routing_pb2.Rule.DESCRIPTOR.fields_by_name["weight_mode"]
_ADJUST: _Field = routing_pb2.Rule.DESCRIPTOR.fields_by_name["adjust"]
_USES = ("analyze", "decode")  # what a rule may be for, besides running
# Keys that are not made from the name of the field.
_KEYS = {"olmoe.v1.Rule.expression": "keep", "olmoe.v1.Bias.values": "bias",
         "olmoe.v1.Bias.scope": "bias-scope", "olmoe.v1.Noise.tau": "noise"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_NAME = 32
_HASH_LENGTH = 6
_MAX_LAYERS = 1024
_MAX_EXPERTS = 1024
_DEFAULTS = {"epsilon": 0.01}  # of fields that may be unset; others have 1


def is_repeated(field: _Field) -> bool:
    """Whether it is a list; protobuf has two ways to say so."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


def _key(field: _Field) -> str:
    """"min" for min_k, "calibration" for calibration_id, "top-k" for top_k."""
    if field.full_name in _KEYS:
        return _KEYS[field.full_name]
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


def _adjustments(message: _Field = _ADJUST.message_type,
                 path: tuple[str, ...] = ("adjust",)) -> list[tuple[tuple[str, ...], _Field]]:
    """The fields of an adjustment and the messages that they are in, groups in groups first."""
    fields: list[tuple[tuple[str, ...], _Field]] = []
    for field in message.fields:
        if field.message_type is not None:
            fields += _adjustments(field.message_type, (*path, field.name))
    return fields + [(path, field) for field in message.fields if field.message_type is None]


def _example(field: _Field) -> str:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return "..."
    return "4" if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32 else "0.4"


def _is_text(field: _Field) -> bool:
    return bool(field.cpp_type == FieldDescriptor.CPPTYPE_STRING)


def _split(text: str, separator: str) -> list[str]:
    """The parts between the separators that stand in no quotes; at least one."""
    parts, quoted, begin = [], False, 0
    for index, char in enumerate(text):
        quoted ^= char == '"'
        if char == separator and not quoted:
            parts.append(text[begin:index])
            begin = index + 1
    return [*parts, text[begin:]]


def _ids(value: str, separator: str, end: int) -> list[int] | None:
    """The numbers of "0-3+7" below `end`; None where it is no such list."""
    ids: list[int] = []
    for part in value.split(separator):
        match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= end:
            return None
        ids.extend(range(first, last + 1))
    return ids


def _required(kind: _Field) -> bool:
    return bool(kind.name != "hc")  # without its beta, it searches on its own


# ---- Text to policy

class _RuleParser:
    """Sets the parts of one rule and collects what is wrong with them."""

    def __init__(self, kind: _Field) -> None:
        self.rule = routing_pb2.Rule()
        self.layers: tuple[int, ...] = ()
        self.use = "apply"
        self._kind = kind
        self._message: Any = getattr(self.rule, kind.name)
        self._message.SetInParent()
        self._seen: set[str] = set()
        self._errors: list[str] = []

    def parse(self, arguments: str) -> None:
        """ValueError where a part is wrong."""
        for index, part in enumerate(_split(arguments, ",") if arguments else ()):
            self._add(part.strip(), first=index == 0)
        main = _key(_main(self._kind))
        if _required(self._kind) and main not in self._seen:
            self._errors.append(f"{main} is missing, as in {_key(self._kind)}="
                                f"{_example(_main(self._kind))}")
        if self._errors:
            raise ValueError(f"{_key(self._kind)}: {'; '.join(self._errors)}")

    def _add(self, part: str, first: bool) -> None:
        key, equals, value = (each.strip() for each in part.partition("="))
        main = _main(self._kind)
        text = _is_text(main) and not part.startswith(_key(main))
        if first and (text or (not equals and key not in _USES)):
            key, value = _key(main), part
        if key in self._seen:
            self._errors.append(f"{key} is given twice")
            return
        self._seen.add(key)
        error = self._set(key, value)
        if error:
            self._errors.append(f"{key}{'' if key in _USES else '='}{value} {error}")

    def _set(self, key: str, value: str) -> str:
        """What is wrong with the part, or nothing."""
        if key in _USES:
            return self._set_use(key, value)
        if key == "layers":
            return self._set_layers(value)
        if key == "weights":
            return self._set_field(self.rule, _WEIGHTS, value)
        for field in _parameters(self._kind):
            if _key(field) == key:
                return self._set_field(self._message, field, value)
        for path, field in _adjustments():
            if _key(field) == key:
                message: Any = self.rule
                for name in path:
                    message = getattr(message, name)
                message.SetInParent()
                return self._set_field(message, field, value)
        keys = [*map(_key, _parameters(self._kind)), "weights",
                *(_key(field) for _, field in _adjustments()), "layers", *_USES]
        return f"is not a key of {_key(self._kind)}; keys: {', '.join(keys)}"

    def _set_use(self, use: str, value: str) -> str:
        if value:
            return "takes no value"
        if self.use != "apply":
            return "is given beside another use of the rule"
        self.use = use
        return ""

    def _set_layers(self, value: str) -> str:
        layers = _ids(value, "+", _MAX_LAYERS)
        if layers is None:
            return "is not a list of layers such as 0-3+7"
        self.layers = tuple(sorted(set(layers)))
        return ""

    def _set_list(self, message: Any, field: _Field, value: str) -> str:
        if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
            ids = _ids(value, "+", _MAX_EXPERTS)
            if ids is None:
                return "is not a list of experts such as 0-3+7"
            getattr(message, field.name).extend(ids)
            return ""
        try:
            getattr(message, field.name).extend(map(float, value.split(":")))
        except ValueError:
            return "is not numbers such as 0.5:0:-1"
        return ""

    def _set_field(self, message: Any, field: _Field, value: str) -> str:
        if is_repeated(field):
            return self._set_list(message, field, value)
        if _is_text(field) and len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
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
            if parsed == 0 and message is self._message and self._zero_is_unset(field):
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
    if target.HasField(rule.use):
        what = {"apply": "", "analyze": "to analyze ", "decode": "for decode "}[rule.use]
        raise ValueError(f"{_format_rule(rule.rule, rule.layers, rule.use)}: these layers "
                         f"have a rule {what}already")
    getattr(target, rule.use).CopyFrom(rule.rule)


def _set_router(part: str, policy: routing_pb2.RoutingPolicy) -> bool:
    """Whether the part names a router instead of a rule: "router=NAME"."""
    key, _, name = (each.strip() for each in part.partition("="))
    if key != "router":
        return False
    if not name:
        raise ValueError("router: no name, as in router=tuned")
    if policy.router:
        raise ValueError("router: is given twice")
    policy.router = name
    return True


def parse_policy(text: str) -> routing_pb2.RoutingPolicy:
    """The policy of "[NAME@]native" or "[NAME@]RULE[/RULE]...", with "/router=ROUTER" or without.

    ValueError names every part that is wrong.
    """
    policy = routing_pb2.RoutingPolicy()
    name, at, rules = text.strip().partition("@")
    if at and '"' not in name:
        if not _NAME.fullmatch(name):
            raise ValueError(f'"{name}" is not a name: 1 to 32 of a-z, 0-9 and -, not - first')
        policy.policy_id = name
    else:
        rules = text.strip()
    errors = []
    for index, part in enumerate(_split(rules, "/")):
        if index == 0 and part.strip() == "native":
            continue
        try:
            if not _set_router(part, policy):
                _add_rule(_parse_rule(part), policy)
        except ValueError as error:
            errors.append(str(error))
    if errors:
        raise ValueError("; ".join(errors))
    return policy


# ---- Policy to text

def _value(message: Any, field: _Field) -> str:
    value = getattr(message, field.name)
    if is_repeated(field):
        if field.cpp_type == FieldDescriptor.CPPTYPE_UINT32:
            return _format_ids(tuple(value))
        return ":".join(_shortest(each, single=True) for each in value)
    if field.enum_type is not None:
        return next(word for word, number in _words(field).items() if number == value)
    if isinstance(value, float):
        return _shortest(value)
    return str(value)


def _single(value: float) -> str:
    """The fewest digits that give the same float32 again."""
    packed = struct.pack("f", value)
    return next(text for digits in range(1, 10)
                if struct.pack("f", float(text := f"{value:.{digits}g}")) == packed)


def _shortest(value: float, single: bool = False) -> str:
    """As olmoectl: the fewest digits that give the same double again, 1e-04 if that is shorter."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    number = decimal.Decimal(_single(value) if single else repr(value)).normalize()
    fixed = format(number, "f")
    mantissa, _, exponent = format(number, "e").partition("e")
    scientific = f"{mantissa}e{int(exponent):+03d}"
    return scientific if len(scientific) < len(fixed) else fixed


def _is_default(message: Any, field: _Field) -> bool:
    """Leaving the field out means the same."""
    if field.has_presence and not message.HasField(field.name):
        return True
    value = getattr(message, field.name)
    if field.name == "scope":
        return not value  # has no default: it has to be said
    if field.enum_type is not None:
        return bool(value <= 1)
    if field.has_presence:
        return bool(value == _DEFAULTS.get(field.name, 1))
    return not value


def _format_ids(ids: tuple[int, ...]) -> str:
    ranges: list[list[int]] = []
    for each in ids:
        if ranges and each == ranges[-1][1] + 1:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])
    return "+".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _adjustment_parts(rule: routing_pb2.Rule) -> list[str]:
    parts = []
    for path, field in _adjustments():
        message: Any = rule
        for name in path:
            message = getattr(message, name)
        if not _is_default(message, field):
            parts.append(f"{_key(field)}={_value(message, field)}")
    return parts


def _format_rule(rule: routing_pb2.Rule, layers: tuple[int, ...], use: str) -> str:
    kind = next((each for each in _KINDS if rule.HasField(each.name)), None)
    if kind is None:
        return "no rule"
    message = getattr(rule, kind.name)
    main, *others = _parameters(kind)
    text = _key(kind)
    if _required(kind) or not _is_default(message, main):
        quote = '"' if _is_text(main) else ""
        text += f"={quote}{_value(message, main)}{quote}"
    parts = [f"{_key(field)}={_value(message, field)}" for field in others
             if not _is_default(message, field)]
    if not _is_default(rule, _WEIGHTS):
        parts.append(f"weights={_value(rule, _WEIGHTS)}")
    parts += _adjustment_parts(rule)
    if layers:
        parts.append(f"layers={_format_ids(layers)}")
    if use != "apply":
        parts.append(use)
    return ",".join([text, *parts])


def format_policy(policy: routing_pb2.RoutingPolicy) -> str:
    """The inverse of parse_policy, without the name; defaults are left out."""
    has_others = any(policy.HasField(use) for use in _USES)
    texts = ["native"] if has_others and not policy.HasField("apply") else []
    rules: list[tuple[Any, tuple[int, ...]]] = [(policy, ())]
    rules += [(some, tuple(some.layers)) for some in policy.layer_overrides]
    for some, layers in rules:
        for use in ("apply", *_USES):
            if some.HasField(use):
                texts.append(_format_rule(getattr(some, use), layers, use))
    texts = texts or ["native"]
    return "/".join([*texts, f"router={policy.router}"] if policy.router else texts)


def default_policy_id(policy: routing_pb2.RoutingPolicy) -> str:
    """"top-k-4" for top-k=4. Too long for a name: cut, with a hash of the whole text."""
    spec = format_policy(policy)
    name = re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-")
    if len(name) <= _MAX_NAME:
        return name
    value = 2166136261  # FNV-1a, as olmoectl
    for byte in spec.encode():
        value = ((value ^ byte) * 16777619) & 0xffffffff
    name = name[:_MAX_NAME - _HASH_LENGTH - 1].rstrip("-")
    return f"{name}-{value & 0xffffff:06x}"
