"""What an incident tells whoever opens its folder: REPORT.md in plain words, and the table of the last steps."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseparation.training.evidence import BATCH, CONFIG, PLAN, STEPS, Diagnosis, Incident, not_finite_words
from kseparation.training.verdicts import ACTIONS, EVENTS, VERDICTS

CAUSE, CURE, NEXT = "## The cause", "## What to do", "## If it goes on"
# Events that no step of the training had a part in: its gradients tell nothing of them.
WITHOUT_A_STEP = ("unreadable", "validation")


def steps_table(incident: Incident) -> str:
    """Returns the recorded steps as CSV: losses, gradient norm, rate, whether accepted, then norm of gradient and update of each layer, and the scale of its output."""
    recorded, activations = incident.recorded, incident.activations
    losses = {row["step"]: row for row in incident.losses}
    parts = [name for name in (incident.losses[-1] if incident.losses else {}) if name != "step"]
    layers = list(recorded.get("layers", ()))
    watched = list(activations.get("layers", ()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ["grad_norm", "lr", "accepted"] if recorded else []
    writer.writerow(
        ["step", *parts, *columns, *(f"gradient {name}" for name in layers), *(f"update {name}" for name in layers), *(f"output {name}" for name in watched)]
    )
    steps = [int(step) for step in recorded["step"]] if recorded else sorted(losses)
    scales = activations.get("scales", np.zeros((0, 0)))
    # Without their numbers the rows are taken for those of the last steps.
    scaled = [int(step) for step in activations["steps"]] if "steps" in activations else steps[len(steps) - min(len(scales), len(steps)) :]
    outputs = dict(zip(scaled, scales[len(scales) - len(scaled) :]))
    for row, step in enumerate(steps):
        values = [losses.get(step, {}).get(part, "") for part in parts]
        if recorded:
            values += [recorded[name][row] for name in columns] + [*recorded["gradients"][row]] + [*recorded["updates"][row]]
        values += [*outputs[step]] if step in outputs else [""] * len(watched)
        writer.writerow([step, *(f"{value:.6g}" if isinstance(value, (float, np.floating)) else value for value in values)])
    return out.getvalue()


def report_text(incident: Incident, folder: Path) -> str:
    """Returns REPORT.md: what happened, what was done, what to look at, and what to try, in plain words."""
    lines = [
        f"# Step {incident.step}: {incident.event}",
        "",
        f"What was seen: {EVENTS[incident.event]}. {incident.reason.rstrip('.')}.",
        "",
        f"What was done: {ACTIONS[incident.action]}.",
        "",
        *_batch(incident),
    ]
    if incident.trace:
        lines += ["## The error", "", "```", incident.trace.rstrip(), "```", ""]
    if incident.recorded and incident.event not in WITHOUT_A_STEP:
        lines += _largest_layers(incident)
    lines += [CAUSE, "", "Not looked for yet. This runs the step again and finds it:", "", f"    kseparation replay --incident={shlex.quote(str(folder))}", ""]
    if incident.event == "unreadable":
        lines += [CURE, "", "Restore the song that the error names, or take it out of the data. A batch that cannot be read says nothing of the settings of the training.", ""]
    if incident.next_rung and incident.event not in WITHOUT_A_STEP:
        words, overrides = incident.next_rung
        lines += [
            NEXT,
            "",
            f"The next step of the safe ladder is {words}:",
            "",
            "    kseparation train --config=" + shlex.quote(str(folder / CONFIG)) + "".join(f" --set={shlex.quote(value)}" for value in overrides) + " --resume=never",
            "",
        ]
    return "\n".join(lines)


def cause_text(diagnosis: Diagnosis, songs: Sequence[Mapping[str, Any]] = ()) -> str:
    """Returns what a replay found, in plain words.

    Args:
        diagnosis: of the replay.
        songs: plan entries of the examples at fault.
    """
    lines = [f"**{diagnosis.verdict}**: {VERDICTS[diagnosis.verdict]}. {diagnosis.reason.rstrip('.')}."]
    for key in ("layer", "part", "operation", "place"):
        if value := getattr(diagnosis, key):
            lines.append(f"- {key}: `{value}`")
    lines += [f"- {_sound(song)}" for song in songs]
    return "\n".join([*lines, "", "What was tried:", *(f"1. {words}" for words in diagnosis.tried), ""])


def with_section(report: str, heading: str, text: str) -> str:
    """Returns a report with a section put in, in the place of one of the same heading, or else before what is to be done next.

    Example:

    >>> with_section("# Step 3\\n\\n## The cause\\n\\nunknown\\n\\n## If it goes on\\n", "## The cause", "a layer\\n")
    '# Step 3\\n\\n## The cause\\n\\na layer\\n\\n## If it goes on\\n'
    """
    head, *sections = report.split("\n## ")
    sections = ["## " + section for section in sections]
    new = f"{heading}\n\n{text}"
    places = [place for place, section in enumerate(sections) if section.split("\n", 1)[0] == heading]
    if places:
        sections[places[0]] = new
    else:
        following = [place for place, section in enumerate(sections) if section.split("\n", 1)[0] in (CURE, NEXT)]
        sections.insert(min(following, default=len(sections)), new)
    return "\n".join([head, *sections])


def with_data_at_fault(report: str) -> str:
    """Returns a report whose cause is the data, with what to do about them in the place of safer settings."""
    head, *sections = report.split("\n## ")
    kept = [section for section in sections if "## " + section.split("\n", 1)[0] not in (CURE, NEXT)]
    report = "\n## ".join([head, *kept])
    return f"{report.rstrip()}\n\n{CURE}\n\nListen to what is named under the cause, and mend it or take it out of the data. No safer setting of the training mends a batch.\n"


def _batch(incident):
    lines = ["## The batch", ""]
    if incident.event == "validation":
        if not incident.plan:
            return []
        batch = incident.plan[0]
        lines += [f"Batch {batch['validation_batch']} of the validation is the first whose loss is not finite:", ""]
        lines += [f"- `{segment['song']}` from sample {segment['start']}" for segment in batch.get("segments", ())]
        return [*lines, "", f"The sound itself: `{BATCH}`.", "", *_unsound(incident.batches, ())]
    if not incident.micro_batches:
        return []
    lines += [f"Batch {batch['position']} of the run" + (f", drawn anew {batch['draw']} time{'s' * (batch['draw'] > 1)}" if batch["draw"] else "") + "." for batch in incident.micro_batches]
    told = [f"what it is made of: `{PLAN}`"] * any(incident.plan) + [f"the sound itself: `{BATCH}`"] * bool(incident.batches)
    if told:
        words = "; ".join(told)
        lines += ["", f"{words[0].upper()}{words[1:]}."]
    if incident.event == "unreadable" and any(incident.plan):
        sources = dict.fromkeys(choice.get("file") or choice["song"] for batch in incident.plan for example in batch for choice in example)
        lines += ["", "It was to be made of these files:", "", *(f"- `{source}`" for source in sources)]
    return [*lines, "", *_unsound(incident.batches, incident.plan)]


def _sound(song):
    if "stem" not in song:  # of the validation
        return f"`{song['song']}` from sample {song['start']}"
    return f"{song['stem']} from sample {song['start']} of `{song['song']}` ({song['file']}), gain {song['gain']:g}"


def _unsound(batches, plan):
    found = []
    for name, audio in batches.items():
        kind, number = name.rsplit("_", 1)
        chosen = plan[int(number)] if int(number) < len(plan) else []
        stems = [choice.get("stem", "") for choice in chosen[0]] if isinstance(chosen, list) and chosen else []
        if words := not_finite_words(kind, int(number), audio, stems):
            found += [f"{words}.", ""]
    return found


def _largest_layers(incident):
    gradients, layers = incident.recorded["gradients"], incident.recorded["layers"]
    if not len(gradients):
        return []
    last, earlier = gradients[-1].astype("float64"), gradients[:-1].astype("float64")
    sound = earlier[np.isfinite(earlier).all(axis=1)]
    usual = np.median(sound, axis=0) if len(sound) else np.full(len(layers), np.nan)
    grown = np.where(np.isfinite(last), last / np.maximum(usual, 1e-30), np.inf)
    order = np.argsort(-np.nan_to_num(grown, nan=0.0, posinf=1e300), kind="stable")[:5]
    lines = ["## The layers", "", f"Those whose gradient grew most in this step (all of them: `{STEPS}`):", "", "| layer | gradient norm | usual |", "|---|---|---|"]
    names = [layer if "/" in layer else f"{layer} itself" for layer in layers]
    return [*lines, *(f"| {names[index]} | {last[index]:.4g} | {usual[index]:.4g} |" for index in order), ""]
