"""Draws the validation loss of several runs over their steps and what they score, for docs/mask_unet.md.

    python docs/pictures/draw_mask_unet_domains.py RUN... > docs/pictures/mask_unet_domains.svg

Each of the four RUN is a run folder with `evaluation/summary.json` in it, and its name is the label.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 1}
COLOURS = ("#c0392b", "#0072b2", "#009e73", "#b8860b")


def losses(run: Path) -> tuple[list[int], list[float]]:
    """Steps and losses of the validations of a run, as far as they are finite; the first as 1."""
    events = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = [event for event in events if event["kind"] == "validation" and event["loss"] is not None]
    if not found:
        sys.exit(f"{run} has no finite validation to draw.")
    return [event["step"] for event in found], [event["loss"] / found[0]["loss"] for event in found]


def vocals(run: Path) -> dict[str, float]:
    """Scores of the vocals of a run, and of predictors without a network."""
    return json.loads((run / "evaluation" / "summary.json").read_text(encoding="utf-8"))["stems"]["vocals"]


def main(runs: list[Path]) -> None:
    """Writes the picture to standard output."""
    figure = Figure((8.4, 3.2), layout="constrained")
    curves, bars = figure.subplots(1, 2)
    for place, (run, colour) in enumerate(zip(runs, COLOURS, strict=True)):
        label = run.name.replace("_", " ")
        curves.plot(*losses(run), color=colour, marker="o", markersize=3, label=label)
        score = vocals(run)["sdr_global"]
        bars.barh(place, score, color=colour, height=0.6)
        bars.annotate(f"{score:.2f}  {label}", (max(score, 0), place), (4, 0), textcoords="offset points", va="center", fontsize=8, bbox=PAPER)
    trivial = vocals(runs[0])["trivial_sdr_global"]
    bars.axvline(trivial, color="#666666", linewidth=1, linestyle="--", zorder=0)
    bars.annotate(f"best without a network, {trivial:.2f}", (trivial, -0.62), (4, 0), textcoords="offset points", va="center", fontsize=8, color="#444444")
    curves.set_title("validation loss of each, its first value as 1", loc="left", fontsize=10)
    curves.set_xlabel("training step")
    curves.set_ylim(bottom=0)
    curves.grid(color="#dfe3e8", linewidth=0.7)
    curves.legend(frameon=False, fontsize=8)
    bars.set_title("SDR of the vocals of 8 unseen songs, dB", loc="left", fontsize=10)
    bars.set_yticks([])
    bars.set_ylim(len(runs) - 0.4, -1)
    bars.set_xlim(right=1.6 * max(vocals(run)["sdr_global"] for run in runs))
    for axes in (curves, bars):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.stdout.buffer, format="svg")


if __name__ == "__main__":
    main([Path(run) for run in sys.argv[1:]])
