"""A look at every training file before the first step."""

import logging
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from kseparation.audio.reading import AudioReader, audio_info
from kseparation.audio.track import Track

logger = logging.getLogger("kseparation")
# Integer samples are finite and at most 1 by construction; only these need to be read.
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
BLOCK_SAMPLES = 1 << 18


def check_tracks(tracks: Sequence[Track]) -> dict[str, float]:
    """Reads every file of float samples once: what is not finite is refused, peaks above 1 are reported.

    Args:
        tracks: the songs of all splits that a run will read.

    Returns:
        Path and peak of each file whose peak exceeds 1.

    Raises:
        UserError: a sample is NaN or infinite; the message names file, position and channel.
    """
    files = sorted({path for track in tracks for path in track.files})
    loud = {}
    with_float = [path for path in files if audio_info(path).subtype in FLOAT_SUBTYPES]
    for path in tqdm(with_float, desc="checking audio", unit="file", disable=None, leave=False):
        with AudioReader(path) as reader:
            peak = max((float(np.max(np.abs(block))) for block in reader.blocks(BLOCK_SAMPLES)), default=0.0)
        if peak > 1.0:
            loud[str(path)] = peak
            logger.warning("Peak above full scale: %s reaches %.2f. It is used as it is.", path, peak)
    return loud
