"""What belongs together in the arguments of a `CountAutoencoder`, and its sizes by name."""

from dataclasses import dataclass
from typing import Literal

from kseparation.errors import did_you_mean

CELL_INPUTS = ("log1p", "log1p_of_shares", "counts")
MEANS = ("softmax", "softplus", "exp", "exp_then_clamp")
DISPERSIONS = ("gene", "gene_condition", "gene_cell")
METHODS = ("kmeans", "random")


def _require_one_of(name, value, valid):
    if value not in valid:
        raise ValueError(f"`{name}` is unknown. Received: {value}. {did_you_mean(value, valid)}")


@dataclass(frozen=True)
class Likelihood:
    """How counts are expected of a code.

    Attributes:
        mean: `softmax`, the library size times the share of each gene, which cannot exceed it; `softplus`, the library size times a share that can; `exp`, the exponential of a logit up to 15, without
            library size. `exp_then_clamp` lets the exponential overflow before it is clamped: its gradient is not a number then. For reproducing that failure.
        dispersion: inverse dispersions of each `gene`, of each gene in each condition (`gene_condition`), or of each gene as the decoder finds them for a cell (`gene_cell`), which overfits few cells.
    """

    mean: Literal["softmax", "softplus", "exp", "exp_then_clamp"] = "softmax"
    dispersion: Literal["gene", "gene_condition", "gene_cell"] = "gene"

    def __post_init__(self):
        _require_one_of("likelihood.mean", self.mean, MEANS)
        _require_one_of("likelihood.dispersion", self.dispersion, DISPERSIONS)


@dataclass(frozen=True)
class CodebookInit:
    """How the first codebook is found, before the first step.

    Attributes:
        method: `kmeans` of what the encoder makes of training cells, or `random` ones of these.
        stratify: whether each condition gives the same number of cells, as far as it has so many.
        num_samples: number of cells; None for 40 for each code, or all.
    """

    method: Literal["kmeans", "random"] = "kmeans"
    stratify: bool = True
    num_samples: int | None = None
    cells_per_code = 40

    def __post_init__(self):
        _require_one_of("codebook_init.method", self.method, METHODS)
        if self.num_samples is not None and self.num_samples < 1:
            raise ValueError(f"`codebook_init.num_samples` must be at least 1. Received: num_samples={self.num_samples}")


@dataclass(frozen=True)
class CellTypeHead:
    """A small classifier of the codes.

    Attributes:
        weight: of its cross-entropy in the loss, above 0.
        hidden: units of its one hidden layer.
        dropout: share of these dropped in training, in [0, 1).
    """

    weight: float = 0.1
    hidden: int = 64
    dropout: float = 0.1

    def __post_init__(self):
        if self.weight <= 0 or self.hidden < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                "`cell_type_head` needs a weight above 0, at least 1 hidden unit, and a dropout in [0, 1). "
                f"Received: weight={self.weight}, hidden={self.hidden}, dropout={self.dropout}"
            )


# Constructor arguments that differ from the defaults.
PRESETS = {
    "vq_aenb": {},
    "vq_aenb_small": {"widths": (128, 64, 32), "codebook_size": 64},
}
