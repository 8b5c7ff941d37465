"""Whether a codebook is alive: how many codes are in use, how well they fit, and whether they move."""

import keras
from keras import ops

from kseparation.ops import quantize as vq


class _Float32Metric(keras.metrics.Metric):
    """A metric whose sums are float32 under every dtype policy."""

    def __init__(self, name: str | None = None, **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})

    def _sum(self, name, shape=()):
        return self.add_variable(shape=shape, initializer="zeros", name=name)

    def get_config(self):
        return {"name": self.name}


class _CodeCounts(_Float32Metric):
    """Counts how often each code was used since the last reset."""

    def __init__(self, codebook_size: int, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        if codebook_size < 1:
            raise ValueError(f"`codebook_size` must be at least 1. Received: codebook_size={codebook_size}")
        self.codebook_size = codebook_size
        self.counts = self._sum("counts", (codebook_size,))

    def update_state(self, codes):
        """Adds the codes of a batch.

        Args:
            codes: integers of any shape, 0 to `codebook_size - 1`.
        """
        codes = ops.reshape(ops.cast(codes, "int32"), (-1, 1))
        ones = ops.ones_like(codes[:, 0], dtype="float32")
        self.counts.assign(ops.scatter_update(ops.convert_to_tensor(self.counts), codes, ones, reduction="add"))

    def get_config(self):
        return {**super().get_config(), "codebook_size": self.codebook_size}


@keras.saving.register_keras_serializable("kseparation")
class CodebookPerplexity(_CodeCounts):
    """Perplexity of the codes of all batches since the last reset: from 1, all vectors have the same code, to the number of codes, all are used alike.

    Of all batches together, not a mean over them: the perplexity of a batch cannot exceed its number of vectors.

    Args:
        codebook_size: number of codes.
    """

    def __init__(self, codebook_size: int, name: str = "perplexity", **kwargs):
        super().__init__(codebook_size, name=name, **kwargs)

    def result(self):
        return vq.perplexity(ops.convert_to_tensor(self.counts))


@keras.saving.register_keras_serializable("kseparation")
class ActiveCodeShare(_CodeCounts):
    """Share of the codes that were used at least a tenth as often as in uniform use, 0 to 1.

    Args:
        codebook_size: number of codes.
        least: share of uniform use from which on a code is active, above 0 and at most 1.
    """

    def __init__(self, codebook_size: int, least: float = 0.1, name: str = "active_code_share", **kwargs):
        super().__init__(codebook_size, name=name, **kwargs)
        if not 0 < least <= 1:
            raise ValueError(f"`least` must lie above 0 and not above 1. Received: least={least}")
        self.least = least

    def result(self):
        counts = ops.convert_to_tensor(self.counts)
        active = (counts > 0) & (counts >= self.least * ops.mean(counts))
        return ops.mean(ops.cast(active, "float32"))

    def get_config(self):
        return {**super().get_config(), "least": self.least}


@keras.saving.register_keras_serializable("kseparation")
class QuantizationErrorRatio(_Float32Metric):
    """Mean square distance from vectors to their codes over the variance of the vectors: 0 is perfect, 1 as good as one code at the mean of all.

    Of all batches since the last reset; one that is not finite is left out. Sums are kept about the mean of the first batch, so that a large mean costs no digits. Where all vectors are equal
    the result is 0 for no error, and very large otherwise.

    Args:
        features: number of features of a vector.
    """

    def __init__(self, features: int, name: str = "quantization_error_ratio", **kwargs):
        super().__init__(name=name, **kwargs)
        self.features = features
        self.error, self.squares, self.count = (self._sum(part) for part in ("error", "squares", "count"))
        self.sums, self.centre = (self._sum(part, (features,)) for part in ("sums", "centre"))

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: vectors, `(..., features)`.
            y_pred: rows of their codes, of the same shape.
            sample_weight: not used.
        """
        vectors, rows = (ops.reshape(ops.cast(part, "float32"), (-1, self.features)) for part in (y_true, y_pred))
        count = ops.convert_to_tensor(self.count)
        error = ops.sum(ops.square(vectors - rows))
        centre = ops.where(count > 0, ops.convert_to_tensor(self.centre), ops.mean(vectors, axis=0))
        centred = vectors - centre
        squares = ops.sum(ops.square(centred))
        finite = ops.isfinite(error) & ops.isfinite(squares)
        number = ops.cast(ops.shape(vectors)[0], "float32")
        for variable, value in (
            (self.centre, centre),
            (self.error, ops.convert_to_tensor(self.error) + error),
            (self.squares, ops.convert_to_tensor(self.squares) + squares),
            (self.sums, ops.convert_to_tensor(self.sums) + ops.sum(centred, axis=0)),
            (self.count, count + number),
        ):
            variable.assign(ops.where(finite, value, ops.convert_to_tensor(variable)))

    def result(self):
        count = ops.maximum(ops.convert_to_tensor(self.count), 1.0)
        variance = ops.convert_to_tensor(self.squares) / count - ops.sum(ops.square(ops.convert_to_tensor(self.sums) / count))
        return ops.convert_to_tensor(self.error) / count / ops.maximum(variance, 1e-20)

    def get_config(self):
        return {**super().get_config(), "features": self.features}


class _FiniteMean(_Float32Metric):
    """Sum and count of values since the last reset, without those that are not finite."""

    def __init__(self, name: str | None = None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.total, self.count = self._sum("total"), self._sum("count")

    def _add(self, value):
        value = ops.cast(value, "float32")
        finite = ops.isfinite(value)
        self.total.assign(ops.convert_to_tensor(self.total) + ops.where(finite, value, 0.0))
        self.count.assign(ops.convert_to_tensor(self.count) + ops.cast(finite, "float32"))

    def result(self):
        return ops.convert_to_tensor(self.total) / ops.maximum(ops.convert_to_tensor(self.count), 1.0)


@keras.saving.register_keras_serializable("kseparation")
class CodeNormRatio(_FiniteMean):
    """Mean length of the codes that were chosen over the mean length of their vectors, averaged over the batches: near 1 in health; 0.1 or 10 mean that codes and encoder live at different scales."""

    def __init__(self, name: str = "code_norm_ratio", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch.

        Args:
            y_true: vectors, `(..., features)`.
            y_pred: rows of their codes, of the same shape.
            sample_weight: not used.
        """
        lengths = [ops.mean(ops.sqrt(ops.sum(ops.square(ops.cast(part, "float32")), axis=-1))) for part in (y_pred, y_true)]
        self._add(lengths[0] / ops.maximum(lengths[1], 1e-12))


@keras.saving.register_keras_serializable("kseparation")
class CodebookMovement(_FiniteMean):
    """Mean over the steps of how far the codebook moved, as a share of its own size: 0 is a codebook that learns nothing."""

    def __init__(self, name: str = "codebook_movement", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, movement):
        """Adds a step: `movement` of its `VectorQuantizer`."""
        self._add(movement)


@keras.saving.register_keras_serializable("kseparation")
class RevivedCodes(_FiniteMean):
    """Number of codes that were revived since the last reset."""

    def __init__(self, name: str = "revived_codes", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, revived):
        """Adds a step: `revived_in_step` of its `VectorQuantizer`."""
        self._add(revived)

    def result(self):
        return ops.convert_to_tensor(self.total) + 0.0


class CodebookHealth:
    """The metrics of one quantiser together. A plain object, because Keras takes a metric that is an attribute for state of the built model: a model returns them from its `metrics`.

    Args:
        codebook_size: number of codes.
        features: number of features of a vector.
        prefix: put before the name of each, as for the stages of a residual quantiser.

    Attributes:
        metrics: in the order perplexity, active share, error ratio, norm ratio, movement, revived.
    """

    def __init__(self, codebook_size: int, features: int, prefix: str = ""):
        self.perplexity = CodebookPerplexity(codebook_size, name=prefix + "perplexity")
        self.active = ActiveCodeShare(codebook_size, name=prefix + "active_code_share")
        self.error = QuantizationErrorRatio(features, name=prefix + "quantization_error_ratio")
        self.norms = CodeNormRatio(name=prefix + "code_norm_ratio")
        self.movement = CodebookMovement(name=prefix + "codebook_movement")
        self.revived = RevivedCodes(name=prefix + "revived_codes")
        self.metrics = [self.perplexity, self.active, self.error, self.norms, self.movement, self.revived]

    def update(self, found, movement=None, revived=None) -> None:
        """Adds a batch.

        Args:
            found: `Quantized`, of `VectorQuantizer.match`.
            movement: `movement` of the layer after the step; None outside a training.
            revived: `revived_in_step` of the layer after the step; None outside a training, or where nothing is revived.
        """
        self.perplexity.update_state(found.codes)
        self.active.update_state(found.codes)
        self.error.update_state(found.inputs, found.vectors)
        self.norms.update_state(found.inputs, found.vectors)
        if movement is not None:
            self.movement.update_state(movement)
        if revived is not None:
            self.revived.update_state(revived)
