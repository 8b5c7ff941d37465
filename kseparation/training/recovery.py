"""What is done about trouble, within limits that a resume does not reset."""

from collections.abc import Mapping
from typing import Any

# So many steps around the one in which trouble showed get other examples.
WINDOW_STEPS = 50
# The limits: rejected steps among so many, and returns among so many.
SKIPS_WITHIN = 1000
SHARE_SKIPPED = 0.01
SHARE_UNREAD = 0.1
# Validations in a row whose loss is not finite: from here on nothing tells what the training is worth.
MOST_BAD_VALIDATIONS = 3
RETURNS_WITHIN = 10_000
# What a second return does to the learning rate.
SLOWER = 0.5


class RecoveryPolicy:
    """Decides between going on, returning to an older state, returning at half the learning rate, and the end.

    A rejected step costs nothing but its batch, and is left out. Too many of them, in a row or among the last thousand, and a loss that leaps or climbs are met by a return to the last good
    state, with other examples around the bad step; the second time within 10,000 steps at half the learning rate too; after the last return that is allowed the training ends.

    Args:
        most_in_a_row: rejected steps in a row that are left out before the training returns.
        most_returns: within 10,000 steps.
        strict: ends the training at the first trouble.
        state: of an earlier process, as `state()` gave it.

    Attributes:
        rate_factor: of the learning rate, 1 until a return halves it.
        rejected_before: whether the step before was rejected too, whose evidence then stands for both.
    """

    def __init__(self, most_in_a_row: int = 10, most_returns: int = 3, strict: bool = False, state: Mapping[str, Any] | None = None):
        state = state or {}
        self.most_in_a_row = most_in_a_row
        self.most_returns = most_returns
        self.strict = strict
        self.skips = list(state.get("skips", []))
        self.unread = list(state.get("unread", []))
        self.returns = [dict(entry) for entry in state.get("returns", [])]
        self.rate_factor = float(state.get("rate_factor", 1.0))
        self.bad_validations = int(state.get("bad_validations", 0))
        self.rejected_before = bool(state.get("rejected_before", False))

    def state(self) -> dict[str, Any]:
        """Returns what a later process needs, as JSON values."""
        return {
            "skips": self.skips,
            "unread": self.unread,
            "returns": self.returns,
            "rate_factor": self.rate_factor,
            "bad_validations": self.bad_validations,
            "rejected_before": self.rejected_before,
        }

    def rejected(self, step: int, in_a_row: int) -> str:
        """Decides about a rejected step; returns an action.

        Args:
            step: its number.
            in_a_row: rejected steps in a row, this one included.
        """
        self.skips = [other for other in self.skips if step - SKIPS_WITHIN < other < step] + [step]
        if self.strict:
            return "stop"
        if in_a_row >= self.most_in_a_row or len(self.skips) > max(self.most_in_a_row, SHARE_SKIPPED * SKIPS_WITHIN):
            return self.trouble(step)
        return "skip"

    def trouble(self, step: int) -> str:
        """Decides about a step that cannot be left out; returns an action."""
        recent = [entry for entry in self.returns if step - RETURNS_WITHIN < entry["step"]]
        if self.strict or len(recent) >= self.most_returns:
            return "stop"
        return "roll_back_slower" if recent else "roll_back"

    def unreadable(self, step: int) -> str:
        """Decides about a batch that could not be read and was drawn anew; returns an action. That costs nothing, so there may be ten times as many as rejected steps."""
        self.unread = [other for other in self.unread if step - SKIPS_WITHIN < other] + [step]
        return "stop" if self.strict or len(self.unread) > SHARE_UNREAD * SKIPS_WITHIN else "redraw"

    def validation(self, finite: bool) -> str:
        """Decides about a validation; returns an action."""
        self.bad_validations = 0 if finite else self.bad_validations + 1
        if finite:
            return "none"
        return "stop" if self.strict or self.bad_validations >= MOST_BAD_VALIDATIONS else "report"

    def returned(self, step: int, to_step: int, action: str) -> None:
        """Notes a return from `step` to `to_step`; the rejected steps before it are paid for with it."""
        self.returns.append({"step": step, "to_step": to_step})
        self.skips, self.rejected_before = [], False
        if action == "roll_back_slower":
            self.rate_factor *= SLOWER

    def earlier_return(self, step: int) -> int | None:
        """Returns the step to which the last return near `step` went, which was in vain; None where there was none."""
        near = [entry["to_step"] for entry in self.returns if abs(entry["step"] - step) <= 2 * WINDOW_STEPS]
        return min(near) if near else None
