"""Where a config value was written, and the list of what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kseparation.errors import UserError


def join_key(*parts: str | int) -> str:
    """Joins the parts of a dotted key: `join_key("loss", 0, "weight")` is `"loss.0.weight"`."""
    return ".".join(str(part) for part in parts if part != "")


@dataclass(frozen=True)
class Place:
    """The key of a part of a config, with the file and line (or the flag) that each key below it came from.

    Args:
        key: dotted key of the part, such as `loss.0`.
        sources: maps a dotted key to where it was written, such as `run.yaml:12`.
        default: what is said of a key that was written nowhere.
        known_keys: keys that the part has besides the arguments of what it names, for suggestions.
    """

    key: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    default: str = ""
    known_keys: tuple[str, ...] = ()

    def below(self, *parts: str | int) -> "Place":
        """Returns the place of a key below this one."""
        return Place(join_key(self.key, *parts), self.sources, self.default)

    def __str__(self) -> str:
        key = self.key
        while key and key not in self.sources:  # an absent key is looked for where its parent stands
            key = key.rpartition(".")[0]
        source = self.sources.get(key, self.default)
        name = f"`{self.key}`" if self.key else "the config"
        return f"{source}: {name}" if source else name


class Problems:
    """Collects what is wrong, so that everything is reported at once.

    Example:

    >>> problems = Problems()
    >>> problems.add("run.yaml:3: `seed`", "must be a whole number.")
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    ...
    kseparation.errors.UserError: run.yaml:3: `seed` must be a whole number.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, where: "Place | str", message: str = "") -> None:
        """Adds one problem: where it is, and a sentence of which that place is the subject."""
        line = f"{where} {message}".rstrip()
        if line not in self._lines:
            self._lines.append(line)

    def __len__(self) -> int:
        return len(self._lines)

    def raise_if_any(self) -> None:
        """Raises one `UserError` that holds every problem, each on its own line; does nothing when there is none."""
        if len(self._lines) == 1:
            raise UserError(self._lines[0])
        if self._lines:
            raise UserError(f"{len(self._lines)} problems:\n" + "\n".join(f"  {line}" for line in self._lines))
