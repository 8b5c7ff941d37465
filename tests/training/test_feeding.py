"""What `fit` gets of a source of batches."""

import keras
import numpy as np

from kseparation.training.feeding import fit_input
from kseparation.training.validation_set import ValidationSet
from tests.on_backend import numbers
from tests.tiny_separator import tiny_batches, tiny_separator


def test_a_set_is_read_in_order_and_again() -> None:
    batches = [*tiny_batches(3), *tiny_batches(1, size=1)]
    fed = fit_input(ValidationSet(batches), batches[0])
    assert len(fed) == 4
    for _ in range(2):
        read = [fed[index] for index in range(4)] if isinstance(fed, ValidationSet) else list(fed)
        for given, (mixtures, stems) in zip(batches, read, strict=True):
            np.testing.assert_array_equal(numbers(mixtures), given[0])
            np.testing.assert_array_equal(numbers(stems), given[1])


def test_an_iterator_is_read_on_from_epoch_to_epoch() -> None:
    given, read = tiny_batches(40), []

    def source():
        for number, batch in enumerate(given):
            read.append(number)
            yield batch

    model = tiny_separator(keras.optimizers.SGD(0.1))
    model.fit(fit_input(source(), given[0]), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert read == list(range(len(read))) and 6 <= len(read) < 12  # what comes after the six is read ahead


def test_no_thread_that_tunes_itself_has_to_be_waited_for() -> None:
    fed = fit_input(ValidationSet(tiny_batches(2)), tiny_batches(1)[0])
    if keras.backend.backend() == "tensorflow":
        assert fed.options().autotune.enabled is False
    else:
        assert isinstance(fed, ValidationSet)
