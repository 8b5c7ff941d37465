"""A look at every training file before the first step."""

import logging
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from kseparation.audio.decoding import IN_ORDER_FORMATS
from kseparation.audio.reading import AudioReader, audio_info
from kseparation.audio.track import Track

logger = logging.getLogger("kseparation")
# Integer samples are finite and at most 1 by construction; only these need to be read.
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
BLOCK_SAMPLES = 1 << 18
# Encoders of lossy formats pad both ends, by up to so many samples of an mp3; sound that was cut loses more.
PADDING_SAMPLES = 4 * 1152


def check_tracks(tracks: Sequence[Track]) -> dict[str, float]:
    """Opens every file, and reads those of float samples once: what is not finite is refused; peaks above 1, slow formats and stems that differ in length or rate are reported.

    Args:
        tracks: the songs of all splits that a run will read.

    Returns:
        Path and peak of each file whose peak exceeds 1.

    Raises:
        UserError: a sample is NaN or infinite; the message names file, position and channel.
    """
    files = sorted({path for track in tracks for path in track.files})
    loud = {}
    infos = {path: audio_info(path) for path in files}
    _report_unlike(tracks, infos)
    slow = [info.path for info in infos.values() if info.format in IN_ORDER_FORMATS]
    if slow:
        logger.warning("%d files, such as %s, are decoded from their beginning for each segment. Convert them to flac or wav for a fast training.", len(slow), slow[0])
    with_float = [info.path for info in infos.values() if info.subtype in FLOAT_SUBTYPES]
    for path in tqdm(with_float, desc="checking audio", unit="file", disable=None, leave=False):
        with AudioReader(path) as reader:
            peak = max((float(np.max(np.abs(block))) for block in reader.blocks(BLOCK_SAMPLES)), default=0.0)
        if peak > 1.0:
            loud[str(path)] = peak
            logger.warning("Peak above full scale: %s reaches %.2f. It is used as it is.", path, peak)
    return loud


def _report_unlike(tracks, infos):
    unlike = [track for track in tracks if _are_unlike([infos[path] for path in track.files])]
    if unlike:
        found = ", ".join(f"{path.name} {infos[path].samples} samples at {infos[path].sample_rate} Hz" for path in unlike[0].files)
        logger.warning(
            "The files of %s, such as `%s`, differ in length or sample rate: %s. Other rates are resampled, and what is missing at an end is silence; a stem that was cut at its beginning is a wrong target.",
            "1 song" if len(unlike) == 1 else f"{len(unlike)} songs",
            unlike[0].name,
            found,
        )


def _are_unlike(files):
    lengths = [file.samples for file in files]
    allowed = PADDING_SAMPLES if any(file.format in IN_ORDER_FORMATS for file in files) else 0
    return len({file.sample_rate for file in files}) > 1 or max(lengths) - min(lengths) > allowed
