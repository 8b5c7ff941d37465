"""The folder for what can be made again: rendered music, prepared data."""

import os
from pathlib import Path

from kseparation.storage.atomic import explained_write_errors


def cache_folder() -> Path:
    """Returns the cache folder, created if missing.

    `$KSEPARATION_CACHE`, else `$XDG_CACHE_HOME/kseparation`, else `~/.cache/kseparation`. It may be deleted any time.
    """
    if own := os.environ.get("KSEPARATION_CACHE"):
        folder = Path(own).expanduser()
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        folder = Path(shared) / "kseparation"
    else:
        folder = Path.home() / ".cache" / "kseparation"
    with explained_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
