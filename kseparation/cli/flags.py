"""Definition and parsing of flags: absl flags in a set of their own for each verb, so that importing a verb defines nothing globally."""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from kseparation.errors import UserError, did_you_mean

BACKENDS = ("tensorflow", "torch", "jax")
DEVICES = ("auto", "cpu", "gpu")


@dataclass(frozen=True)
class Verb:
    """One command.

    Args:
        name: what is typed.
        summary: one line for the list of verbs.
        define: defines the flags of the verb on a set of absl flags.
        run: does the work: `run(flags, arguments)` -> a result that JSON can hold.
        arguments: how the arguments that are not flags are called in the help; empty where there are none.
        show: turns the result into text for standard output when `--json` is not given; None prints nothing there.
    """

    name: str
    summary: str
    define: Callable[[absl_flags.FlagValues], None]
    run: Callable[[absl_flags.FlagValues, Sequence[str]], Any]
    arguments: str = ""
    show: Callable[[Any], str] | None = None


def verb_flags(verb: Verb) -> absl_flags.FlagValues:
    """Returns the flags of a verb, not parsed: its own first, then those that every verb has."""
    flags = absl_flags.FlagValues()
    flags.set_gnu_getopt(True)  # flags may stand after file names
    verb.define(flags)
    backends = "|".join(BACKENDS)
    absl_flags.DEFINE_string(
        "backend", None, f"{backends}; else KERAS_BACKEND, else the first that is installed.", flag_values=flags
    )
    absl_flags.DEFINE_enum("device", "auto", DEVICES, "cpu hides every GPU; gpu fails without one.", flag_values=flags)
    absl_flags.DEFINE_boolean("require_gpu", False, "Fail when the backend finds no GPU.", flag_values=flags)
    absl_flags.DEFINE_boolean(
        "json",
        False,
        "Print the result as one JSON value on standard output, and nothing else there.",
        flag_values=flags,
    )
    return flags


def parse_flags(verb: Verb, arguments: Sequence[str]) -> tuple[absl_flags.FlagValues, list[str]]:
    """Parses the arguments of a verb.

    A dash in the name of a flag counts as an underscore. `--` ends the flags.

    Args:
        verb: the verb.
        arguments: what follows the verb on the command line.

    Returns:
        The flags and the arguments that are not flags.

    Raises:
        UserError: a flag is unknown or has no proper value, or an argument is not expected.
    """
    flags = verb_flags(verb)
    normalized = _with_underscores(arguments)
    names = [f"--{name}" for name in flags]
    # absl itself understands these two, which would read flags from a file and let unknown flags pass.
    for argument in normalized[: _end_of_flags(normalized)]:
        if re.match(r"--?(flagfile|undefok)(=|$)", argument):
            raise UserError(f"`{argument.partition('=')[0]}` is not a flag of `{verb.name}`. {did_you_mean('', names)}")
    try:
        rest = flags([verb.name, *normalized])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        name = f"--{error.flagname}"
        meant = next((given for given in arguments if given.startswith("-") and os.path.lexists(given)), None)
        file = f" The file of that name is given as ./{meant}." if meant else ""
        raise UserError(f"`{meant or name}` is not a flag of `{verb.name}`. {did_you_mean(name, names)}{file}") from None
    except absl_flags.IllegalFlagValueError as error:
        raise UserError(_illegal_value(flags, str(error))) from None
    except absl_flags.Error as error:
        raise UserError(f"{error}. `kseparation {verb.name} --help` lists the flags.") from None
    for name in flags:
        if flags[name].present and flags[name].value in ("", []):
            raise UserError(f"`--{name}` must not be empty. Received: nothing after `=`. Give a value, or leave the flag out.")
        if isinstance(flags[name].value, float) and not math.isfinite(flags[name].value):
            raise UserError(f"`--{name}` must be {flags[name].parser.syntactic_help}. Received: {flags[name].value}")
    if rest and not verb.arguments:
        raise UserError(
            f"`{verb.name}` takes flags only. Received: {rest[0]!r}. `kseparation {verb.name} --help` lists them."
        )
    return flags, rest


def help_text(verb: Verb) -> str:
    """Returns what `kseparation <verb> --help` prints."""
    flags = verb_flags(verb)
    lines = [f"usage: {' '.join(['kseparation', verb.name, '[flags]', verb.arguments]).rstrip()}", "", verb.summary, ""]
    for name in flags:
        flag = flags[name]
        if flag.boolean:
            head = f"--{name}"
        elif isinstance(flag.parser, absl_flags.EnumParser):
            head = f"--{name}={'|'.join(flag.parser.enum_values)}"
        else:
            head = f"--{name}=..."
        shown = None if flag.boolean or flag.default in (None, [], ()) else flag.default_as_str.strip("'")
        default = f" Default: {shown}." if shown else ""
        lines += [f"  {head}", f"      {re.sub('^<.*?>: ', '', flag.help)}{default}"]  # absl puts the values there too
    return "\n".join(lines)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether the flags among the arguments ask for help."""
    return any(argument in ("--help", "-h", "-help") for argument in arguments[: _end_of_flags(arguments)])


def model_name(path: str) -> str:
    """Returns what a model is called in the names of files: its run folder, or its file without the ending."""
    resolved = Path(path).resolve()
    return resolved.name if resolved.is_dir() else resolved.stem


def _end_of_flags(arguments: Sequence[str]) -> int:
    return list(arguments).index("--") if "--" in arguments else len(arguments)


def _with_underscores(arguments: Sequence[str]) -> list[str]:
    end = _end_of_flags(arguments)
    result = []
    for argument in arguments[:end]:
        dashes, name, value = re.match(r"(-{0,2})([^=]*)(.*)", argument, re.DOTALL).groups()
        result.append(dashes + name.replace("-", "_") + value if dashes else argument)
    return result + list(arguments[end:])


def _illegal_value(flags: absl_flags.FlagValues, message: str) -> str:
    found = re.match(r"flag --(\w+)=(.*?): ", message, re.DOTALL)
    if found is None or found[1] not in flags:
        return message
    name, value = found.groups()
    parser = flags[name].parser
    if isinstance(parser, absl_flags.EnumParser):
        return f"`--{name}` must be one of its values. Received: {value}. {did_you_mean(value, parser.enum_values)}"
    required = "true or false" if flags[name].boolean else parser.syntactic_help
    return f"`--{name}` must be {required}. Received: {value}"
