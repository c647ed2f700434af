"""Routing policies and experiments as values: what proto/olmoe/v1/routing.proto has.

A rule decides how many experts run, per token and layer: those with the largest router logits,
unless `Keep` or an adjustment of the rule chooses others. It stands for the policy that applies it everywhere, so `TopK(4)` goes wherever a policy
is asked for:

    TopK(4)                                     # four experts instead of the model's own number
    TopP(0.5, max_k=16)                         # the smallest set with half of the probability
    BH(0.1, calibration="wiki").analyze()       # counted only: the model's own routing runs
    TopK(4).analyze(TopP(0.5))                  # top-4 runs, top-p is counted beside it
    Native().on(range(4), TopK(16))             # layers 0 to 3 only
    TopK(8, adjust=Adjust(ban=[3, 17]))         # without two experts
    Keep("p > 0.3 * p1 && rank <= 12", min_k=2) # a rule of your own
    TopK(8).decode(TopK(2))                     # two experts for tokens beyond the prompt
    TopK(8).routed_by("tuned")                  # by the weights of a router of your own
    Policy.parse("top-k=2,layers=0-3")          # as olmoectl writes it

Everything here is immutable. Ranges are checked by the server (`InvalidRequest` names every
field), because they depend on its model.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from olmoe import _check, spec
from olmoe.v1 import admin_pb2, routing_pb2

# What the package offers as its own: olmoe.TopK.
__all__ = [
    "Adjust", "Arm", "BH", "BanMass", "Bias", "BiasScope", "Experiment", "HC", "Keep",
    "LayerOverride", "MinP", "Native", "Noise", "PValue", "Policy", "PolicyLike", "Rule", "Steer",
    "TopK", "TopP", "Weights",
]


class Weights(enum.IntEnum):
    """What is done with the softmax weights of the selected experts."""

    MODEL_DEFAULT = 1  # as the model's config.json says
    NATIVE = 2  # kept as they are; their sum is at most 1
    SUM_TO_ONE = 3  # divided by their sum
    MATCH_TOP_K_MASS = 4  # scaled to the mass of the model's own top-k


class PValue(enum.IntEnum):
    """How a router logit becomes a p-value."""

    LAYER_CDF = 1  # 1 - F_layer(logit), F from a named calibration
    ONE_MINUS_PROB = 2  # 1 - softmax(logit / temperature)


class BiasScope(enum.IntEnum):
    """What a bias moves."""

    SELECT = 1  # chooses experts; weights stay those of the logits
    BOTH = 2


class BanMass(enum.IntEnum):
    """What becomes of the probability of banned experts."""

    REDISTRIBUTE = 1  # probabilities are over the other experts
    KEEP = 2  # over all experts: the mass of the banned is lost


@dataclasses.dataclass(frozen=True)
class Bias(_check.Fields):
    """Is added to the logits."""

    scope: BiasScope
    values: Sequence[float] = ()  # [num_experts], finite; rounded to float32, as the server has it

    _checks = {"BiasScope": lambda name, value: _check.one_of(name, value, BiasScope)}

    def __post_init__(self) -> None:
        super().__post_init__()
        rounded = tuple(ctypes.c_float(value).value for value in self.values)
        object.__setattr__(self, "values", rounded)


@dataclasses.dataclass(frozen=True)
class Steer(_check.Fields):
    """Gives experts scores beyond the row's largest or smallest. SteerMoE, arXiv 2509.09660."""

    toward: tuple[int, ...] = ()
    away: tuple[int, ...] = ()
    epsilon: float = 0.01  # > 0


@dataclasses.dataclass(frozen=True)
class Noise(_check.Fields):
    """Adds tau * Gumbel(0, 1) of (routing seed, position, layer, expert). arXiv 2509.17238."""

    tau: float  # > 0


@dataclasses.dataclass(frozen=True)
class Adjust(_check.Fields):
    """What happens to a row before a rule counts, in this order. Experts are ids."""

    bias: Bias | None = None
    steer: Steer | None = None
    noise: Noise | None = None
    ban: tuple[int, ...] = ()  # never run
    ban_mass: BanMass = BanMass.REDISTRIBUTE
    force: tuple[int, ...] = ()  # always run, first

    _checks = {"Bias": lambda name, value: _check.instance(name, value, Bias, "a Bias"),
               "Steer": lambda name, value: _check.instance(name, value, Steer, "a Steer"),
               "Noise": lambda name, value: _check.instance(name, value, Noise, "a Noise"),
               "BanMass": lambda name, value: _check.one_of(name, value, BanMass)}


