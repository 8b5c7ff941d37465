"""The convolutional U-Net of magnitude masks: strided convolutions down, transposed ones up, skips between."""

import keras
import numpy as np
from keras import ops

from kseparation.errors import did_you_mean
from kseparation.layers.finite_batch_normalization import FiniteBatchNormalization
from kseparation.layers.initializers import HE_GAIN, FanInUniform
from kseparation.layers.seeded_dropout import seeded_dropout
from kseparation.layers.strided_convolution import StridedConvolution, TransposedConvolution

VARIANTS = ("jansson", "spleeter")
OUTPUT_ACTIVATIONS = ("sigmoid", "softplus", "linear")
LEAK = 0.2
LAST_KERNEL_SIZE = 4
# So many levels of the decoder, from the coarsest on, drop features in training.
DROPPING_LEVELS = 3
# Of the last kernel, where the bias shall decide what comes out first.
SMALL_START = 0.1


@keras.saving.register_keras_serializable("kseparation")
class SpectrogramUNet(keras.layers.Layer):
    """Sees a spectrogram at ever coarser grids and paints its answer back at the finest.

    Each level halves frames and bins by a 5 x 5 convolution and the decoder doubles them again, taking in what the encoder saw at the same grid. Where a level has
    an odd number of bins, the decoder makes one too many and drops it.

    Args:
        filters: channels of each level, finest first; their number is that of the levels.
        outputs: number of output channels.
        variant: `"jansson"` normalises before the activation and passes activated features on; `"spleeter"` passes raw convolutions over the skips, normalises after
            the activation in the decoder, and ends with a dilated 4 x 4 convolution of a single map.
        output_activation: `"sigmoid"`, `"softplus"` or `"linear"`.
        output_bias: start value of the last bias.
        dropout: share of features dropped in the three coarsest levels of the decoder in training, in [0, 1).

    Input shape: `(batch, frames, bins, channels)`, frames a multiple of `2 ** len(filters)`. Output shape: `(batch, frames, bins, outputs)`,
    float32.

    References: Jansson et al. 2017, Singing voice separation with deep U-Net convolutional networks (ISMIR); Hennequin et al. 2020, Spleeter (JOSS 5, 2154).
    """

    def __init__(
        self,
        filters: tuple[int, ...] = (16, 32, 64, 128, 256, 512),
        outputs: int = 1,
        variant: str = "jansson",
        output_activation: str = "sigmoid",
        output_bias: float = 0.0,
        dropout: float = 0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not filters or min(filters) < 1 or outputs < 1:
            raise ValueError(f"`filters` needs a level, and all numbers of channels must be at least 1. Received: filters={filters}, outputs={outputs}")
        if variant not in VARIANTS:
            raise ValueError(f"`variant` is unknown. Received: variant={variant}. {did_you_mean(variant, VARIANTS)}")
        if output_activation not in OUTPUT_ACTIVATIONS:
            raise ValueError(
                f"`output_activation` is unknown. Received: output_activation={output_activation}. {did_you_mean(output_activation, OUTPUT_ACTIVATIONS)}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must lie in [0, 1). Received: dropout={dropout}")
        self.filters = tuple(filters)
        self.outputs = outputs
        self.variant = variant
        self.output_activation = output_activation
        self.output_bias = output_bias
        self.dropout = dropout
        self._create_layers()

    def _create_layers(self):
        spleeter = self.variant == "spleeter"
        # What a spleeter-like decoder paints is one map, from which the last convolution makes the outputs.
        widths = [1 if spleeter else self.outputs, *self.filters[:-1]]
        levels = len(self.filters)
        self.down = [self._layer(StridedConvolution, f"down_{level}", width) for level, width in enumerate(self.filters)]
        # The deepest level of a spleeter-like encoder hands its raw features to the decoder: a normalisation would have no effect.
        self.down_norms = [self._norm(f"down_norm_{level}") for level in range(levels - 1 if spleeter else levels)]
        self.up = [
            self._layer(TransposedConvolution, f"up_{level}", width, bias=0.0 if level or spleeter else self.output_bias)
            for level, width in enumerate(widths)
        ]
        self.up_norms = [self._norm(f"up_norm_{level}") if level or spleeter else None for level in range(levels)]
        dropping = range(max(levels - DROPPING_LEVELS, 1), levels) if self.dropout else ()
        self.drops = [seeded_dropout(self.dropout, dtype=self.dtype_policy, name=f"drop_{level}") if level in dropping else None for level in range(levels)]
        self.last = None
        if spleeter:
            self.last = keras.layers.Conv2D(
                self.outputs,
                LAST_KERNEL_SIZE,
                dilation_rate=2,
                padding="same",
                kernel_initializer=FanInUniform(LAST_KERNEL_SIZE**2, HE_GAIN),
                bias_initializer=keras.initializers.Constant(self.output_bias),
                dtype=self.dtype_policy,
                name="last",
            )

    def _layer(self, layer, name, width, **arguments):
        return layer(width, dtype=self.dtype_policy, name=name, **arguments)

    def _norm(self, name):
        return FiniteBatchNormalization(momentum=0.99, epsilon=1e-3, dtype=self.dtype_policy, name=name)

    def build(self, input_shape):
        channels = input_shape[-1]
        for level, layer in enumerate(self.down):
            layer.build((None, None, None, channels))
            channels = self.filters[level]
            if level < len(self.down_norms):
                self.down_norms[level].build((None, None, None, channels))
        for level in reversed(range(len(self.filters))):
            layer = self.up[level]
            layer.build((None, None, None, channels))
            if self.up_norms[level] is not None:
                self.up_norms[level].build((None, None, None, layer.filters))
            channels = layer.filters + (self.filters[level - 1] if level else 0)
        if self.last is not None:
            self.last.build((None, None, None, channels))

    def call(self, features, training=False):
        frames, multiple = ops.shape(features)[1], 2 ** len(self.filters)
        if isinstance(frames, int) and frames % multiple:
            raise ValueError(f"The number of frames must be a multiple of {multiple}, two for each level. Received: features of shape {tuple(features.shape)}")
        bins = [features.shape[2]]
        skips = []
        for level, layer in enumerate(self.down):
            raw = layer(features)
            bins.append(raw.shape[2])
            if level < len(self.down_norms):
                features = self._rectified(self.down_norms[level](raw, training=training))
            skips.append(raw if self.variant == "spleeter" else features)
        features = skips.pop()
        for level in reversed(range(len(self.filters))):
            features = self.up[level](features)[:, :, : bins[level]]
            features = self._decoded(features, level, training)
            if level:
                features = ops.concatenate([skips.pop(), features], axis=-1)
        if self.last is not None:
            features = self.last(features)
        features = ops.cast(features, "float32")  # half precision knows no masks between 0.996 and 1
        return features if self.output_activation == "linear" else getattr(ops, self.output_activation)(features)

    def _rectified(self, features):
        return ops.elu(features) if self.variant == "spleeter" else ops.leaky_relu(features, negative_slope=LEAK)

    def _decoded(self, features, level, training):
        norm = self.up_norms[level]
        if norm is None:  # the output
            return features
        features = norm(ops.elu(features), training=training) if self.variant == "spleeter" else ops.relu(norm(features, training=training))
        return features if self.drops[level] is None else self.drops[level](features, training=training)

    def start_at(self, bias: float) -> None:
        """Sets the last bias of a built, untrained layer, and makes the kernel before it so small that the bias decides."""
        last = self.last or self.up[0]
        last.bias.assign(np.full(last.bias.shape, bias, "float32"))
        last.kernel.assign(ops.convert_to_tensor(last.kernel) * SMALL_START)

    def compute_output_shape(self, features_shape):
        return (*features_shape[:3], self.outputs)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "outputs": self.outputs,
            "variant": self.variant,
            "output_activation": self.output_activation,
            "output_bias": self.output_bias,
            "dropout": self.dropout,
        }
