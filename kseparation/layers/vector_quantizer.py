"""Vector quantisation with a codebook that stays in use."""

import random
import warnings
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops

from kseparation.config.settings import settings_of
from kseparation.errors import did_you_mean
from kseparation.layers import code_revival
from kseparation.layers.code_revival import Revival
from kseparation.layers.initializers import FanInUniform
from kseparation.ops import quantize as vq
from kseparation.ops.norms import euclidean_norm

# Beyond it, squares overflow float32 on some backends and not on others; the guard of the optimizer has the same bound.
LARGEST_NORM = 1e18
# Steps are counted in float32, so that a rejected step takes them back too; from here the count goes on at half, where float32 still tells neighbours apart.
LAST_STEP = 2**23
CHOICES = {"similarity": ("euclidean", "cosine", "mixed"), "codebook_update": ("ema", "gradient", "none"), "ema_source": ("residual", "quantized")}


class Quantized(NamedTuple):
    """What a quantiser found for a batch of vectors.

    Attributes:
        inputs: what was compared with the codes: the vectors in float32, of length 1 under `cosine`; `(..., features)`. The gradient of the encoder goes through them.
        vectors: the rows of the codebook, float32 `(..., features)`; with a gradient only where the codebook is trained by one. No straight-through.
        codes: their numbers, int32 `(...)`.
        commitment: mean square of `inputs` less the rows, whose gradient pulls the encoder; float32 scalar, without weight.
        codebook_loss: the same mean, whose gradient pulls the rows; 0 where the codebook is not trained by a gradient.
    """

    inputs: Any
    vectors: Any
    codes: Any
    commitment: Any
    codebook_loss: Any


