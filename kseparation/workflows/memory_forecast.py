"""What a training needs at the very least, held against the machine before anything is allocated."""

import os

from kseparation.config.records import RunConfig
from kseparation.errors import UserError
from kseparation.workflows.build import segment_samples

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def require_memory(config: RunConfig) -> None:
    """Raises UserError where a single batch of sound is larger than the memory of the machine.

    A lower bound: the network needs many times the memory of its input, and a GPU may have less than the machine.
    """
    data, batch = config.data, config.training.batch_size
    needed = 4 * batch * segment_samples(config) * data.channels * (len(data.stems) + 1)  # float32, the mixture beside the stems
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise UserError(
            f"`training.batch_size`: the sound of one batch takes at least {_size(needed)}, and this machine has {_size(available)} of memory. Received: {batch} "
            f"segments of {data.segment_seconds:g} s. Use a smaller batch, with `training.accumulate_steps` for the same effect, or shorter segments."
        )


def _size(count: float) -> str:
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.3g} {_UNITS[unit]}"
