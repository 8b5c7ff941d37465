"""Opening model files, with a gate in front of Keras' own loader."""

import json
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np

from kseparation.errors import UserError
from kseparation.models.base import TrackedModel

MODEL_FILE = "model.keras"


def find_model_file(path: str | Path) -> Path:
    """Returns the `.keras` file that `--model` means: the file itself or the best model of a run folder.

    Raises:
        UserError: nothing is there, or it is not such a file or folder.
    """
    path = Path(path)
    if path.is_dir():
        file = path / MODEL_FILE
        if not file.is_file():
            raise UserError(f"`--model` is a folder without `{MODEL_FILE}`. Received: {path}. Give the folder of a run that has trained for an epoch, or a .keras file.")
        return file
    if not path.exists():
        raise UserError(f"`--model` does not exist. Received: {path}. Give a run folder or a .keras file; `kseparation train` makes one.")
    if not path.is_file():
        raise UserError(f"`--model` is not a regular file. Received: {path}")
    return path


def load_model(path: str | Path, task: str | None = "separation") -> keras.Model:
    """Opens a model of this package, on any backend, whatever backend trained it.

    The file is looked at before Keras builds anything: an archive that is damaged, names a class outside this package, or holds weights that are not finite is
    refused.

    Args:
        path: a run folder or a `.keras` file.
        task: what the model must be for, as `separation` or `counts`; None takes any.

    Raises:
        UserError: the file is missing, truncated, of another kind, or its weights are not finite.
    """
    file = find_model_file(path)
    _check_archive(file)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, EOFError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"The model file cannot be opened: {file}. {first_line}") from error
    if getattr(model, "task", None) != task and task is not None or not isinstance(model, TrackedModel):
        raise UserError(f"The model file holds no model for {task or 'any task'}: {file}. Received: {type(model).__name__}. Give the model of a {task or 'training'} run.")
    broken = [weight.path for weight in model.weights if not np.all(np.isfinite(keras.ops.convert_to_numpy(weight)))]
    if broken:
        raise UserError(f"The model file holds weights that are not finite: {file}. First of {len(broken)}: `{broken[0]}`. Use an earlier checkpoint of the run.")
    return model


def _check_archive(file):
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            config = json.loads(archive.read("config.json"))
    except PermissionError as error:
        raise UserError(f"The model file cannot be read: {file}. {error.strerror}. Check its permissions.") from error
    # OSError is zipfile's word for an offset beyond the file, RuntimeError for encryption and for a compression that it does not know.
    except (zipfile.BadZipFile, zlib.error, OSError, KeyError, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"Not a sound .keras file: {file}. It is truncated, damaged or of another kind ({error}). Copy or train it again.") from error
    if damaged:
        raise UserError(f"The model file is damaged: {file}, in its part `{damaged}`. Copy it again.")
    name = (config.get("registered_name") or config.get("class_name")) if isinstance(config, dict) else None
    classes = _classes(config.get("config") if isinstance(config, dict) else None)
    # A name that is not registered would send Keras to the module that the file names beside it.
    foreign = sorted(other for other in classes - _ALLOWED_CLASSES if not _is_own(other))
    if not _is_own(name) or foreign:
        received = ", ".join([str(name), *foreign])
        raise UserError(f"The model file holds a model of another kind: {file}. Received: {received}. Only models of this package are opened.")


# What a model's own configuration may name besides the classes of this package.
_ALLOWED_CLASSES = {"DTypePolicy"}


def _is_own(name):
    return isinstance(name, str) and name.startswith("kseparation>") and keras.saving.get_registered_object(name) is not None


def _classes(config):
    """Names of all classes in a configuration."""
    if isinstance(config, dict):
        names = {str(config.get("registered_name") or config["class_name"])} if isinstance(config.get("class_name"), str) else set()
        return names.union(*(_classes(value) for value in config.values()), set())
    if isinstance(config, list):
        return set().union(*(_classes(value) for value in config), set())
    return set()
