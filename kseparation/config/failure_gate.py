"""Settings that are known to break a training stay shut unless a config asks for the failure."""

import warnings

from kseparation.config.places import Place
from kseparation.config.records import RunConfig
from kseparation.errors import UserError


def require_reproduce_failure(config: RunConfig, setting: Place | str, reason: str) -> None:
    """Refuses a setting that is known to break a training, or warns if the config has `reproduce_failure: true`.

    Args:
        config: the run.
        setting: the setting, as a place or as words.
        reason: what it breaks, as the end of a sentence: "it drives the decoder to silence".

    Raises:
        UserError: `reproduce_failure` is not set.
    """
    if not config.reproduce_failure:
        raise UserError(
            f"{setting} is known to break a training: {reason}. "
            "Change it, or set `reproduce_failure: true` to see it happen."
        )
    warnings.warn(
        f"{setting} is known to break a training: {reason}. It runs because `reproduce_failure` is true.", stacklevel=2
    )