@dataclasses.dataclass(frozen=True)
class Rule(_check.Fields):
    """How many experts run. Use a subclass."""

    weights: Weights = dataclasses.field(default=Weights.MODEL_DEFAULT, kw_only=True)
    adjust: Adjust = dataclasses.field(default=Adjust(), kw_only=True)

    _checks = {"Weights": lambda name, value: _check.one_of(name, value, Weights),
               "PValue": lambda name, value: _check.one_of(name, value, PValue),
               "Adjust": lambda name, value: _check.instance(name, value, Adjust, "an Adjust")}

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):
            if field.default is None and getattr(self, field.name) == 0:
                # On the wire 0 is the default, so the server could not refuse it.
                raise ValueError(f"{type(self).__name__}: {field.name}=0 is not above 0; leave it "
                                 "out for the default")

    def policy(self) -> Policy:
        """The policy that applies this rule in every layer."""
        return Policy(applied=self)

    def named(self, policy_id: str, description: str = "") -> Policy:
        """That policy under a name: 1 to 32 of a-z, 0-9 and "-". It becomes a metric label."""
        return self.policy().named(policy_id, description)

    def analyze(self, rule: Rule | None = None) -> Policy:
        """Runs this rule and counts `rule`; without one, counts this rule and runs the model's own.

        What is only counted changes no bit of a reply.
        """
        return Policy(analyzed=self) if rule is None else Policy(applied=self, analyzed=rule)

    def decode(self, rule: Rule) -> Policy:
        """This rule for the prompt, and `rule` for tokens beyond it."""
        return self.policy().decode(rule)

    def routed_by(self, router: str) -> Policy:
        """This rule on the logits of a router of one's own: see Admin.put_router."""
        return self.policy().routed_by(router)

    def on(self, layers: Iterable[int], applied: Rule | None = None, *,
           analyzed: Rule | None = None, decoded: Rule | None = None) -> Policy:
        """This rule, but in `layers` (0-based) other ones."""
        return self.policy().on(layers, applied, analyzed=analyzed, decoded=decoded)


@dataclasses.dataclass(frozen=True)
class TopK(Rule):
    """The k experts with the largest logits, 1..num_experts."""

    k: int


@dataclasses.dataclass(frozen=True)
class TopP(Rule):
    """The smallest set with softmax mass of at least p, in (0, 1]."""

    p: float
    min_k: int | None = None  # 1
    max_k: int | None = None  # all experts


@dataclasses.dataclass(frozen=True)
class MinP(Rule):
    """The experts with at least `ratio`, in (0, 1], times the largest probability."""

    ratio: float
    min_k: int | None = None  # 1
    max_k: int | None = None  # all experts


@dataclasses.dataclass(frozen=True)
class BH(Rule):
    """Benjamini-Hochberg at level alpha, in (0, 1], on p-values of the logits."""

    alpha: float
    calibration: str = ""  # needed for PValue.LAYER_CDF: see Admin.build_calibration
    p_value: PValue = PValue.LAYER_CDF
    min_k: int | None = None  # 1
    max_k: int | None = None  # all experts
    temperature: float = 1.0  # > 0; of the softmax, for weights and PValue.ONE_MINUS_PROB


@dataclasses.dataclass(frozen=True)
class HC(Rule):
    """Higher criticism among the first beta * num_experts ranks, beta in (0, 1].

    None: only the ranks i whose p-value is below i / num_experts.
    """

    beta: float | None = None
    calibration: str = ""  # needed for PValue.LAYER_CDF
    p_value: PValue = PValue.LAYER_CDF
    min_k: int | None = None  # 1
    max_k: int | None = None  # all experts
    temperature: float = 1.0  # > 0; of the softmax, for weights and PValue.ONE_MINUS_PROB


def _rule(name: str, value: object) -> Rule:
    return _check.instance(name, value, Rule, "a rule such as TopK(4)")


def _overrides(name: str, value: object) -> tuple[LayerOverride, ...]:
    def check(item_name: str, item: object) -> LayerOverride:
        return _check.instance(item_name, item, LayerOverride, "a LayerOverride")
    return tuple(_check.items(name, value, check, "LayerOverride"))


@dataclasses.dataclass(frozen=True)
class Keep(Rule):
    """The experts for which an expression is neither 0 nor NaN: "p > 0.3 * p1 && rank <= 12".

    Variables and operators are those of routing.proto, `Expression`.
    """

    keep: str
    calibration: str = ""  # set: `pvalue` is a variable
    min_k: int | None = None  # 1
    max_k: int | None = None  # all experts that are not banned


@dataclasses.dataclass(frozen=True)
class LayerOverride(_check.Fields):
    """The rules of some layers, in place of the policy's own."""

    layers: tuple[int, ...]  # 0-based
    applied: Rule | None = None
    analyzed: Rule | None = None
    decoded: Rule | None = None

    _checks = {"Rule": _rule}


