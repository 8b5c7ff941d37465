"""Draws the validation of several runs over their steps, for docs/mask_unet.md.

    python docs/pictures/draw_mask_unet_domains.py RUN... > docs/pictures/mask_unet_domains.svg

Each of the four RUN is a run folder, and its name is the label.
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

COLOURS = ("#c0392b", "#0072b2", "#009e73", "#b8860b")


def validations(run: Path) -> list[dict]:
    """The validation events of a run, as far as they are finite."""
    events = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    found = [event for event in events if event["kind"] == "validation" and event["loss"] is not None]
    if not found:
        sys.exit(f"{run} has no finite validation to draw.")
    return found


def main(runs: list[Path]) -> None:
    """Writes the picture to standard output."""
    figure = Figure((8.4, 3.2), layout="constrained")
    loss, score = figure.subplots(1, 2)
    for run, colour in zip(runs, COLOURS, strict=True):
        events = validations(run)
        steps = [event["step"] for event in events]
        label = run.name.replace("_", " ")
        loss.plot(steps, [event["loss"] / events[0]["loss"] for event in events], color=colour, marker="o", markersize=3, label=label)
        score.plot(steps, [event["sdr_segments"] for event in events], color=colour, marker="o", markersize=3, label=label)
    loss.set_title("validation loss, its first value as 1", loc="left", fontsize=10)
    score.set_title("SDR of validation segments, dB", loc="left", fontsize=10)
    for axes in (loss, score):
        axes.set_xlabel("training step")
        axes.grid(color="#dfe3e8", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    loss.set_ylim(bottom=0)
    score.legend(frameon=False, fontsize=8)
    figure.savefig(sys.stdout.buffer, format="svg")


if __name__ == "__main__":
    main([Path(run) for run in sys.argv[1:]])
