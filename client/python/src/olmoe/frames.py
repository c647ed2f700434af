"""Traces and statistics as pandas frames. Needs numpy and pandas (`olmoe[analysis]`)."""

from __future__ import annotations

import dataclasses

from olmoe import _optional, arrays
from olmoe.evaluation import Evaluation, EvaluationRow
from olmoe.experts import ArmStats, ExpertStats, LayerStats
from olmoe.trace import Trace

with _optional.extra("analysis"):
    import numpy
    import pandas


def of_trace(trace: Trace) -> pandas.DataFrame:
    """See Trace.to_frame."""
    mine = arrays.of_trace(trace)
    experts, slots = mine.chosen(), mine.slots()
    row, layer = numpy.divmod(slots, trace.num_layers)
    columns = {"position": mine.positions[row], "layer": layer,
               "rank": numpy.arange(len(slots)) - mine.offsets[slots] + 1,
               "expert": experts.astype(numpy.int64)}
    if mine.weights is not None:
        columns["weight"] = mine.weights
    if mine.logits is not None:
        columns["logit"] = mine.logits[row, layer, experts]
    return pandas.DataFrame(columns)


def _names(arm: ArmStats) -> dict[str, str]:
    return {"arm": arm.arm, "policy": arm.policy_id, "policy_digest": arm.policy_digest,
            "kind": arm.kind.name, "phase": arm.phase.name}


_NAMES = ("arm", "policy", "policy_digest", "kind", "phase")
_BY_LAYER = tuple(field.name for field in dataclasses.fields(LayerStats)
                  if field.name not in ("expert_tokens", "experts_per_token"))


def of_experts(stats: ExpertStats) -> pandas.DataFrame:
    """See ExpertStats.to_frame."""
    columns = (*_NAMES, "layer", "expert", "expert_tokens", "tokens")
    return pandas.DataFrame([
        {**_names(arm), "layer": layer.layer, "expert": expert, "expert_tokens": count,
         "tokens": layer.tokens}
        for arm in stats.arms for layer in arm.layers
        for expert, count in enumerate(layer.expert_tokens)], columns=columns)


def of_layers(stats: ExpertStats) -> pandas.DataFrame:
    """See ExpertStats.layers_frame."""
    return pandas.DataFrame([
        {**_names(arm), **{name: getattr(layer, name) for name in _BY_LAYER}}
        for arm in stats.arms for layer in arm.layers], columns=(*_NAMES, *_BY_LAYER))


def of_evaluation(evaluation: Evaluation) -> pandas.DataFrame:
    """See Evaluation.to_frame."""
    return pandas.DataFrame(list(map(dataclasses.asdict, evaluation.rows)), columns=[
        field.name for field in dataclasses.fields(EvaluationRow)])
