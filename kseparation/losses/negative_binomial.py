"""Negative logarithm of the likelihood of counts under a negative binomial distribution."""

import keras
from keras import ops

from kseparation.ops.likelihood import negative_binomial_nll


@keras.saving.register_keras_serializable("kseparation")
class NegativeBinomial(keras.losses.Loss):
    """How unlikely the counts of a cell are, given the mean and the inverse dispersion of each of its genes, in nats per entry.

    It is the mean over genes and cells, so that it does not grow with the number of genes. scvi-tools sums over the genes and averages over the cells: its number is this
    one times the number of genes, and a weight of another loss that was chosen beside it must be divided by that.

    Shapes: `y_true` counts `(batch, genes)`; `y_pred` `(batch, genes, 2)`, the mean from 0 on and the inverse dispersion above 0, where the variance is `mean + mean^2 /
    inverse dispersion`; result `(batch,)`, float32.

    References: Lopez et al. 2018, Deep generative modeling for single-cell transcriptomics (Nature Methods 15).
    """

    task = "counts"

    def __init__(self, name: str = "negative_binomial", **kwargs):
        super().__init__(name=name, dtype="float32", **{key: value for key, value in kwargs.items() if key != "dtype"})

    def call(self, y_true, y_pred):
        return ops.mean(negative_binomial_nll(y_true, y_pred[..., 0], y_pred[..., 1]), axis=-1)

    def get_config(self):
        return {"name": self.name}