@dataclasses.dataclass(frozen=True)
class Policy(_check.Fields):
    """What is applied and what is only counted. With neither: the model's own routing."""

    applied: Rule | None = None  # None = the model's own top-k
    analyzed: Rule | None = None  # None = nothing is counted beside it
    overrides: tuple[LayerOverride, ...] = ()
    policy_id: str = ""  # "" = a name made of the rules, as olmoectl makes it: "top-k-4"
    description: str = ""  # <= 256 bytes
    decoded: Rule | None = None  # of tokens beyond the prompt; None = as all others
    router: str = ""  # whose weights, in the layers that it has; "" = the model's own

    _checks = {"Rule": _rule, "tuple[LayerOverride, ...]": _overrides}

    @classmethod
    def parse(cls, text: str) -> Policy:
        """The policy of olmoectl's notation: "[NAME@]native" or "[NAME@]RULE[/RULE]...".

        Behind them may stand "/router=ROUTER".

        ValueError names every part that is wrong.
        """
        _check.text("text", text)
        return policy_from_proto(spec.parse_policy(text))

    def __str__(self) -> str:
        """The rules in that notation."""
        return spec.format_policy(policy_to_proto(self))

    def named(self, policy_id: str, description: str = "") -> Policy:
        """The same rules under a name: 1 to 32 of a-z, 0-9 and "-". It becomes a metric label."""
        return dataclasses.replace(self, policy_id=policy_id, description=description)

    def analyze(self, rule: Rule) -> Policy:
        """The same, and `rule` is counted beside it."""
        return dataclasses.replace(self, analyzed=rule)

    def decode(self, rule: Rule) -> Policy:
        """The same, but for tokens beyond the prompt `rule`."""
        return dataclasses.replace(self, decoded=rule)

    def routed_by(self, router: str) -> Policy:
        """The same, on the logits of a router of one's own: see Admin.put_router."""
        return dataclasses.replace(self, router=router)

    def on(self, layers: Iterable[int], applied: Rule | None = None, *,
           analyzed: Rule | None = None, decoded: Rule | None = None) -> Policy:
        """The same, but in `layers` (0-based) other rules."""
        override = LayerOverride(tuple(_check.integers("layers", layers)), applied, analyzed,
                                 decoded)
        return dataclasses.replace(self, overrides=(*self.overrides, override))


def Native() -> Policy:  # pylint: disable=invalid-name
    """The model's own routing."""
    return Policy()


# What is taken where a policy is asked for; a string is in olmoectl's notation.
PolicyLike = Policy | Rule | str


def _policy_like(name: str, value: Any) -> PolicyLike:
    as_policy(value, name)
    return value  # type: ignore[no-any-return]


@dataclasses.dataclass(frozen=True)
class Arm(_check.Fields):
    """One side of an experiment."""

    policy: PolicyLike
    weight: int = 1  # its share is weight / sum of weights; 0 = by name only
    allow_explicit: bool = False  # clients may ask for it by name

    _checks = {"PolicyLike": _policy_like}


def _arms(name: str, value: object) -> Mapping[str, Arm]:
    arms = _check.mapping(name, value, "a mapping of names to Arm")
    return {_check.text(f"a name of {name}", arm_id):
            _check.instance(f"{name}[{arm_id!r}]", arm, Arm, "an Arm")
            for arm_id, arm in arms.items()}


@dataclasses.dataclass(frozen=True)
class Experiment(_check.Fields):
    """A routing plan: arms by name, and how units are split among them.

    arms: names are 1 to 32 of a-z, 0-9 and "-"; they become metric labels. Their order counts.
    salt: another one draws every unit anew.
    note: <= 256 bytes, kept in the history.
    """

    arms: Mapping[str, Arm]
    salt: str = ""
    note: str = ""

    _checks = {"Mapping[str, Arm]": _arms}


# ---- To messages and back

_KINDS: dict[str, type[Rule]] = {"top_k": TopK, "top_p": TopP, "min_p": MinP, "bh": BH, "hc": HC,
                                 "expression": Keep}
_GROUPS: dict[str, type[Any]] = {"Adjust": Adjust, "Bias": Bias, "Steer": Steer, "Noise": Noise}
_FIELDS = {"calibration": "calibration_id"}  # where the names differ
_ENUMS: dict[str, type[enum.IntEnum]] = {"p_value": PValue, "scope": BiasScope,
                                         "ban_mass": BanMass}
_OF_ALL_KINDS = ("weights", "adjust")


def as_policy(policy: PolicyLike, name: str = "policy") -> Policy:
    """ValueError for a string that is no policy, TypeError for what is no policy at all."""
    if isinstance(policy, str):
        try:
            return Policy.parse(policy)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if isinstance(policy, Rule):
        return policy.policy()
    return _check.instance(name, policy, Policy, "a policy, a rule or its text")


