"""What can be trained. To add a kind of model: a file here with a class like `SeparationTask`, a line below, its name in `config/records.py`."""

from kseparation.config.records import RunConfig
from kseparation.workflows.tasks.counts import CountsTask
from kseparation.workflows.tasks.separation import SeparationTask
from kseparation.workflows.tasks.task import Task

TASKS = {task.name: task for task in (SeparationTask, CountsTask)}


def task_of(config: RunConfig) -> Task:
    """Returns the task of a config."""
    return TASKS[config.task](config)
