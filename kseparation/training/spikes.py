"""Steps whose loss lies far above those before them."""

from collections import deque
from collections.abc import Mapping

import numpy as np

# The scatter of a training is that of its largest losses: of losses of two modes, that about the median says nothing of how far a sound one can lie above the others.
LARGEST = 8
# Less than this is no scatter: a loss that stands still would make every change a spike. Of the logarithm, that is 5 %.
LEAST_SCATTER = 0.05
# How often a single loss must exceed the largest of those before it, and a run of them their median, whatever the scatter.
LEAST_RATIO = 3.0
# How often a single loss exceeds the largest, whatever the scatter, where it is a spike at the usual threshold.
CERTAIN_RATIO = 8.0
USUAL_THRESHOLD = 12.0
# A run of losses scatters less than a single one.
RUN_SHARE = 0.25
# Losses of a run that may lie lower: of two modes the quieter one comes up again and again.
LOW_IN_RUN = 1
# So many times as many losses are kept for a climb that is slow.
MEMORY = 4
# A loss that is within so many times of one for which the training returned is one of its kind.
ALIKE = 3.0
# Losses of that kind that are remembered.
MOST_MET = 8


def weights_change(loss, step: int) -> bool:
    """Returns whether a loss becomes another one in an optimizer step, numbered from 1, as an `Objective` does whose parts begin or rise: a detector must forget what it saw before."""
    return hasattr(loss, "weights_change") and loss.weights_change(step)


class SpikeDetector:
    """Compares each loss with the largest of those before it, in units of their scatter: how far the eight largest lie above the next, in the mean.

    With the largest and not with the median, and with all losses, usual or not: batches of two kinds, half of them nearly silent, give losses of two modes. A climb would hide itself in this way,
    for its own losses soon are the largest; so a run of losses is compared with blocks of an older past too.

    A batch in some hundreds that is sound and far louder than the others is a spike when it first comes. One of its kind is none when it comes again, or a healthy training would be ended by its
    music; a loss that stays as high is a divergence, whatever was met before.

    Ratios are those of the loss where all losses are positive; elsewhere one is how far a loss lies above another, beside the largest magnitude. A loss of exactly zero, as of silence, is passed
    over. One that is not finite never enters the history: it would make every later comparison false.

    Args:
        threshold: so many times their scatter above the largest a loss is a spike: at the usual 12 that is between 3 and 8 times the largest; 0 detects nothing.
        history: number of losses that a single one is compared with; four times as many are kept for runs, and a block is half of it.
        least: number of losses before anything is called a spike.
        run: number of losses in a row that are a divergence where all but one lie above those before, at a quarter of the threshold.
    """

    def __init__(self, threshold: float = USUAL_THRESHOLD, history: int = 128, least: int = 24, run: int = 6):
        self.threshold = threshold
        self.history = history
        self.least = least
        self.run = run
        self._seen = deque(maxlen=MEMORY * history + run)
        self._met = deque(maxlen=MOST_MET)

    def forget(self) -> None:
        """Begins anew, as where the loss becomes another one."""
        self._seen.clear()
        self._met.clear()

    def state(self) -> dict[str, list]:
        """Returns what has been seen as JSON values, exact."""
        return {"seen": [loss.hex() for loss in self._seen], "met": [loss.hex() for loss in self._met]}

    def restore(self, state: Mapping[str, list] | None) -> None:
        """Takes over what `state` returned; forgets everything where there is nothing."""
        self.forget()
        self._seen.extend(float.fromhex(loss) for loss in (state or {}).get("seen", ()))
        self._met.extend(float.fromhex(loss) for loss in (state or {}).get("met", ()))

    def go_back(self, state: Mapping[str, list] | None) -> None:
        """Takes over what had been seen at an earlier step, and goes on knowing the spikes that were met since."""
        met = [*self._met]
        self.restore(state)
        self._met.clear()
        self._met.extend(met)

    def see(self, loss: float) -> str | None:
        """Takes in the loss of a step that was made; returns "spike", "divergence" or None."""
        loss = float(loss)
        if not self.threshold or not np.isfinite(loss) or loss == 0:
            return None
        self._seen.append(loss)
        if len(self._seen) <= self.least:
            return None
        before, newest = self._scaled(np.array(self._seen))
        near = before[-self.history :]
        above = newest - near.max()
        if above > np.log(LEAST_RATIO) and above > self.threshold * self._scatter(near):
            known = any(met * loss > 0 and 1 / ALIKE <= loss / met <= ALIKE for met in self._met)
            self._met.append(loss)
            if not known:
                return "spike"
        if len(before) + 1 < self.least + self.run:
            return None
        run = np.sort(np.append(before[len(before) + 1 - self.run :], newest))[LOW_IN_RUN]
        older = before[: len(before) + 1 - self.run]
        # The losses right before the run tell of a leap; of a climb those that are older, where the lowest block is what it began with.
        block = self.history // 2
        blocks = [older[-self.history :], *(older[end - block : end] for end in range(len(older), block - 1, -block))]
        return "divergence" if any(self._runs_above(run, part) for part in blocks) else None

    def compare(self, loss: float) -> tuple[float, float]:
        """Returns how many times their scatter a loss lies above the largest before it, and how many times their median it is; 0 and 1 where there is too little to compare with.

        The loss that was seen last is left out of them, for that is the one that is asked about.
        """
        seen = np.array(self._seen)[:-1]
        if len(seen) < self.least or not np.isfinite(loss):
            return 0.0, 1.0
        losses = np.append(seen, loss)
        before, value = self._scaled(losses)
        before = before[-self.history :]
        above = float(value - np.median(before))
        ratio = float(np.exp(min(above, 700.0))) if losses.min() > 0 else 1.0 + max(above, 0.0)
        return float((value - before.max()) / self._scatter(before)), ratio

    @staticmethod
    def _scaled(losses):
        """The losses before the last one, and the last, on the scale on which they are compared: in logarithms, or as parts of the largest magnitude before."""
        if losses.min() > 0:
            scaled = np.log(losses)
        else:
            with np.errstate(over="ignore"):
                scaled = losses / np.abs(losses[:-1]).max()
        return scaled[:-1], scaled[-1]

    @staticmethod
    def _scatter(before):
        largest = np.sort(before)[-LARGEST - 1 :]
        return float(np.clip(np.mean(largest[1:] - largest[0]), LEAST_SCATTER, np.log(CERTAIN_RATIO) / USUAL_THRESHOLD))

    def _runs_above(self, run, before):
        """Whether a run lies above the largest of those before by its share of the threshold, and above their median by the least ratio."""
        above = run - before.max()
        return bool(above > 0 and above > RUN_SHARE * self.threshold * self._scatter(before) and run - np.median(before) > np.log(LEAST_RATIO))
