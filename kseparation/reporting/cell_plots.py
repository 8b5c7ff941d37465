"""Pictures of cells."""

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kseparation.reporting.palette import LIGHT, Palette

PANEL_INCHES, LEGEND_INCHES = 4.4, 0.9
# Groups beyond this many are drawn in grey and named together: more colours cannot be told apart.
MOST_COLOURS = 12
# Okabe and Ito's colours, then lighter ones of theirs.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#b8860b", "#66c2a5", "#fb8072", "#7f4f24", "#a6cee3")
REST = "#9aa1ac"


def cell_figure(points: np.ndarray, groupings: Mapping[str, np.ndarray], palette: Palette = LIGHT) -> Figure:
    """Draws cells as points, once for each way to group them, such as by type, code and study, so that groups can be compared by eye.

    Args:
        points: coordinates along the first two principal components, `(cells, 2)`.
        groupings: title of each panel and the group of each cell, `(cells,)`, numbers or text. The twelve largest groups have a colour and a line in the legend.
        palette: colours of the page.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 2 or not groupings or any(len(groups) != len(points) for groups in groupings.values()):
        raise ValueError(
            f"`points` must be (cells, 2), and each of one or more `groupings` (cells,). Received: {points.shape} and { {title: len(groups) for title, groups in groupings.items()} }"
        )
    figure = Figure((PANEL_INCHES * len(groupings), PANEL_INCHES + LEGEND_INCHES), facecolor=palette.background, layout="constrained")
    FigureCanvasAgg(figure)
    for position, (title, groups) in enumerate(groupings.items()):
        axes = figure.add_subplot(1, len(groupings), position + 1, facecolor=palette.background)
        names, numbers, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
        largest = np.argsort(-sizes, kind="stable")
        shown = np.sort(largest[:MOST_COLOURS])
        rest = np.isin(numbers, largest[MOST_COLOURS:])
        if rest.any():
            axes.plot(points[rest, 0], points[rest, 1], ".", color=REST, markersize=3, label=f"{len(names) - MOST_COLOURS} others")
        for colour, group in zip(COLOURS, shown):
            of_group = numbers == group
            axes.plot(points[of_group, 0], points[of_group, 1], ".", color=colour, markersize=4, alpha=0.8, label=str(names[group]))
        axes.set_title(f"{title} ({len(names)})", loc="left", fontsize=10.5, color=palette.text)
        axes.set_xlabel("principal component 1", color=palette.text, fontsize=8)
        axes.set_ylabel("principal component 2", color=palette.text, fontsize=8)
        axes.tick_params(colors=palette.text, labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(palette.grid)
        # Below the panel, where no cell is.
        axes.legend(fontsize=6, markerscale=1.6, frameon=False, labelcolor=palette.text, loc="upper left", bbox_to_anchor=(0, -0.13), ncols=3, columnspacing=0.8, handletextpad=0.2)
    return figure
