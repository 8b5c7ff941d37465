"""Going on with a training where the disk is full or failing."""

import contextlib
import sys
from collections.abc import Iterator

from kseparation.errors import OF_THE_DISK, MachineError


class SurviveFullDisk:
    """Lets a training go on without a file that a full or failing disk refuses; it is tried again when it is next due.

    One object for each kind of file, so that failures in a row can be counted.

    Args:
        again: when the next attempt will be, for the message.

    Attributes:
        failed: number of attempts that failed in a row, 0 after one that succeeded.
        refusal: what the last of these said, None after one that succeeded.

    Example:

    >>> patience = SurviveFullDisk("at the end of the next epoch")
    >>> with patience.attempt("the checkpoint of step 400"):
    ...     pass
    >>> patience.failed
    0
    """

    def __init__(self, again: str) -> None:
        self.again = again
        self.failed = 0
        self.refusal: str | None = None

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Swallows the disk's refusal of what is written inside, says so on standard error, and counts it.

        Any other error passes: a wrong path or a missing permission does not mend itself.

        Args:
            what: is written, as the message begins.
        """
        try:
            yield
        except (MachineError, OSError) as error:
            reason = _refusal(error)
            if reason is None:
                raise
            self.failed += 1
            self.refusal = f"{what} could not be written: {reason}"
            print(f"{self.refusal}; the training goes on, and tries again {self.again}", file=sys.stderr, flush=True)
        else:
            if self.failed:
                print(f"{what} was written, after {self.failed} attempt{'s' * (self.failed > 1)} that the disk refused", file=sys.stderr, flush=True)
            self.failed, self.refusal = 0, None

    def require_written(self) -> None:
        """Raises MachineError where the last attempt failed: for the end of a training, after which there is no other."""
        if self.refusal is not None:
            raise MachineError(f"{self.refusal[0].upper()}{self.refusal[1:]}. Free space there, and run the same command again.")


def _refusal(error: BaseException) -> str | None:
    """Returns what the disk said, None where it was not the disk."""
    while error is not None:
        if isinstance(error, OSError):
            return (error.strerror or str(error)) if error.errno in OF_THE_DISK else None
        error = error.__cause__  # of a MachineError
    return None
