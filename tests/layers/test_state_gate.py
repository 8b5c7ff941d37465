"""State that is taken back where a step was not accepted."""

import keras
import numpy as np
import pytest
from keras import ops

from kseparation.layers.state_gate import take_back_unless
from tests.on_backend import numbers


@pytest.mark.parametrize(("accepted", "expected"), [(True, [[5.0, np.nan], 7]), (False, [[1.0, 2.0], 3])])
def test_what_was_written_stays_or_goes(accepted, expected):
    variables = [keras.Variable(np.array([1.0, 2.0], "float32")), keras.Variable(np.array(3, "int32"), trainable=False)]
    old = [ops.copy(ops.convert_to_tensor(variable)) for variable in variables]
    variables[0].assign(np.array([5.0, np.nan], "float32"))
    variables[1].assign(np.array(7, "int32"))
    take_back_unless(ops.convert_to_tensor(accepted), variables, old)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(numbers(variable), value)
