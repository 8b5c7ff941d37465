"""`kseparation <verb>`: finds the verb, parses its flags, runs it, and turns every end into an exit code."""

import contextlib
import errno
import itertools
import platform
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from kseparation import __version__
from kseparation.cli import demo, evaluate, import_weights, models, replay, separate, train
from kseparation.cli.backend import prepare_environment, require_gpu, select_backend
from kseparation.cli.flags import Verb, help_text, parse_flags, wants_help
from kseparation.cli.output import json_text, print_result, standard_output_kept_clean
from kseparation.errors import DISK_FULL, OF_THE_MACHINE, KSeparationError, MachineError, UserError, did_you_mean

VERBS: dict[str, Verb] = {module.VERB.name: module.VERB for module in (train, separate, evaluate, replay, import_weights, models, demo)}

_WRONG_PATH = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS)


class Terminated(KeyboardInterrupt):
    """SIGTERM: what stops cleanly at Ctrl-C stops cleanly at this too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `kseparation` and returns the exit code.

    0 done, 1 an error of ours, 2 the user's mistake, 3 a check failed, 4 training stopped by its safety policy, 5 the machine, 130 and 143
    interrupted.

    Args:
        arguments: the command line without the name of the program; that of the process by default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("--help", "-h", "-help", "help"):
        print_result(_list_of_verbs())
        return 0
    if arguments[0] == "--version":
        print_result(__version__)
        return 0
    verb = VERBS.get(arguments[0])
    if verb is None:
        return _mistake(UserError(f"There is no verb `{arguments[0]}`. {did_you_mean(arguments[0], VERBS)}"), arguments)
    if wants_help(arguments[1:]):
        print_result(help_text(verb))
        return 0
    try:
        flags, rest = parse_flags(verb, arguments[1:])
    except UserError as error:
        return _mistake(error, arguments)
    if not flags.json:
        return _run(verb, flags, rest)[0]
    with standard_output_kept_clean():
        code, result = _run(verb, flags, rest)
    print_result(json_text(result))
    return code


def _mistake(error: UserError, arguments: Sequence[str]) -> int:
    """Reports a command line that could not be parsed."""
    flags = itertools.takewhile(lambda argument: argument != "--", arguments)
    if any(re.fullmatch(r"--?json(=(true|t|1|yes|y))?", argument, re.IGNORECASE) for argument in flags):
        print_result(json_text(_failure(error, error.exit_code)))
    return _print_error(error)


def _run(verb: Verb, flags: Any, rest: list[str]) -> tuple[int, Any]:
    """Runs a verb; returns the exit code and what `--json` prints."""
    try:
        with _sigterm_interrupts(), _plain_warnings():
            if flags.device == "cpu" and flags.require_gpu:
                raise UserError("`--require_gpu` contradicts `--device=cpu`. Leave one of them out.")
            backend = select_backend(flags.backend)
            prepare_environment(flags.device)
            if flags.require_gpu or flags.device == "gpu":
                require_gpu(backend)
            result = verb.run(flags, rest)
            if not flags.json and verb.show is not None:
                print_result(verb.show(result))
            return 0, result
    except (Exception, KeyboardInterrupt) as error:
        code = _print_error(error)
        return code, _failure(error, code)


def _failure(error: BaseException, code: int) -> dict[str, Any]:
    """What `--json` prints in place of a result."""
    return {"error": str(error) or type(error).__name__, "exit_code": code}


def _print_error(error: BaseException) -> int:
    """Prints an error in the form that its kind deserves, and returns the exit code."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        error = MachineError(f"The disk is full: {error}. Free space, or choose another folder.")
    elif isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        error = MachineError(f"The machine stands in the way: {error}. Check its disks, its memory and its limits (ulimit -a).")
    elif isinstance(error, OSError) and error.errno in _WRONG_PATH and error.filename is not None:
        error = UserError(f"`{error.filename}` cannot be used: {error.strerror}. Check the path and its permissions, or choose another.")
    if isinstance(error, KSeparationError):
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    traceback.print_exception(error, file=sys.stderr)
    print(
        f"error: this is a fault of kseparation {__version__} (Python {platform.python_version()}, {platform.system()}), not of what "
        "it was given. Please report it on the project's issue tracker, with the command and all the lines above.",
        file=sys.stderr,
    )
    return 1


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings of this package are one line: where they come from helps nobody at a command line."""
    usual = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], filename: str, *more: Any) -> str:
        return f"warning: {message}\n" if category is UserWarning and "kseparation" in filename else usual(message, category, filename, *more)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _list_of_verbs() -> str:
    width = max(map(len, VERBS)) + 2
    lines = [f"  {verb.name:<{width}}{verb.summary}" for verb in VERBS.values()]
    return "\n".join(
        ["usage: kseparation <verb> [flags]", "", *lines, "", "`kseparation <verb> --help` lists the flags of a verb."]
    )
