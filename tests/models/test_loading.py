"""Opening model files: a good one from a run folder, and every kind of bad one refused with its words."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.models import load_model
from kseparation.models.base import TrackedModel
from tests.golden.make_moises_light import FOLDER
from tests.on_backend import numbers

GOOD = FOLDER / "moises_light.keras"


def rewritten(path, change):
    """A copy of the good file whose configuration went through `change`."""
    with zipfile.ZipFile(GOOD) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = json.dumps(change(config) or config)
            target.writestr(name, content)
    return path


def refusal(path):
    with pytest.raises(UserError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_good_file_opens_from_a_run_folder(tmp_path):
    shutil.copy(GOOD, tmp_path / "model.keras")
    model, same = load_model(tmp_path), load_model(str(GOOD))
    assert model.get_config() == same.get_config()
    for weight, other in zip(model.weights, same.weights, strict=True):
        np.testing.assert_array_equal(numbers(weight), numbers(other))


def test_missing_file_is_named_with_a_cure(tmp_path):
    assert "`--model` does not exist. Received:" in refusal(tmp_path / "none.keras")
    assert "kseparation train" in refusal(tmp_path / "none.keras")


def test_folder_without_a_model_is_named(tmp_path):
    assert "`--model` is a folder without `model.keras`" in refusal(tmp_path)


def test_what_is_no_file_is_refused():
    with pytest.raises(UserError, match="`--model` is not a regular file. Received: /dev/null"):
        load_model("/dev/null")


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_truncated_file_is_refused(tmp_path, quarter):
    content = GOOD.read_bytes()
    path = tmp_path / "short.keras"
    path.write_bytes(content[: len(content) * quarter // 4])
    assert "Not a sound .keras file" in refusal(path)


def test_a_file_that_lost_its_beginning_is_refused(tmp_path):
    path = tmp_path / "late.keras"
    path.write_bytes(GOOD.read_bytes()[600:])
    assert "Not a sound .keras file" in refusal(path)


@pytest.mark.parametrize("part", ["model.weights.h5", "config.json"])
def test_flipped_byte_is_refused(tmp_path, part):
    content = bytearray(GOOD.read_bytes())
    with zipfile.ZipFile(GOOD) as archive:
        entry = archive.getinfo(part)
    content[entry.header_offset + 30 + len(part) + entry.compress_size // 2] ^= 0xFF
    path = tmp_path / "flipped.keras"
    path.write_bytes(content)
    words = refusal(path)
    assert f"The model file is damaged: {path}, in its part `{part}`" in words or "Not a sound .keras file" in words


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [(8, 99, "compression method is not supported"), (6, 1, "encrypted")],
)
def test_an_archive_that_python_cannot_unpack_is_refused(tmp_path, offset, value, words):
    path = tmp_path / "model.keras"
    shutil.copy(GOOD, path)
    with zipfile.ZipFile(path) as archive:
        archived, directory = archive.infolist()[0], archive.start_dir
    content = bytearray(path.read_bytes())
    for place in (archived.header_offset + offset, directory + offset + 2):  # the field stands in both headers
        content[place : place + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)
    message = refusal(path)
    assert "Not a sound .keras file" in message and words in message


def test_a_damaged_compressed_part_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(GOOD) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        first = target.infolist()[0]
    content = bytearray(path.read_bytes())
    content[first.header_offset + 30 + len(first.filename)] = 0xFF  # a kind of block that deflate does not have
    path.write_bytes(content)
    assert "Not a sound .keras file" in refusal(path)


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", forbidden)
    with pytest.raises(UserError, match="The model file cannot be read: .* Permission denied. Check its permissions."):
        load_model(GOOD)


def test_text_is_refused(tmp_path):
    path = tmp_path / "notes.keras"
    path.write_text("not a model")
    assert "Not a sound .keras file" in refusal(path)


def test_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "photos.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "a cat")
    assert "Not a sound .keras file" in refusal(path)


def test_plain_keras_model_is_of_another_kind(tmp_path):
    path = tmp_path / "plain.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    words = refusal(path)
    assert "holds a model of another kind" in words and "Sequential" in words


def test_foreign_class_inside_is_named_and_never_built(tmp_path):
    def smuggle(config):
        config["config"]["dropout"] = {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None}

    words = refusal(rewritten(tmp_path / "foreign.keras", smuggle))
    assert "holds a model of another kind" in words and "Lambda" in words


def test_a_name_of_ours_is_no_way_to_a_foreign_class(tmp_path):
    def disguise(config):
        config.update(registered_name="kseparation>X", module="keras.src.models.sequential", class_name="Sequential", config={"layers": []})

    words = refusal(rewritten(tmp_path / "disguised.keras", disguise))
    assert "holds a model of another kind" in words and "kseparation>X" in words


def test_a_model_of_ours_that_separates_nothing_is_refused(tmp_path):
    model = TrackedModel()
    model.built = True
    model.save(tmp_path / "other.keras")
    words = refusal(tmp_path / "other.keras")
    assert "holds no model for separation" in words and "TrackedModel" in words


@pytest.mark.parametrize("content", [[], "text", None, {"registered_name": 3}, {"registered_name": ["a"], "config": {"registered_name": ["b"], "class_name": "Lambda"}}, {"registered_name": "kseparation>Gone", "class_name": "Gone"}])
def test_configuration_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(GOOD) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, json.dumps(content) if name == "config.json" else source.read(name))
    words = refusal(path)
    assert "holds a model of another kind" in words or "cannot be opened" in words


def test_arguments_that_do_not_fit_are_refused(tmp_path):
    def spoil(config):
        config["config"]["bands"] = 7

    words = refusal(rewritten(tmp_path / "spoiled.keras", spoil))
    assert "The model file cannot be opened" in words


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, bad):
    model = load_model(GOOD)
    spoiled = numbers(model.waist_norm.gamma)
    spoiled[0] = bad
    model.waist_norm.gamma.assign(spoiled)
    path = tmp_path / "broken.keras"
    model.save(path)
    words = refusal(path)
    assert "weights that are not finite" in words and f"First of 1: `{model.waist_norm.gamma.path}`" in words