@keras.saving.register_keras_serializable("kseparation")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by the nearest row of a codebook, learns the rows, and gives rows that nothing is near to a new place.

    The state is float32 and untrained under every dtype policy. A training call, in this order: nearest rows of the codebook as it is, losses, running counts and sums with the vectors of
    the batch, codebook as their quotient, revival of dead codes. A batch with a value that is not finite, or of a norm from 1e18 on, changes nothing but the counter `skipped_batches`; its output is not
    finite either, so that the loss tells. Running counts start at the number of vectors of a step over the number of codes, with sums to match: never at zero, where
    every code that the first batch leaves out would look dead. The parts that a residual quantiser is built of: `match`, which neither adds losses nor a straight-through, `encode`, `decode`, `set_codebook`.

    Args:
        codebook_size: number of codes, at least 2.
        similarity: `euclidean`, or `cosine`: vectors and codes have length 1 in the comparison, in the output and in the losses. `mixed` compares directions and puts out rows of any length: the
            nearest code may be a thousand times as long as the vector. For reproducing that failure.
        codebook_update: `ema`, rows are running means of the vectors that they are nearest to; `gradient`, they are trained by a loss; `none`, only `set_codebook` and revival move them.
        decay: share of the running counts and sums that is kept at each step, 0 to below 1.
        epsilon: added to the running counts where they divide, above 0; a code that stays out of use until its running count has fallen to it is drawn to the origin.
        ema_source: `residual`, the vectors themselves. `quantized` feeds the running means with the rows in their place, a fixed point: the codebook learns nothing. For reproducing that failure.
        commitment_weight: weight of the commitment loss, at least 0.
        vectors_per_step: number of vectors that running counts start from; None takes it from the first batch.
        revival: a `Revival` or a mapping with some of its keys; None for its defaults, and for none with a codebook that is trained by a gradient.
        seed: of the first codebook and of what revival draws; None draws it from Python's generator, which `keras.utils.set_random_seed` seeds.

    Input shape: `(..., features)`. Output shape: the same; values are rows of the codebook, the gradient that of the input.

    Raises:
        ValueError: an argument is out of its range, or revival is asked for where a gradient trains the codebook: its optimizer would keep the momentum of the row before.

    Single replica: counts and sums are those of one device's batch. On a GPU the sums of TensorFlow and JAX are added in an order that may vary.

    Example:

    >>> layer = VectorQuantizer(3)
    >>> tuple(layer(ops.ones((2, 5, 4))).shape), tuple(layer.encode(ops.ones((2, 5, 4))).shape)
    ((2, 5, 4), (2, 5))

    References: van den Oord, Vinyals and Kavukcuoglu 2017, Neural discrete representation learning (arXiv 1711.00937), equation 3 and appendix A.1; Zeghidour et al. 2021, SoundStream
    (arXiv 2107.03312), section III.C, for dead codes; Yu et al. 2021, Vector-quantized image modeling with improved VQGAN (arXiv 2110.04627), for cosine.
    """

    def __init__(
        self,
        codebook_size: int,
        similarity: Literal["euclidean", "cosine", "mixed"] = "euclidean",
        codebook_update: Literal["ema", "gradient", "none"] = "ema",
        decay: float = 0.99,
        epsilon: float = 1e-5,
        ema_source: Literal["residual", "quantized"] = "residual",
        commitment_weight: float = 0.25,
        vectors_per_step: int | None = None,
        revival: Revival | Mapping[str, Any] | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        for name, value in (("similarity", similarity), ("codebook_update", codebook_update), ("ema_source", ema_source)):
            if value not in CHOICES[name]:
                raise ValueError(f"`{name}` is unknown. Received: {name}={value!r}. {did_you_mean(value, CHOICES[name])}")
        _require(codebook_size >= 2, "`codebook_size` must be at least 2", codebook_size=codebook_size)
        _require(0 <= decay < 1, "`decay` must lie between 0 and below 1", decay=decay)
        _require(epsilon > 0, "`epsilon` must be above 0", epsilon=epsilon)
        _require(commitment_weight >= 0, "`commitment_weight` must be at least 0", commitment_weight=commitment_weight)
        _require(vectors_per_step is None or vectors_per_step >= 1, "`vectors_per_step` must be at least 1", vectors_per_step=vectors_per_step)
        by_gradient = codebook_update == "gradient"
        self.revival = Revival(rule="off") if revival is None and by_gradient else settings_of(Revival, revival, "revival")
        if by_gradient and self.revival.rule != "off":
            raise ValueError(
                "`revival` needs a codebook that no optimizer moves. Received: "
                f"codebook_update='gradient', revival.rule={self.revival.rule!r}. Take `codebook_update='ema'`, or `rule: off`."
            )
        if ema_source == "quantized" and codebook_update != "ema":
            raise ValueError(f"`ema_source` is for `codebook_update='ema'`. Received: ema_source='quantized', codebook_update={codebook_update!r}. Leave it out.")
        _warn_of(ema_source, self.revival)
        self.codebook_size = codebook_size
        self.similarity = similarity
        self.codebook_update = codebook_update
        self.decay = decay
        self.epsilon = epsilon
        self.ema_source = ema_source
        self.commitment_weight = commitment_weight
        self.vectors_per_step = vectors_per_step
        self.seed = random.randint(1, 2**31 - 1) if seed is None else seed
        self._rules = self.revival.filled_in(codebook_size)

    def build(self, input_shape):
        codes, features = self.codebook_size, input_shape[-1]
        rows = self._unit(FanInUniform(features, seed=self.seed).numbers((codes, features)).astype("float32"))
        count = 1.0 if self.vectors_per_step is None else self.vectors_per_step / codes

        def state(name, shape=(), value=0.0, dtype="float32", trainable=False):
            start = keras.initializers.Zeros() if np.ndim(value) == 0 and value == 0 else lambda shape, dtype: ops.convert_to_tensor(np.broadcast_to(value, shape), dtype=dtype)
            return self.add_weight(shape=shape, initializer=start, dtype=dtype, trainable=trainable, name=name, autocast=False)

        self.codebook = state("codebook", (codes, features), rows, trainable=self.codebook_update == "gradient")
        self.counts = state("counts", (codes,), count)
        self.primed = state("primed", value=float(self.vectors_per_step is not None))
        self.steps = state("steps")
        self.movement = state("movement")
        # Not float: where the optimizer rejects a step, the model takes float state back, and this is to be told all the same.
        self.skipped_batches = state("skipped_batches", dtype="int32")
        if self.codebook_update == "ema":
            self.sums = state("sums", (codes, features), rows * np.float32(count))
        if self.revival.rule != "off":
            slots = self._rules.reservoir
            self.age = state("age", (codes,))
            self.reservoir = state("reservoir", (slots, features))
            self.reservoir_filled = state("reservoir_filled", (slots,))
            self.reservoir_position = state("reservoir_position")
            self.revived = state("revived")
            self.revived_in_step = state("revived_in_step")
            self.events = state("events")
            self.capped_events = state("capped_events")
        if self.revival.rule == "fixed":
            self.usage = state("usage", (codes,))

    def _unit(self, rows):
        if self.similarity != "cosine":
            return rows
        return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)).astype("float32")

    def call(self, vectors, training=False):
        found = self.match(vectors, training=training)
        self.add_loss(self.commitment_weight * found.commitment + found.codebook_loss)
        return ops.cast(vq.straight_through(found.inputs, found.vectors), self.compute_dtype)

    def match(self, vectors, training: bool = False, counted=None) -> Quantized:
        """Finds the nearest rows and, in training, learns from them; adds no loss and no straight-through.

        Args:
            vectors: `(..., features)`, any float type.
            training: whether the state is updated.
            counted: 1 for vectors that count in losses and in the state, 0 for others, as those of examples that a residual quantiser gives fewer stages; `(...)`, None for all.
        """
        inputs = ops.cast(vectors, "float32")
        if self.similarity == "cosine":
            inputs = vq.unit_vectors(inputs)
        features = inputs.shape[-1]
        flat = ops.reshape(inputs, (-1, features))
        counted = None if counted is None else ops.reshape(ops.cast(counted, "float32"), (-1,))
        codebook = ops.convert_to_tensor(self.codebook)
        by_gradient = self.codebook_update == "gradient"
        by_direction = self.similarity == "mixed" or (by_gradient and self.similarity == "cosine")
        compared = vq.unit_vectors(flat) if self.similarity == "mixed" else flat
        codes = vq.nearest_codes(compared, vq.unit_vectors(ops.stop_gradient(codebook)) if by_direction else codebook)
        # A copy of the rows: torch would not let the codebook be written while a gradient waits for its old values.
        rows = ops.take(codebook if by_gradient else ops.stop_gradient(codebook), codes, axis=0)
        if by_gradient and self.similarity == "cosine":
            rows = vq.unit_vectors(rows)
        commitment = _mean_square(flat - ops.stop_gradient(rows), counted)
        codebook_loss = _mean_square(ops.stop_gradient(flat) - rows, counted) if by_gradient else ops.zeros((), "float32")
        if training:
            self._learn(ops.stop_gradient(flat), ops.stop_gradient(rows), codes, counted)
        shape = ops.shape(inputs)
        return Quantized(inputs, ops.reshape(rows, shape), ops.reshape(codes, shape[:-1]), commitment, codebook_loss)

    def encode(self, vectors):
        """Returns the number of the nearest row for each vector, int32 `(...)` for `(..., features)`."""
        return self.match(vectors).codes

    def decode(self, codes):
        """Returns the rows with these numbers, float32 `(..., features)` for integers `(...)`."""
        rows = ops.take(ops.convert_to_tensor(self.codebook), codes, axis=0)
        return vq.unit_vectors(rows) if self.similarity == "cosine" else rows

    def set_codebook(self, codebook, sizes=None) -> None:
        """Starts from a codebook that was made outside, as by `initial_codebook`, with running counts and sums to match; all other state starts anew.

        Args:
            codebook: `(codes, features)`.
            sizes: vectors of each code, `(codes,)`, by which the running counts are shared out; None for equal shares. A cluster of no vectors counts as one.

        Raises:
            ValueError: the shape is not that of the codebook, or a number is not finite.
        """
        rows, wanted = np.array(codebook, "float32"), tuple(self.codebook.shape)
        if rows.shape != wanted:
            raise ValueError(f"`codebook` must have the shape (codes, features) of the layer, {wanted}. Received: shape={rows.shape}")
        sizes = np.ones(len(rows)) if sizes is None else np.maximum(np.array(sizes, "float64"), 1.0)
        if not (np.isfinite(rows).all() and np.isfinite(sizes).all()) or sizes.shape != wanted[:1]:
            raise ValueError(f"`codebook` and `sizes` must be finite, one size for each of {wanted[0]} codes. Received: sizes of shape {sizes.shape}")
        rows = self._unit(rows)
        mean = 1.0 if self.vectors_per_step is None else self.vectors_per_step / len(rows)
        counts = (sizes * (mean / sizes.mean())).astype("float32")
        new = {"codebook": rows, "counts": counts, "sums": rows * counts[:, None], "primed": float(self.vectors_per_step is not None)}
        for weight in self.weights:
            weight.assign(ops.convert_to_tensor(new.get(weight.name, np.zeros(weight.shape)), dtype=weight.dtype))

    def _learn(self, flat, rows, codes, counted):
        """Computes the whole new state, and writes it last and only where everything is finite."""
        old = {weight.name: ops.convert_to_tensor(weight) for weight in self.weights if not weight.trainable}
        old["codebook"] = ops.stop_gradient(ops.convert_to_tensor(self.codebook))
        new = dict(old)
        source = rows if self.ema_source == "quantized" else flat
        batch_counts, batch_sums = vq.cluster_sums(source, codes, self.codebook_size, counted)
        number = ops.sum(batch_counts)
        # Before the first batch the running counts know only shares.
        scale = ops.where(old["primed"] > 0, 1.0, number / ops.sum(old["counts"]))
        new["counts"] = vq.moving_average(old["counts"] * scale, batch_counts, self.decay)
        new["primed"] = ops.ones_like(old["primed"])
        new["steps"] = ops.where(old["steps"] >= LAST_STEP, LAST_STEP / 2.0, old["steps"] + 1.0)
        if self.codebook_update == "ema":
            new["sums"] = vq.moving_average(old["sums"] * scale, batch_sums, self.decay)
            new["codebook"] = self._means(new["counts"], new["sums"], old["codebook"])
        before_revival = new["codebook"]
        if self.revival.rule != "off":
            self._revive(new, old, flat, counted, batch_counts, number)
        new["movement"] = euclidean_norm(before_revival - old["codebook"]) / ops.maximum(euclidean_norm(old["codebook"]), 1e-12)
        sound = (_norm_of(flat, counted) < LARGEST_NORM) & (euclidean_norm(new["codebook"]) < LARGEST_NORM)
        # A batch of which nothing counts teaches nothing.
        learned = sound & (number > 0)
        new["skipped_batches"] = old["skipped_batches"] + 1
        for weight in self.weights:
            if not weight.trainable:
                chosen = ~sound if weight.name == "skipped_batches" else learned
                weight.assign(ops.where(chosen, new[weight.name], old[weight.name]))

    def _means(self, counts, sums, old):
        means = vq.codebook_of_means(counts, sums, self.epsilon)
        if self.similarity != "cosine":
            return means
        # Vectors that cancel out have no direction.
        has_direction = ops.sum(ops.square(means), axis=-1, keepdims=True) > 1e-12
        return ops.where(has_direction, vq.unit_vectors(means), old)

    def _revive(self, new, old, flat, counted, batch_counts, number):
        rules, steps = self._rules, new["steps"]
        used = batch_counts > 0
        age = ops.where(used, 0.0, old["age"] + 1.0)
        usage = None
        if rules.rule == "fixed":
            usage = new["usage"] = vq.moving_average(old["usage"], batch_counts / ops.maximum(number, 1.0), code_revival.FIXED_USAGE_DECAY)
        reservoir, filled, position = code_revival.reservoir_with(
            old["reservoir"], old["reservoir_filled"], old["reservoir_position"], flat, counted, code_revival.drawn(self.seed, steps, 0)
        )
        event = code_revival.is_event(rules, new["counts"], steps)
        dead = code_revival.dead_codes(rules, new["counts"], age, usage, steps) & event
        revived, places = code_revival.new_places(rules, dead, new["counts"], reservoir, filled, self.seed, steps)
        # The whole row: a new place with the count and sum of the old one would be thrown back in the next step.
        count = rules.start_count * ops.mean(new["counts"])
        new["codebook"] = ops.where(revived[:, None], places, new["codebook"])
        new["counts"] = ops.where(revived, count, new["counts"])
        if "sums" in new:
            new["sums"] = ops.where(revived[:, None], places * count, new["sums"])
        new["age"] = ops.where(revived, 0.0, age)
        new["reservoir"], new["reservoir_filled"], new["reservoir_position"] = reservoir, filled, position
        number_revived = ops.sum(ops.cast(revived, "float32"))
        new["revived_in_step"] = number_revived
        new["revived"] = old["revived"] + number_revived
        new["events"] = old["events"] + ops.cast(event, "float32")
        new["capped_events"] = old["capped_events"] + ops.cast(number_revived >= rules.cap, "float32")

    def compute_output_shape(self, vectors_shape):
        return vectors_shape

    def get_config(self):
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "similarity": self.similarity,
            "codebook_update": self.codebook_update,
            "decay": self.decay,
            "epsilon": self.epsilon,
            "ema_source": self.ema_source,
            "commitment_weight": self.commitment_weight,
            "vectors_per_step": self.vectors_per_step,
            "revival": self.revival.as_dict(),
            "seed": self.seed,
        }


def _mean_square(difference, counted):
    """Mean square of all features of the vectors that count, a float32 scalar; 0 where none does."""
    if counted is None:
        return ops.mean(ops.square(difference))
    squares = ops.mean(ops.where(counted[:, None] > 0, ops.square(difference), 0.0), axis=-1)
    return ops.sum(squares * counted) / ops.maximum(ops.sum(counted), 1.0)


def _norm_of(flat, counted):
    return euclidean_norm(flat if counted is None else ops.where(counted[:, None] > 0, flat, 0.0))


def _require(holds, requirement, **received):
    if not holds:
        ((name, value),) = received.items()
        raise ValueError(f"{requirement}. Received: {name}={value}")


def _warn_of(ema_source, revival):
    if ema_source == "quantized":
        warnings.warn("`ema_source='quantized'` keeps the codebook where it is: it learns nothing. It is there to reproduce a failure.", stacklevel=3)
    if revival.rule == "fixed":
        warnings.warn("`revival.rule='fixed'` throws most of a large codebook away in the first steps, and is known to break trainings. It is there to reproduce a failure.", stacklevel=3)
