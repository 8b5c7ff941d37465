"""Scores one song by BSS Eval v4 with the package museval, in a process that imports neither Keras nor a backend.

    python bss_eval_process.py REFERENCE.npy ESTIMATE.npy SAMPLE_RATE NAME OUT.json STEM...

The arrays are float32 `(stems, samples, channels)`. OUT.json is museval's own format.
"""

import os
import sys

import numpy as np

WINDOW_SECONDS = 1


def framewise_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Returns SDR, ISR, SIR and SAR in dB, each `(stems, frames)`, of windows of a second.

    museval refuses a song in which a stem or its estimate is silent from beginning to end. Such a stem is left out, and its scores are NaN: the SDR of the others does not
    depend on it. A frame in which one of the stems or estimates is silent is NaN for all, as museval has it.

    Args:
        reference: the true stems, `(stems, samples, channels)`.
        estimate: the separated stems, same shape.
        sample_rate: in Hz.
    """
    import museval

    window = WINDOW_SECONDS * sample_rate
    # museval's test of silence adds the channels up: opposite channels count as silent, too.
    heard = ~(_silent(reference) | _silent(estimate))
    frames = max((reference.shape[1] - window) // window + 1, 1)
    scores = {name: np.full((len(reference), frames), np.nan) for name in ("SDR", "ISR", "SIR", "SAR")}
    if heard.any() and reference.shape[1]:
        values = museval.evaluate(reference[heard], estimate[heard], win=window, hop=window, mode="v4", padding=False)
        for name, found in zip(scores, values, strict=True):
            scores[name] = np.full((len(reference), found.shape[1]), np.nan)
            scores[name][heard] = found
    return scores


def _silent(stems):
    return np.all(stems.sum(axis=2) == 0, axis=1)


def main(reference: str, estimate: str, sample_rate: str, name: str, out: str, *stems: str) -> None:
    """Writes the scores of one song, complete or not at all."""
    from museval.aggregate import TrackStore

    scores = framewise_scores(np.load(reference), np.load(estimate), int(sample_rate))
    store = TrackStore(track_name=name, win=WINDOW_SECONDS, hop=WINDOW_SECONDS)
    for index, stem in enumerate(stems):
        store.add_target(stem, {metric: values[index].tolist() for metric, values in scores.items()})
    store.validate()
    temporary = f"{out}.part"
    store.save(temporary)
    os.replace(temporary, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
