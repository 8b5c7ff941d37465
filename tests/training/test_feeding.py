"""What `fit` gets of a source of batches."""

import keras
import numpy as np
from keras import ops

from kseparation.training.feeding import fit_input
from kseparation.training.validation_set import ValidationSet
from tests.on_backend import numbers
from tests.tiny_separator import SPEC, tiny_batches


class Recorder(keras.Model):
    """Keeps a number of every batch that it is trained on, in their order."""

    def __init__(self, size):
        super().__init__()
        self.seen = self.add_weight(shape=(size,), initializer="zeros", trainable=False)
        self.place = self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="int32")
        self.weight = self.add_weight(shape=())
        self.built = True

    def call(self, mixture):
        here = ops.one_hot(ops.convert_to_tensor(self.place), self.seen.shape[0], dtype="float32")
        self.seen.assign_add(here * mixture[0, 0, 0])
        self.place.assign_add(1)
        return ops.convert_to_tensor(self.weight) * mixture[:, None]


def test_a_set_is_read_in_order_and_again() -> None:
    batches = [*tiny_batches(3), *tiny_batches(1, size=1)]
    fed = fit_input(ValidationSet(batches), SPEC)
    assert len(fed) == 4
    for _ in range(2):
        read = [fed[index] for index in range(4)] if isinstance(fed, ValidationSet) else list(fed)
        for given, (mixtures, stems) in zip(batches, read, strict=True):
            np.testing.assert_array_equal(numbers(mixtures), given[0])
            np.testing.assert_array_equal(numbers(stems), given[1])


def test_an_iterator_is_read_on_from_epoch_to_epoch() -> None:
    given, model = tiny_batches(40), Recorder(6)
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() == "jax")
    model.fit(fit_input((batch for batch in given), SPEC), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(numbers(model.seen), [mixtures[0, 0, 0] for mixtures, _ in given[:6]])


def test_no_thread_that_tunes_itself_has_to_be_waited_for() -> None:
    fed = fit_input(ValidationSet(tiny_batches(2)), SPEC)
    if keras.backend.backend() == "tensorflow":
        assert fed.options().autotune.enabled is False
    else:
        assert isinstance(fed, ValidationSet)
