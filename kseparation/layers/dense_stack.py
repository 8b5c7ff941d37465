"""Dense layers, one behind the other."""

import keras
from keras import ops

from kseparation.layers.initializers import HE_GAIN, FanInUniform
from kseparation.layers.seeded_dropout import seeded_dropout


@keras.saving.register_keras_serializable("kseparation")
class DenseStack(keras.layers.Layer):
    """Dense layers with a rectifier and dropout behind each but the last, which is linear.

    Args:
        hidden: units of each hidden layer; none leaves the linear one.
        units: of the last.
        dropout: share of the features behind each hidden layer that is dropped in training, in [0, 1).

    Input shape: `(..., features)`. Output shape: `(..., units)`.

    Example:

    >>> tuple(DenseStack(hidden=(8, 8), units=3)(ops.ones((2, 5))).shape)
    (2, 3)
    """

    def __init__(self, hidden: tuple[int, ...], units: int, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if min((*hidden, units)) < 1:
            raise ValueError(f"`hidden` and `units` need numbers from 1 on. Received: hidden={tuple(hidden)}, units={units}")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be at least 0 and below 1. Received: dropout={dropout}")
        self.hidden = tuple(hidden)
        self.units = units
        self.dropout = dropout

    def build(self, input_shape):
        widths = (input_shape[-1], *self.hidden)
        self.layers = []
        for number, (inputs, units) in enumerate(zip(widths, (*self.hidden, self.units), strict=True)):
            gain = HE_GAIN if number < len(self.hidden) else 1.0
            layer = keras.layers.Dense(
                units, kernel_initializer=FanInUniform(inputs, gain), bias_initializer=FanInUniform(inputs), dtype=self.dtype_policy, name=f"dense_{number}"
            )
            layer.build((None, inputs))
            self.layers.append(layer)
        self.drops = [seeded_dropout(self.dropout, dtype=self.dtype_policy, name=f"dropout_{number}") for number in range(len(self.hidden))] if self.dropout else []

    @property
    def last(self) -> keras.layers.Dense:
        """The linear layer."""
        return self.layers[-1]

    def call(self, features, training=False):
        for number, layer in enumerate(self.layers[:-1]):
            features = ops.relu(layer(features))
            if self.drops:
                features = self.drops[number](features, training=training)
        return self.last(features)

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.units

    def get_config(self):
        return {**super().get_config(), "hidden": self.hidden, "units": self.units, "dropout": self.dropout}
