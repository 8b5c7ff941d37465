"""Steps whose loss lies far above those before them."""

from collections import deque
from collections.abc import Mapping

import numpy as np

# A normal distribution of this median absolute deviation has a standard deviation of 1.
MAD_TO_DEVIATION = 1.4826
# Less than this is no scatter: a loss that stands still would make every change a spike. Of the logarithm, that is 5 %.
LEAST_DEVIATION = 0.05
# How often a loss must exceed the median, whatever the scatter.
LEAST_RATIO = 3.0
# The median of a run scatters less than a single loss.
RUN_SHARE = 0.25
# Losses below this robust z-score belong to the usual course.
USUAL = 6.0


class SpikeDetector:
    """Compares each loss with the median and the median absolute deviation of those before it.

    The z-score is that of the logarithm where all losses are positive, of the loss itself elsewhere; a loss of exactly zero, as of silence, is passed over. Only finite losses of the usual
    course enter the history: one value that is not finite would make every later comparison false, and a training that diverges would soon look usual.

    Args:
        threshold: z-score of a single loss that is a spike; 0 detects nothing.
        history: number of losses that are compared with.
        least: number of losses before anything is called a spike.
        run: number of losses in a row whose median, at a quarter of the threshold, is a divergence.
    """

    def __init__(self, threshold: float = 12.0, history: int = 128, least: int = 24, run: int = 6):
        self.threshold = threshold
        self.least = least
        self._usual = deque(maxlen=history)
        self._recent = deque(maxlen=run)

    def forget(self) -> None:
        """Begins anew, as where the loss becomes another one."""
        self._usual.clear()
        self._recent.clear()

    def state(self) -> dict[str, list]:
        """Returns what has been seen as JSON values, exact."""
        return {"usual": [loss.hex() for loss in self._usual], "recent": [[value.hex() for value in pair] for pair in self._recent]}

    def restore(self, state: Mapping[str, list] | None) -> None:
        """Takes over what `state` returned; forgets everything where there is nothing."""
        self.forget()
        state = state or {}
        self._usual.extend(float.fromhex(loss) for loss in state.get("usual", ()))
        self._recent.extend(tuple(float.fromhex(value) for value in pair) for pair in state.get("recent", ()))

    def see(self, loss: float) -> str | None:
        """Takes in the loss of a step that was made; returns "spike", "divergence" or None."""
        if not self.threshold or not np.isfinite(loss) or loss == 0:
            return None
        score, ratio = self.compare(loss)
        self._recent.append((score, ratio))
        if score < USUAL or len(self._usual) < self.least:
            self._usual.append(float(loss))
        if len(self._usual) < self.least:
            return None
        if score > self.threshold and ratio > LEAST_RATIO:
            return "spike"
        if len(self._recent) == self._recent.maxlen:
            scores, ratios = np.median(self._recent, axis=0)
            if scores > RUN_SHARE * self.threshold and ratios > LEAST_RATIO:
                return "divergence"
        return None

    def compare(self, loss: float) -> tuple[float, float]:
        """Returns the robust z-score of a loss and how many times the median it is; 0 and 1 where there is too little to compare with."""
        if len(self._usual) < self.least:
            return 0.0, 1.0
        usual = np.array(self._usual)
        if loss > 0 and usual.min() > 0:
            usual, value, floor = np.log(usual), np.log(loss), LEAST_DEVIATION
            ratio = float(np.exp(min(value - np.median(usual), 700.0)))
        else:
            value, middle = loss, float(np.median(usual))
            floor = LEAST_DEVIATION * max(abs(middle), 1e-12)
            ratio = 1.0 + max(value - middle, 0.0) / max(abs(middle), 1e-12)
        middle = np.median(usual)
        deviation = max(MAD_TO_DEVIATION * float(np.median(np.abs(usual - middle))), floor)
        return float((value - middle) / deviation), ratio
