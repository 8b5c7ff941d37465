"""Scores one song by BSS Eval v4 with the package museval, in a process that imports neither Keras nor a backend.

    python bss_eval_process.py REFERENCE.npy ESTIMATE.npy SAMPLE_RATE NAME OUT.json STEM...
    python bss_eval_process.py --check

The arrays are float32 `(stems, samples, channels)`, of which as many are read as stems are named. OUT.json is museval's own format. `--check` ends with 0 where museval works.
"""

import sys

import numpy as np

WINDOW_SECONDS = 1
NOT_WRITTEN = 5  # the exit code where the disk is full
SCORES = ("SDR", "ISR", "SIR", "SAR")


def framewise_scores(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Returns SDR, ISR, SIR and SAR in dB, each `(stems, frames)`, of windows of a second.

    museval refuses a song in which a stem or its estimate is silent from beginning to end. A stem that is silent, whatever was made of it, has no scores, NaN, and does
    not interfere with the others. One that was lost, with an estimate of zeros, has an SDR and ISR of 0 dB, as their definitions have it, and neither SIR nor SAR. A frame
    in which one of the stems or estimates is silent is NaN for all, as museval has it.

    Args:
        reference: the true stems, `(stems, samples, channels)`.
        estimate: the separated stems, same shape.
        sample_rate: in Hz.
    """
    museval = _museval()
    window = WINDOW_SECONDS * sample_rate
    heard, lost = ~_silent(reference), ~np.any(estimate, axis=(1, 2))
    frames = max((reference.shape[1] - window) // window + 1, 1)
    scores = {name: np.full((len(reference), frames), np.nan) for name in SCORES}
    # Each estimate is scored by itself: in the place of one of zeros, any sound will do.
    estimate = np.where(lost[:, None, None], reference, estimate).astype("float64")
    # museval takes channels that are opposite throughout for silence; 180 dB below full scale they no longer are.
    estimate[..., 0] += 1e-9 * (_silent(estimate)[:, None] & (estimate[..., 0] != 0))
    if heard.any() and reference.shape[1]:
        values = museval.evaluate(reference[heard], estimate[heard], win=window, hop=window, mode="v4", padding=False)
        for name, found in zip(SCORES, values, strict=True):
            scores[name] = np.full((len(reference), found.shape[1]), np.nan)
            scores[name][heard] = found
    for name, values in scores.items():
        values[lost[:, None] & ~np.isnan(values)] = 0 if name in ("SDR", "ISR") else np.nan
    return scores


def _museval():
    # museval 0.4.1 finds the error of a singular matrix here, where NumPy 2 has none.
    np.linalg.linalg = np.linalg
    import museval

    return museval


def _silent(stems):
    """As museval tests it: channels that are opposite count as silent, too."""
    return np.all(stems.sum(axis=2) == 0, axis=1)


def main(reference: str, estimate: str, sample_rate: str, name: str, out: str, *stems: str) -> None:
    """Writes the scores of one song."""
    _museval()
    from museval.aggregate import TrackStore

    scores = framewise_scores(*(np.load(file)[: len(stems)] for file in (reference, estimate)), int(sample_rate))
    store = TrackStore(track_name=name, win=WINDOW_SECONDS, hop=WINDOW_SECONDS)
    for index, stem in enumerate(stems):
        store.add_target(stem, {metric: values[index].tolist() for metric, values in scores.items()})
    store.validate()
    try:
        store.save(out)
    except OSError as error:
        print(error.strerror or error, file=sys.stderr)
        sys.exit(NOT_WRITTEN)


if __name__ == "__main__":
    _museval() if sys.argv[1:] == ["--check"] else main(*sys.argv[1:])
