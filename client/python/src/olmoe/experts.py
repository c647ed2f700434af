"""Expert statistics: exact counts of every router's choices."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import TYPE_CHECKING

from olmoe import _check, plans
from olmoe.v1 import admin_pb2

if TYPE_CHECKING:
    import numpy
    import pandas
    from numpy.typing import NDArray


class Decision(enum.IntEnum):
    """Whose choice was counted."""

    APPLIED = 1  # experts that ran
    ANALYZED = 2  # experts that the analyzed rule would have run


class Phase(enum.IntEnum):
    """For what the tokens were computed."""

    PREFILL = 1
    DECODE = 2
    SCORE = 3


def checked_decision(name: str, value: object) -> Decision:
    """TypeError, naming it, where it is no Decision."""
    return _check.one_of(name, value, Decision)


@dataclasses.dataclass(frozen=True)
class LayerStats:
    """One router."""

    layer: int
    expert_tokens: tuple[int, ...]  # [num_experts]: (token, expert) selections
    tokens: int  # tokens routed
    experts_per_token: tuple[int, ...]  # [num_experts + 1]: tokens by their k, index = k
    min_k_hits: int  # tokens raised to min_k
    max_k_hits: int  # tokens cut to max_k
    force_hits: int  # tokens raised to the number of forced experts
    selected_mass: float  # sum over tokens of the softmax mass of the selected experts
    router_entropy: float  # sum over tokens, nats
    common_experts: int  # ANALYZED: sum of |applied and analyzed|
    union_experts: int  # ANALYZED: sum of |applied or analyzed|
    mean_experts_per_token: float
    stddev_experts_per_token: float
    load_max_over_mean: float  # 1 = balanced
    load_jain: float  # (0, 1], 1 = balanced
    load_entropy_ratio: float  # [0, 1], 1 = balanced
    idle_experts: int  # experts with no token

    @classmethod
    def from_proto(cls, message: admin_pb2.LayerExpertStats) -> LayerStats:
        """The router of a message."""
        values = {field.name: getattr(message, field.name) for field in dataclasses.fields(cls)}
        for name in ("expert_tokens", "experts_per_token"):
            values[name] = tuple(values[name])
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class ArmStats:
    """The routers of one arm under one policy, of one kind, in one phase.

    Policies of long ago and inline policies are one sum, with empty policy_id and policy_digest.
    """

    arm: str
    policy_id: str
    policy_digest: str
    kind: Decision
    phase: Phase
    layers: tuple[LayerStats, ...]

    def to_numpy(self) -> NDArray[numpy.int64]:
        """(token, expert) selections: [layers, num_experts], layers as in `layers`.

        ImportError without numpy (`olmoe[analysis]`).
        """
        from olmoe import arrays
        return arrays.of_arm(self)


@dataclasses.dataclass(frozen=True)
class ExpertStats:
    """What was counted between two times. Arms without a token are left out."""

    arms: tuple[ArmStats, ...]
    start_time: datetime.datetime
    end_time: datetime.datetime
    cursor: str  # where the next read goes on

    @classmethod
    def from_proto(cls, message: admin_pb2.GetExpertStatsResponse) -> ExpertStats:
        """The counts of a message."""
        arms = tuple(
            ArmStats(each.arm_id, each.policy_id, each.policy_digest, Decision(each.kind),
                     Phase(each.phase), tuple(map(LayerStats.from_proto, each.layers)))
            for each in message.arms)
        return cls(arms, plans.utc(message.start_time), plans.utc(message.end_time),
                   message.cursor)

    def to_numpy(self, arm: str | None = None, *, kind: Decision = Decision.APPLIED,
                 phase: Phase | None = None) -> NDArray[numpy.int64]:
        """(token, expert) selections of all policies and phases: [layers, num_experts].

        arm, phase: only of these; None = of all. kind: whose choice.
        ValueError where nothing was counted of them; ImportError without numpy
        (`olmoe[analysis]`).
        """
        from olmoe import arrays
        _check.optional(_check.text, "arm", arm)
        _check.one_of("kind", kind, Decision)
        if phase is not None:
            _check.one_of("phase", phase, Phase)
        return arrays.of_arms(each for each in self.arms
                              if arm in (None, each.arm) and phase in (None, each.phase)
                              and each.kind is kind)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each arm, policy, policy_digest, kind, phase, layer and expert.

        expert_tokens: tokens that chose the expert; tokens: all that the layer routed.
        ImportError without pandas (`olmoe[analysis]`).
        """
        from olmoe import frames
        return frames.of_experts(self)

    def layers_frame(self) -> pandas.DataFrame:
        """A row for each arm, policy, policy_digest, kind, phase and layer, as in LayerStats."""
        from olmoe import frames
        return frames.of_layers(self)
