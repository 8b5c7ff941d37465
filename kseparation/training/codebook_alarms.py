"""Says when a codebook dies, while the training goes on as if nothing were."""

from collections.abc import Callable

import keras

# A codebook is thought dead where so few of its codes, used alike, would tell as much: a share of all, and a number.
LEAST_SHARE, LEAST_CODES = 0.05, 8.0
# Share of the events in which as many codes were revived as may be: revival does not keep up.
MOST_CAPPED, LEAST_EVENTS = 0.8, 5
NORM_RATIOS = (0.1, 10.0)
# A step that moves the codebook by less than this share of its size does so by rounding.
LEAST_MOVEMENT, STILL_STEPS = 1e-6, 500


class CodebookAlarms(keras.callbacks.Callback):
    """Looks at the codebook of a model once in an epoch and says what is wrong with it, each thing once until it has been right again.

    - collapse: the perplexity of the epoch lies below a twentieth of the codes or below 8, whichever is less.
    - storm: in over 80 % of the events of revival as many codes were revived as may be.
    - scale: the codes are more than ten times as long as what the encoder gives, or less than a tenth.
    - standstill: the codebook has not moved for 500 steps.

    Args:
        say: called with (name, words) of each.

    Attributes:
        names: of the alarms that are on.
    """

    def __init__(self, say: Callable[[str, str], None]):
        super().__init__()
        self._say = say
        self.names: set[str] = set()
        self._still, self._events, self._capped = 0, 0.0, 0.0

    def on_train_begin(self, logs=None):
        quantizer = self.model.quantizer
        if quantizer.revival.rule != "off":
            self._events, self._capped = float(quantizer.events), float(quantizer.capped_events)

    def on_train_batch_end(self, batch, logs=None):
        self._still = self._still + 1 if float(self.model.quantizer.movement) < LEAST_MOVEMENT else 0
        if self._still == STILL_STEPS:
            self._set("standstill", f"the codebook has not moved for {STILL_STEPS} steps: nothing trains it")
        elif self._still == 0:
            self.names.discard("standstill")

    def on_epoch_end(self, epoch, logs=None):
        quantizer, logs = self.model.quantizer, logs or {}
        codes = quantizer.codebook_size
        least, perplexity = min(LEAST_SHARE * codes, LEAST_CODES), logs.get("perplexity")
        if perplexity is not None:
            self._judge("collapse", perplexity < least, f"the codes tell as much as {perplexity:.3g} used alike, of {codes}: most cells get the same code")
        ratio = logs.get("code_norm_ratio")
        if ratio is not None:
            self._judge("scale", not NORM_RATIOS[0] <= ratio <= NORM_RATIOS[1], f"codes are {ratio:.3g} times as long as what the encoder gives")
        if quantizer.revival.rule != "off":
            events, capped = float(quantizer.events) - self._events, float(quantizer.capped_events) - self._capped
            if events >= LEAST_EVENTS:
                self._judge("storm", capped > MOST_CAPPED * events, f"in {capped:.0f} of {events:.0f} events as many codes were revived as may be: they die faster than they are used")
                self._events, self._capped = float(quantizer.events), float(quantizer.capped_events)

    def _judge(self, name, wrong, words):
        if wrong:
            self._set(name, words)
        else:
            self.names.discard(name)

    def _set(self, name, words):
        if name not in self.names:
            self.names.add(name)
            self._say(name, words)
