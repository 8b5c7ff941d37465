"""Counts of a cell as one of a few hundred codes, and back."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from keras import ops

from kseparation.config.settings import settings_of
from kseparation.errors import did_you_mean
from kseparation.layers.code_revival import Revival
from kseparation.layers.codebook_initialization import initial_codebook
from kseparation.layers.dense_stack import DenseStack
from kseparation.layers.initializers import FanInUniform
from kseparation.layers.vector_quantizer import VectorQuantizer
from kseparation.metrics.codebook_health import CodebookHealth
from kseparation.models.base import TrackedModel
from kseparation.models.count_settings import CELL_INPUTS, PRESETS, CellTypeHead, CodebookInit, Likelihood
from kseparation.ops.quantize import straight_through

# A library of which the modelled genes leave nothing still has a rest, for a share of 0 has no logarithm.
LEAST_SHARE = 1e-6
# What the mean without a library size may reach as the exponential of a logit.
LARGEST_LOGIT = 15.0
EXAMPLE_CELLS = 2048


@keras.saving.register_keras_serializable("kseparation")
class CountAutoencoder(TrackedModel):
    """VQ-AENB: sums a cell up in one code, from which the counts of all its genes are expected, as a negative binomial distribution.

    An encoder of dense layers sees the logarithm of the counts, a codebook takes its output to the nearest code, and a decoder gives the share of each gene in the cell's library; the
    codes are cell states that can be counted and compared between studies. With several conditions (studies, sites) encoder and decoder are told the condition and the codes are not,
    so that a code means the same in all of them.

    Args:
        genes: names of the modelled genes, in the order of the table.
        conditions: names of the conditions; one is none.
        cell_types: names of the cell types, for `cell_type_head`.
        widths: of the layers of the encoder, the last of which is that of the codes; the decoder has them backwards.
        cell_input: what the encoder sees: `log1p`, the logarithm of one more than each count; `log1p_of_shares`, of each count divided by its library, times 10,000; `counts`, as they are: values in the
            thousands, which leave the scale of the codes. The last is for reproducing that failure.
        dropout: share of features dropped behind each hidden layer in training, in [0, 1).
        condition_features: length of the vector of a condition.
        likelihood: a `Likelihood` or a mapping with some of its keys.
        cell_type_head: a `CellTypeHead` or a mapping with some of its keys, which also trains the codes to tell the cell types; None is none.
        codebook_size: number of codes.
        codebook_init: a `CodebookInit` or a mapping with some of its keys.
        revival: a `Revival` or a mapping with some of its keys.
        decay: of the running means of the codebook, 0 to below 1.
        commitment_weight: weight of the distance from the output of the encoder to its code.
        quantizer: further arguments of `VectorQuantizer`, whose `similarity` is `cosine` here if nothing else is said: codes are compared and shown to the decoder by their direction, so
            that they keep up with an encoder that grows.

    Input: a mapping with `counts` `(batch, genes)`, `library_sizes` `(batch, 1)`, and, where there are several conditions, `conditions`, their numbers `(batch,)`; in training with a
    `cell_type_head` also `labels` `(batch,)`. Output: float32 `(batch, genes, 2)`: mean and inverse dispersion of each gene.

    Example:

    >>> model = CountAutoencoder(genes=("CD3E", "CD19"), widths=(8, 4), codebook_size=3)
    >>> tuple(model({"counts": np.array([[3.0, 0.0]]), "library_sizes": np.array([[5.0]])}).shape)
    (1, 2, 2)

    References: van den Oord, Vinyals and Kavukcuoglu 2017, Neural discrete representation learning (arXiv 1711.00937); Lopez et al. 2018, Deep generative modeling for single-cell
    transcriptomics (Nature Methods 15), for the likelihood; Jeong, Choi and Kim 2025, scMILD (bioRxiv 2025.01.09.632256), for the whole.
    """

    source = "bioRxiv 2025.01.09.632256"
    task = "counts"

    def __init__(
        self,
        genes: tuple[str, ...] = tuple(f"gene {number}" for number in range(2000)),
        conditions: tuple[str, ...] = ("all",),
        cell_types: tuple[str, ...] = (),
        widths: tuple[int, ...] = (512, 256, 128, 128),
        cell_input: str = "log1p",
        dropout: float = 0.0,
        condition_features: int = 16,
        likelihood: Likelihood | Mapping[str, Any] | None = None,
        cell_type_head: CellTypeHead | Mapping[str, Any] | None = None,
        codebook_size: int = 256,
        codebook_init: CodebookInit | Mapping[str, Any] | None = None,
        revival: Revival | Mapping[str, Any] | None = None,
        decay: float = 0.95,
        commitment_weight: float = 0.25,
        quantizer: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        if len(genes) < 2 or len(conditions) < 1:
            raise ValueError(f"`genes` and `conditions` need names, at least 2 and 1. Received: {len(genes)} and {len(conditions)}")
        if not widths or min(widths) < 1:
            raise ValueError(f"`widths` needs numbers from 1 on, at least one. Received: widths={widths}")
        if cell_input not in CELL_INPUTS:
            raise ValueError(f"`cell_input` is unknown. Received: cell_input={cell_input}. {did_you_mean(cell_input, CELL_INPUTS)}")
        if condition_features < 1:
            raise ValueError(f"`condition_features` must be at least 1. Received: condition_features={condition_features}")
        self.genes, self.conditions, self.cell_types = tuple(genes), tuple(conditions), tuple(cell_types)
        self.widths = tuple(widths)
        self.cell_input = cell_input
        self.dropout = dropout
        self.condition_features = condition_features
        self.likelihood = settings_of(Likelihood, likelihood, "likelihood")
        self.cell_type_head = None if cell_type_head is None else settings_of(CellTypeHead, cell_type_head, "cell_type_head")
        if self.cell_type_head is not None and len(self.cell_types) < 2:
            raise ValueError(f"`cell_type_head` needs a table with at least two cell types: name the column as `data.label`. Received: {len(self.cell_types)}")
        self.codebook_init = settings_of(CodebookInit, codebook_init, "codebook_init")
        self.quantizer_arguments = {"similarity": "cosine", **(quantizer or {})}
        self.quantizer = VectorQuantizer(
            codebook_size, decay=decay, commitment_weight=commitment_weight, revival=revival, dtype=self.dtype_policy, name="quantizer", **self.quantizer_arguments
        )
        self.codebook_size, self.revival, self.decay, self.commitment_weight = codebook_size, self.quantizer.revival, decay, commitment_weight
        *hidden, latent = self.widths
        head, outputs = self.cell_type_head, len(self.genes) * (2 if self.likelihood.dispersion == "gene_cell" else 1)
        self.encoder = DenseStack(hidden, latent, dropout, dtype=self.dtype_policy, name="encoder")
        # One more than there are genes: all that were read and are not modelled.
        self.decoder = DenseStack(hidden[::-1], 1 + outputs, dropout, dtype=self.dtype_policy, name="decoder")
        self.to_types = DenseStack((head.hidden,), len(self.cell_types), head.dropout, dtype=self.dtype_policy, name="cell_types") if head else None
        self.condition_vectors = None
        if len(self.conditions) > 1:
            self.condition_vectors = keras.layers.Embedding(
                len(self.conditions), condition_features, embeddings_initializer=FanInUniform(1), dtype=self.dtype_policy, name="condition_vectors"
            )

    def build(self, input_shape=None):
        latent, told = self.widths[-1], 0
        if self.condition_vectors is not None:
            self.condition_vectors.build((None,))
            told = self.condition_features
        for layer, features in ((self.encoder, len(self.genes) + told), (self.quantizer, latent), (self.decoder, latent + told), (self.to_types, latent)):
            if layer is not None:
                layer.build((None, features))
        rows = {"gene": 1, "gene_condition": len(self.conditions)}.get(self.likelihood.dispersion)
        # The logarithm of the inverse dispersion: a step of the optimizer changes it by a factor.
        self.log_dispersion = self.add_weight(shape=(rows, len(self.genes)), initializer="zeros", dtype="float32", name="log_inverse_dispersion", autocast=False) if rows else None
        self.built = True

    def call(self, inputs, training=False):
        found = self.match(inputs, training)
        code = straight_through(found.inputs, found.vectors)
        types = None if self.to_types is None else ops.cast(self.to_types(code, training=training), "float32")
        self.hand_over((found, types))
        return self.expected(code, inputs, training)

    def match(self, inputs, training=False):
        """Returns the `Quantized` of some cells."""
        return self.quantizer.match(self.latent(inputs, training), training=training)

    def latent(self, inputs, training=False):
        """Returns what the encoder makes of some cells, `(batch, widths[-1])`."""
        counts = ops.cast(inputs["counts"], "float32")
        if self.cell_input == "log1p_of_shares":
            counts = counts / ops.cast(inputs["library_sizes"], "float32") * 1e4
        seen = ops.cast(counts if self.cell_input == "counts" else ops.log1p(counts), self.compute_dtype)
        return self.encoder(self._with_condition(seen, inputs), training=training)

    def expected(self, code, inputs, training=False):
        """Returns what counts are expected of a code.

        Args:
            code: rows of the codebook, `(batch, widths[-1])`.
            inputs: `library_sizes` `(batch, 1)`, and `conditions` `(batch,)` where there are several.

        Returns:
            Mean and inverse dispersion, float32 `(batch, genes, 2)`.
        """
        shown = self._with_condition(ops.cast(code, self.compute_dtype), inputs)
        outputs = ops.cast(self.decoder(shown, training=training), "float32")  # (batch, genes + 1), or (batch, 2 genes + 1)
        genes = len(self.genes)
        mean = self._mean(outputs[:, : genes + 1], ops.cast(inputs["library_sizes"], "float32"))
        if self.likelihood.dispersion == "gene_cell":
            dispersion = ops.softplus(outputs[:, genes + 1 :])
        elif self.likelihood.dispersion == "gene":
            dispersion = ops.broadcast_to(ops.exp(self.log_dispersion), ops.shape(mean))
        else:
            dispersion = ops.take(ops.exp(ops.convert_to_tensor(self.log_dispersion)), self._conditions(inputs), axis=0)
        return ops.stack([mean, dispersion], axis=-1)

    def _mean(self, logits, library):
        kind = self.likelihood.mean
        if kind == "softmax":
            return library * ops.softmax(logits)[:, :-1]
        logits = logits[:, :-1]
        if kind == "softplus":
            return library * ops.softplus(logits) / len(self.genes)
        if kind == "exp":
            return ops.exp(ops.minimum(logits, LARGEST_LOGIT))
        return ops.clip(ops.exp(logits), 1e-6, 1e6)

    def _conditions(self, inputs):
        return ops.reshape(ops.cast(inputs["conditions"], "int32"), (-1,)) if len(self.conditions) > 1 else ops.zeros_like(inputs["library_sizes"][:, 0], dtype="int32")

    def _with_condition(self, features, inputs):
        if self.condition_vectors is None:
            return features
        return ops.concatenate([features, self.condition_vectors(self._conditions(inputs))], axis=-1)

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor((inputs["counts"].shape[0], len(self.genes), 2), dtype="float32")

    def objective_names(self):
        return ["commitment", *(["codebook"] if self.quantizer.codebook_update == "gradient" else []), *(["cell_type"] if self.to_types is not None else [])]

    def objective_parts(self, x, y_true):
        if self.handed_over() is None:
            return {name: ops.zeros(()) for name in self.objective_names()}
        found, types = self.handed_over()
        parts = {"commitment": self.commitment_weight * found.commitment}
        if self.quantizer.codebook_update == "gradient":
            parts["codebook"] = found.codebook_loss
        if types is not None:
            losses = keras.losses.sparse_categorical_crossentropy(x["labels"], types, from_logits=True)
            parts["cell_type"] = self.cell_type_head.weight * ops.mean(losses)
        return parts

    def recorded_values(self):
        names = ["movement", *(["revived_in_step"] if self.revival.rule != "off" else [])]
        return {f"{self.name}/quantizer/{name}": ops.convert_to_tensor(getattr(self.quantizer, name)) for name in names}

    def family_metrics(self):
        self._health = CodebookHealth(self.codebook_size, self.widths[-1])
        return self._health.metrics

    def update_family_metrics(self, metrics, y_true, y_pred, training):
        if self.handed_over() is None:
            return
        quantizer = self.quantizer
        movement = (quantizer.movement, quantizer.revived_in_step if quantizer.revival.rule != "off" else None) if training else ()
        self._health.update(self.handed_over()[0], *movement)

    def validation_scores(self, scores):
        return {name: value for name, value in scores.items() if name not in ("codebook_movement", "revived_codes")}

    def score_words(self, scores):
        return f"perplexity {scores['perplexity']:.1f} of {self.codebook_size} codes"

    def known_failures(self):
        failures = {}
        if self.cell_input == "counts":
            failures["cell_input"] = "counts in the thousands make an encoder whose output is far from the scale of the codes"
        if self.likelihood.mean == "exp_then_clamp":
            failures["likelihood"] = "the exponential of a logit above 88 is infinite, and its gradient behind a clamp is zero times infinity"
        quantizer = self.quantizer
        for argument, value, reason in (
            ("similarity", "mixed", "directions are compared, and rows of any length put out"),
            ("codebook_update", "none", "nothing but revival ever moves a code"),
            ("ema_source", "quantized", "a codebook that is averaged over its own rows never moves"),
        ):
            if getattr(quantizer, argument) == value:
                failures["quantizer"] = reason
        if quantizer.revival.rule == "fixed":
            failures["revival"] = "most codes of a large codebook are thrown away in each of the first steps"
        return failures

    def start_cells(self, cells: int) -> int:
        """Returns how many of the training cells the first codebook is made of, at most all of them.

        Args:
            cells: number of training cells.
        """
        settings = self.codebook_init
        return settings.num_samples if settings.num_samples is not None else min(cells, settings.cells_per_code * self.codebook_size)

    def start_from_data(self, examples: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]]) -> dict[str, float]:
        """Starts the shares of the genes at those of the examples, and the codebook at what the encoder makes of them.

        Args:
            examples: pairs of inputs and counts, cells of all conditions alike where the codebook is to know all.
        """
        counts, library, latents = 0.0, 0.0, []
        for inputs, _ in examples:
            counts, library = counts + inputs["counts"].sum(axis=0, dtype="float64"), library + inputs["library_sizes"].sum(dtype="float64")
            latents.append(ops.convert_to_numpy(ops.cast(self.latent(keras.tree.map_structure(ops.convert_to_tensor, inputs)), "float32")))
        if self.likelihood.mean == "softmax":
            shares = np.maximum(np.append(counts, library - counts.sum()) / library, LEAST_SHARE)
            bias = np.array(ops.convert_to_numpy(self.decoder.last.bias))
            bias[: len(shares)] = np.log(shares) - np.log(shares).mean()
            self.decoder.last.bias.assign(bias)
        settings, quantizer = self.codebook_init, self.quantizer
        similarity = "euclidean" if quantizer.similarity == "euclidean" else "cosine"
        start = initial_codebook(np.concatenate(latents), self.codebook_size, settings.method, similarity=similarity, seed=quantizer.seed)
        quantizer.set_codebook(start.codebook, start.sizes)
        return {"codebook_cells": float(start.sizes.sum()), "codebook_used": float((start.sizes > 0).mean())}

    def encode(self, inputs: Mapping[str, np.ndarray], batch_size: int = EXAMPLE_CELLS) -> np.ndarray:
        """Returns the code of each cell, int32 `(cells,)`.

        Args:
            inputs: as for a call, NumPy arrays of any number of cells.
            batch_size: cells in memory at a time.
        """
        cells = len(inputs["counts"])
        blocks = ({key: ops.convert_to_tensor(array[first : first + batch_size]) for key, array in inputs.items()} for first in range(0, cells, batch_size))
        return np.concatenate([ops.convert_to_numpy(self.match(block).codes) for block in blocks])

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """Returns the names that `from_preset` takes."""
        return tuple(PRESETS)

    @classmethod
    def from_preset(cls, preset: str, **arguments) -> "CountAutoencoder":
        """Builds a preset of known size.

        Args:
            preset: one of `kseparation.models.count_settings.PRESETS`.
            arguments: constructor arguments that replace those of the preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"`preset` is unknown. Received: preset={preset}. {did_you_mean(preset, PRESETS)}")
        return cls(**{**PRESETS[preset], **arguments})

    def get_config(self):
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            **{key: getattr(self, key) for key in ("genes", "conditions", "cell_types", "widths", "cell_input", "dropout", "condition_features")},
            "likelihood": asdict(self.likelihood),
            "cell_type_head": None if self.cell_type_head is None else asdict(self.cell_type_head),
            "codebook_size": self.codebook_size,
            "codebook_init": asdict(self.codebook_init),
            "revival": self.revival.as_dict(),
            "decay": self.decay,
            "commitment_weight": self.commitment_weight,
            "quantizer": self.quantizer_arguments,
        }
