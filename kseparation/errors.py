"""Errors that a person can act on, each with the exit code it ends a command with.

A message names the item in backticks, says what is required, what was received, and how to mend it. The command line prints the message alone,
without a traceback.
"""

import difflib
import errno
import os
from collections.abc import Iterable

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
# What a full or failing disk says, which may have room again a minute later.
OF_THE_DISK = DISK_FULL | {errno.EFBIG, errno.EIO}
OF_THE_MACHINE = OF_THE_DISK | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class KSeparationError(Exception):
    """Base of every error that is reported as one message. `exit_code` is the code of the process."""

    exit_code = 1


class UserError(KSeparationError):
    """The input, a flag or a config key is wrong: the person can mend it."""

    exit_code = 2


class CheckFailed(KSeparationError):
    """Something was checked and is not as it should be: unequal export, damaged file, a finding of the doctor."""

    exit_code = 3


class TrainingStopped(KSeparationError):
    """The safety policy ended a training; the message names the evidence."""

    exit_code = 4


class MachineError(KSeparationError):
    """The machine stands in the way: disk full, run folder in use by another process."""

    exit_code = 5


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Returns a sentence with the nearest option and the list of all, for the end of an error message.

    Args:
        name: what was received.
        options: the valid names.

    Example:

    >>> did_you_mean("vocal", ["vocals", "drums"])
    'Did you mean `vocals`? Valid: `vocals`, `drums`.'
    """
    options = [str(option) for option in options]
    near = difflib.get_close_matches(str(name), options, n=1, cutoff=0.5)
    valid = "Valid: " + (", ".join(f"`{option}`" for option in options) or "none") + "."
    return f"Did you mean `{near[0]}`? {valid}" if near else valid


def write_error(path: str | os.PathLike, error: OSError) -> KSeparationError:
    """Returns the system's refusal to write `path` as MachineError (disk full, failing) or UserError (wrong place).

    Example:

    >>> raise write_error("out/vocals.wav", OSError(errno.EACCES, "Permission denied"))
    Traceback (most recent call last):
    kseparation.errors.UserError: `out/vocals.wav` cannot be written: Permission denied. Choose another place.
    """
    what = error.strerror or str(error)
    if error.errno in OF_THE_MACHINE:
        return MachineError(f"`{path}` cannot be written: {what}. Free space there, or choose another disk.")
    return UserError(f"`{path}` cannot be written: {what}. Choose another place.")
