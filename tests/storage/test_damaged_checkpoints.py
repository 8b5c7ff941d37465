"""Each file of a checkpoint, damaged in every way that disks and people know: it is named, never loaded, and the next older one takes its place."""

import logging
import os

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint

FILES = ("state.npz", "progress.json", "MANIFEST.json")
PLACES = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


def edited(edit):
    """Damage that replaces the bytes of the file by others."""

    def damage(file, other):
        data = bytearray(file.read_bytes())
        file.write_bytes(edit(data))

    return damage


def truncated(share):
    return edited(lambda data: data[: min(int(len(data) * share), len(data) - 2)])  # without its last newline a manifest says the same


def flipped(place, bit):
    def flip(data):
        data[int((len(data) - 1) * place)] ^= 1 << bit
        return data

    return edited(flip)


def zeroed(start, end):
    def zero(data):
        first, last = int(len(data) * start), int(len(data) * end)
        data[first:last] = bytes(last - first)
        return data

    return edited(zero)


def swapped(file, other):
    for source, target in ((file, "kept"), (other, file.name), (file.with_name("kept"), "")):
        os.replace(source, file.with_name(target) if target else other)


DAMAGES = {
    **{f"truncated to {share}": truncated(share) for share in (0, 0.25, 0.5, 0.75, 1)},
    **{f"bit {bit} at {place} flipped": flipped(place, bit) for bit, place in enumerate(PLACES[:8])},
    "last bit flipped": flipped(1.0, 0),
    **{f"zeroed from {start} to {end}": zeroed(start, end) for start, end in ((0, 0.25), (0.4, 0.6), (0.75, 1), (0, 1))},
    "longer by a byte": edited(lambda data: data + b"\0"),
    "deleted": lambda file, other: file.unlink(),
    "a folder": lambda file, other: (file.unlink(), file.mkdir()),
    "empty": lambda file, other: file.write_bytes(b""),
    "swapped with that of another step": swapped,
}


def arrays(step):
    draw = np.random.default_rng(step)
    return {"model/kernel": draw.standard_normal((30, 4)).astype("float32"), "optimizer/step": np.int64(step)}


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path)
    for step in (7, 8, 9):
        store.save(step, arrays(step), {"epoch": step, "best_loss": (1 / step).hex()})
    return store


def is_whole(checkpoint, step):
    same = all(np.array_equal(checkpoint.arrays[name], array) for name, array in arrays(step).items())
    return checkpoint.step == step and same and checkpoint.progress == {"epoch": step, "best_loss": (1 / step).hex()}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_it_is_named_and_the_next_older_one_is_used(store, caplog, name, damage):
    damage(store.folder / "9" / name, store.folder / "8" / name)
    damaged = (9, 8) if damage is swapped else (9,)
    with caplog.at_level(logging.WARNING, "kseparation"):
        assert is_whole(store.load_latest(), 9 - len(damaged))
    assert len(caplog.records) == len(damaged)
    for step, record in zip(damaged, caplog.records):
        words = record.getMessage()
        assert words.startswith(f"Checkpoint `{store.folder / str(step)}` is damaged (") and name in words
        with pytest.raises(UserError, match=f"{step}` is damaged: .*{name}"):
            load_checkpoint(store.folder / str(step))


@pytest.mark.parametrize("name", FILES)
def test_the_run_goes_on_from_there(store, name):
    """What comes after it is saved under the same step again, and two sound ones stay."""
    flipped(0.5, 2)(store.folder / "9" / name, None)
    assert store.load_latest().step == 8
    store.save(9, arrays(9), {"epoch": 9, "best_loss": (1 / 9).hex()})
    assert is_whole(store.load_latest(), 9)
    assert store.steps() == [7, 8, 9]


def test_a_file_that_cannot_be_read_is_damaged(store, monkeypatch, caplog):
    stat = os.stat

    def failing(path, *arguments, **named):
        if str(path).endswith("9/state.npz"):
            raise OSError(5, "Input/output error")
        return stat(path, *arguments, **named)

    monkeypatch.setattr(os, "stat", failing)
    assert store.load_latest().step == 8
    assert "is damaged (state.npz cannot be read: Input/output error)" in caplog.text
