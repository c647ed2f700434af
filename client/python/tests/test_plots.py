"""Plots: what is in the figure, and that it is saved."""

import dataclasses
import math
import sys

import numpy
import pytest

import olmoe
from olmoe import plots

ROW = olmoe.EvaluationRow("a.txt", "native", "", "text", 2, 0, 10, 3.0, math.exp(3), 0.1, None,
                          None, 8, 128, 1.0, None, None, None)
PNG = b"\x89PNG"


def row(policy, activations, loss):
    return dataclasses.replace(ROW, policy=policy, activations_per_token=activations, loss=loss)


ROWS = [row("a", 128, 3.0), row("b", 16, 4.0), row("c", 64, 3.1), row("d", 256, 3.0),
        row("e", 64, 3.5)]


def test_a_heat_map_shows_the_load_of_each_expert_against_the_mean(client, admin, tmp_path):
    client.generate("Once upon a time", 4)
    stats = admin.expert_stats()
    figure = plots.expert_load(stats, tmp_path / "load.png", title="Since the start")
    assert (tmp_path / "load.png").read_bytes().startswith(PNG)
    axes = figure.axes[0]
    assert axes.get_title() == "Since the start"
    shown = axes.images[0].get_array()
    counts = stats.to_numpy()
    assert numpy.allclose(shown, counts / counts.mean(axis=1, keepdims=True))
    plots.expert_load(stats.arms[0])


def test_a_layer_without_a_token_is_empty():
    shown = plots.expert_load([[1, 3], [0, 0]]).axes[0].images[0].get_array()
    assert shown[0].tolist() == [0.5, 1.5]
    assert numpy.isnan(numpy.ma.getdata(shown[1])).all() or numpy.ma.getmaskarray(shown[1]).all()


def test_the_best_policies_are_those_that_no_other_one_beats():
    assert [each.policy for each in plots.pareto_rows(ROWS)] == ["b", "c", "a"]
    assert plots.pareto_rows([]) == []


def test_a_pareto_plot_has_every_policy_and_joins_the_best(tmp_path):
    figure = plots.pareto(ROWS, str(tmp_path / "pareto.png"))
    assert (tmp_path / "pareto.png").read_bytes().startswith(PNG)
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b", "c", "d", "e"]
    assert axes.lines[0].get_xdata().tolist() == [16, 64, 128]


def test_what_cannot_be_plotted_is_refused(tmp_path):
    for counts in ([1, 2], [[]], [["a"]], [[[1]]], [[1, 2], [3]]):
        with pytest.raises(TypeError, match=r"counts must be numbers of \[layers, experts\]"):
            plots.expert_load(counts)
    with pytest.raises(ValueError, match="of one data set, are of none"):
        plots.pareto([])
    with pytest.raises(ValueError, match="are of a.txt, b.txt"):
        plots.pareto([ROW, dataclasses.replace(ROW, data="b.txt")])
    with pytest.raises(ValueError):
        plots.pareto(ROWS, tmp_path / "a.nothing")


def test_pyplot_is_left_alone():
    plots.pareto(ROWS)
    assert "matplotlib.pyplot" not in sys.modules