def _rule_to_proto(rule: Rule) -> routing_pb2.Rule:
    kind = next((name for name, cls in _KINDS.items() if type(rule) is cls), None)
    if kind is None:
        raise TypeError(f"one of {', '.join(c.__name__ for c in _KINDS.values())} is needed, "
                        f"not {rule!r}")
    message = routing_pb2.Rule(weight_mode=f"WEIGHT_MODE_{rule.weights.name}")
    parameters: Any = getattr(message, kind)
    parameters.SetInParent()
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        if field.name not in _OF_ALL_KINDS and value is not None:
            setattr(parameters, _FIELDS.get(field.name, field.name), value)
    if rule.adjust != Adjust():
        _put_group(rule.adjust, message.adjust)
    return message


def _put_group(group: Any, message: Any) -> None:
    """Sets the fields of a message to those of the value of the same name."""
    message.SetInParent()
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            _put_group(value, getattr(message, field.name))
        elif isinstance(value, tuple):
            getattr(message, field.name).extend(value)
        elif value is not None and value != field.default:
            setattr(message, field.name, value)


def _get_group(message: Any) -> Any:
    """The value of a message."""
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if spec.is_repeated(field):
            values[field.name] = tuple(value)
        elif field.message_type is not None:
            values[field.name] = _get_group(value) if message.HasField(field.name) else None
        elif field.enum_type is not None:
            values[field.name] = _ENUMS[field.name](value or 1)
        elif not field.has_presence or message.HasField(field.name):
            values[field.name] = value
    return _GROUPS[message.DESCRIPTOR.name](**values)


def _rule_from_proto(message: routing_pb2.Rule) -> Rule | None:
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    parameters = getattr(message, kind)
    values: dict[str, Any] = {"weights": Weights(message.weight_mode or Weights.MODEL_DEFAULT),
                              "adjust": _get_group(message.adjust)}
    for field in dataclasses.fields(_KINDS[kind]):
        if field.name in _OF_ALL_KINDS:
            continue
        name = _FIELDS.get(field.name, field.name)
        descriptor = parameters.DESCRIPTOR.fields_by_name[name]
        unset = (not parameters.HasField(name) if descriptor.has_presence
                 else getattr(parameters, name) == 0)
        if not unset or field.default is dataclasses.MISSING:
            value = getattr(parameters, name)
            values[field.name] = _ENUMS[field.name](value) if field.name in _ENUMS else value
    return _KINDS[kind](**values)


def policy_to_proto(policy: PolicyLike) -> routing_pb2.RoutingPolicy:
    """The message of a policy, with a name."""
    policy = as_policy(policy)
    message = routing_pb2.RoutingPolicy(policy_id=policy.policy_id, description=policy.description,
                                        router=policy.router)
    _put_rules(policy, message)
    for override in policy.overrides:
        _put_rules(override, message.layer_overrides.add(layers=override.layers))
    message.policy_id = message.policy_id or spec.default_policy_id(message)
    return message


def _put_rules(rules: Policy | LayerOverride,
               message: routing_pb2.RoutingPolicy | routing_pb2.LayerOverride) -> None:
    if rules.applied is not None:
        message.apply.CopyFrom(_rule_to_proto(rules.applied))
    if rules.analyzed is not None:
        message.analyze.CopyFrom(_rule_to_proto(rules.analyzed))
    if rules.decoded is not None:
        message.decode.CopyFrom(_rule_to_proto(rules.decoded))


def policy_from_proto(message: routing_pb2.RoutingPolicy) -> Policy:
    """The policy of a message."""
    overrides = tuple(
        LayerOverride(tuple(each.layers), _rule_from_proto(each.apply),
                      _rule_from_proto(each.analyze), _rule_from_proto(each.decode))
        for each in message.layer_overrides)
    return Policy(_rule_from_proto(message.apply), _rule_from_proto(message.analyze), overrides,
                  message.policy_id, message.description, _rule_from_proto(message.decode),
                  message.router)


def experiment_to_proto(experiment: Experiment) -> admin_pb2.RoutingPlan:
    """The message of a plan."""
    message = admin_pb2.RoutingPlan(salt=experiment.salt, note=experiment.note)
    for arm_id, arm in experiment.arms.items():
        message.arms.add(arm_id=arm_id, policy=policy_to_proto(arm.policy), weight=arm.weight,
                         allow_explicit=arm.allow_explicit)
    return message


def experiment_from_proto(message: admin_pb2.RoutingPlan) -> Experiment:
    """The plan of a message."""
    arms = {arm.arm_id: Arm(policy_from_proto(arm.policy), arm.weight, arm.allow_explicit)
            for arm in message.arms}
    return Experiment(arms, message.salt, message.note)
