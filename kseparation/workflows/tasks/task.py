"""What the training of one kind of model is made of."""

import abc
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kseparation.config.places import Place
from kseparation.config.records import RunConfig
from kseparation.workflows.tasks.construction import construct


class Task(abc.ABC):
    """Everything in which the training of a separator differs from that of another kind of model.

    A subclass reads nothing before it is asked for it: what a config can be refused for is refused before data that take minutes to make.

    Args:
        config: of the run; its names have been checked.

    Attributes:
        name: `task` of a config.
        datasets: data sets by name.
        augmentations: by name.
        set_by_data: arguments of a data set that stand in `data` beside its own.
        set_by_run: arguments of a model that the run fills in.
        batch_names: of the two parts of a batch.
    """

    name: ClassVar[str]
    datasets: ClassVar[Mapping[str, type]]
    augmentations: ClassVar[Mapping[str, type]] = {}
    set_by_data: ClassVar[Sequence[str]]
    set_by_run: ClassVar[Sequence[str]]
    batch_names: ClassVar[tuple[str, str]]

    def __init__(self, config: RunConfig):
        self.config = config

    @functools.cached_property
    def changes(self) -> list:
        """The augmentations, in their order."""
        return [construct(self.augmentations[part.name], part, {}) for part in self.config.augment]

    @abc.abstractmethod
    def require_possible(self) -> None:
        """Raises UserError where something can be refused before the songs are there: a wrong augmentation, a single batch larger than the memory of the machine."""
        self.changes  # noqa: B018 - built, so that a wrong one is refused

    @abc.abstractmethod
    def model_arguments(self) -> dict[str, Any]:
        """Returns the arguments `set_by_run` of the model."""

    @abc.abstractmethod
    def open(self) -> None:
        """Opens the data and looks at all of them: what cannot be trained on is refused here, what is odd is said."""

    @property
    @abc.abstractmethod
    def batches(self):
        """The training batches: `batch(epoch, index, draw)`, `plan(epoch, index, draw)`, `batch_size`."""

    @property
    @abc.abstractmethod
    def validation(self) -> Sequence:
        """The batches of the validation, a sequence with `plan(index)`."""

    @abc.abstractmethod
    def batch_spec(self) -> tuple[Any, Any]:
        """Returns the two parts of a batch as `KerasTensor`s, of any number of examples."""

    def model_input(self) -> Any:
        """Returns what the model is built for, as `KerasTensor`s; by default what it is trained on."""
        return self.batch_spec()[0]

    def require_loss(self, loss: keras.losses.Loss, place: Place) -> None:  # noqa: B027 - most have nothing to refuse
        """Raises UserError where a loss cannot be computed of its examples."""

    @abc.abstractmethod
    def require_fit(self, model: keras.Model) -> None:
        """Raises UserError where the opened data do not go with the model."""

    @abc.abstractmethod
    def start_examples(self, model: keras.Model) -> Iterable[tuple[Any, Any]]:
        """Returns the batches that `model.start_from_data` starts from."""

    @abc.abstractmethod
    def fingerprint(self, split: str) -> str:
        """Returns what tells the data of `train` or `validation` apart from others."""

    @abc.abstractmethod
    def described(self, plan: Any) -> list[Any]:
        """Returns what a training batch is made of, from its `plan`, for each example a list of what it comes from, JSON values."""

    def callbacks(self, alarm: Callable[[str, str], None]) -> list[keras.callbacks.Callback]:
        """Returns what watches the model of this task beside that which watches every training.

        Args:
            alarm: takes the name and the words of what is wrong.
        """
        return []

    def example(self) -> Any:
        """Returns a small input for a look at what a model does with one, zeros."""
        return keras.tree.map_structure(lambda part: np.zeros((1, *part.shape[1:]), part.dtype), self.batch_spec()[0])
