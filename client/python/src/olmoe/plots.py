"""Plots of what was counted and measured. Need matplotlib (`olmoe[analysis]`).

Each function returns a matplotlib Figure, and saves it where `path` is given; its suffix says the
format (".png"). No window opens, and pyplot's state is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from olmoe import _check, _optional
from olmoe.evaluation import Evaluation, EvaluationRow
from olmoe.experts import ArmStats, ExpertStats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PathLike = str | os.PathLike[str]

_WIDTH_IN = 8.0


def _figure(height_in: float, title: str) -> tuple[Figure, Axes]:
    with _optional.extra("analysis"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _saved(figure: Figure, path: PathLike | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _checked_path(path: PathLike | None) -> PathLike | None:
    if path is not None and not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a path or None, not {path!r}")
    return path


def expert_load(counts: ExpertStats | ArmStats | Any, path: PathLike | None = None, *,
                title: str = "Expert load") -> Figure:
    """A heat map of how often each expert was chosen, against an even load of its layer.

    counts: statistics, or an array [layers, experts] of selections, as of to_numpy().
    1 = the mean of the layer; a layer without a token is empty.
    """
    with _optional.extra("analysis"):
        import numpy
    _checked_path(path)
    _check.text("title", title)
    if isinstance(counts, ExpertStats | ArmStats):
        counts = counts.to_numpy()
    try:
        load = numpy.asarray(counts)
    except ValueError as error:  # rows of several lengths
        raise TypeError(f"counts must be numbers of [layers, experts]: {error}") from None
    if load.ndim != 2 or not load.size or load.dtype.kind not in "iuf":
        raise TypeError("counts must be numbers of [layers, experts], are "
                        f"{load.dtype} of {list(load.shape)}")
    mean = load.mean(axis=1, keepdims=True)
    load = numpy.divide(load, mean, out=numpy.full(load.shape, numpy.nan), where=mean > 0)
    figure, axes = _figure(1.5 + 0.2 * len(load), title)
    image = axes.imshow(load, aspect="auto", interpolation="nearest", vmin=0)
    axes.set(xlabel="expert", ylabel="layer")
    figure.colorbar(image, label="load / mean of the layer")
    return _saved(figure, path)


def _row(name: str, value: object) -> EvaluationRow:
    return _check.instance(name, value, EvaluationRow, "an EvaluationRow")


def pareto_rows(rows: Iterable[EvaluationRow]) -> list[EvaluationRow]:
    """Those that no other one beats: less loss at no more activations, or fewer at no more loss.

    By activations.
    """
    listed = _check.items("rows", rows, _row, "EvaluationRow")
    best: list[EvaluationRow] = []
    for row in sorted(listed, key=lambda row: (row.activations_per_token, row.loss)):
        if not best or row.loss < best[-1].loss:
            best.append(row)
    return best


def pareto(rows: Evaluation | Iterable[EvaluationRow], path: PathLike | None = None, *,
           title: str = "Loss against activations") -> Figure:
    """Each policy's loss against the experts that it runs for a token; a line joins the best.

    rows: of `evaluate`, of one data set.
    """
    with _optional.extra("analysis"):
        import matplotlib  # noqa: F401
    _checked_path(path)
    _check.text("title", title)
    if isinstance(rows, Evaluation):
        rows = rows.rows
    listed = _check.items("rows", rows, _row, "EvaluationRow")
    names = sorted({row.data for row in listed})
    if len(names) != 1:
        raise ValueError(f"rows must be of one data set, are of {', '.join(names) or 'none'}")
    best = pareto_rows(listed)
    figure, axes = _figure(5.0, title)
    axes.plot([row.activations_per_token for row in best], [row.loss for row in best],
              color="tab:blue", linewidth=1)
    for row in listed:
        color = "tab:blue" if row in best else "tab:gray"
        axes.plot(row.activations_per_token, row.loss, "o", color=color)
        axes.annotate(row.policy, (row.activations_per_token, row.loss), xytext=(4, 4),
                      textcoords="offset points", fontsize=8)
    axes.margins(0.15)  # room for names
    axes.set(xlabel="experts run for a token, all layers", ylabel="loss, nats per token")
    return _saved(figure, path)
