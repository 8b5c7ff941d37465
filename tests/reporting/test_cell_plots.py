import numpy as np
import pytest

from kseparation.reporting.cell_plots import COLOURS, MOST_COLOURS, cell_figure
from kseparation.reporting.palette import DARK
from kseparation.reporting.plots import encode_figure

POINTS = np.random.default_rng(0).normal(size=(60, 2))


def test_each_group_has_its_cells_its_colour_and_its_name():
    types = np.array(["B", "NK", "T"])[np.arange(60) % 3]
    figure = cell_figure(POINTS, {"type": types, "code": np.arange(60) % 2})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["type (3)", "code (2)"]
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["B", "NK", "T"] and [line.get_color() for line in lines] == list(COLOURS[:3])
    for line, name in zip(lines, ("B", "NK", "T")):
        np.testing.assert_array_equal(line.get_xydata(), POINTS[types == name])


def test_small_groups_share_a_colour_where_there_are_too_many():
    codes = np.concatenate([np.repeat(np.arange(MOST_COLOURS), 4), np.arange(100, 112)])
    lines = cell_figure(POINTS, {"code": codes}, DARK).axes[0].get_lines()
    assert lines[0].get_label() == "12 others" and len(lines[0].get_xydata()) == 12
    assert [line.get_label() for line in lines[1:]] == [str(code) for code in range(MOST_COLOURS)]


def test_it_becomes_a_picture():
    assert encode_figure(cell_figure(POINTS, {"all": np.zeros(60)}))[:4] in (b"\x89PNG", b"RIFF")


@pytest.mark.parametrize(("points", "groupings"), [(POINTS[:, :1], {"a": np.zeros(60)}), (POINTS, {"a": np.zeros(59)}), (POINTS, {})])
def test_words_of_errors(points, groupings):
    with pytest.raises(ValueError, match=r"`points` must be \(cells, 2\), and each of one or more `groupings`"):
        cell_figure(points, groupings)
