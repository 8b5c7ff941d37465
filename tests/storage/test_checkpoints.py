import logging
import os
import shutil

import numpy as np
import pytest

from kseparation.errors import MachineError, UserError
from kseparation.storage import atomic, checkpoints
from kseparation.storage.checkpoints import CheckpointStore, load_checkpoint

FILES = ["state.npz", "progress.json", "MANIFEST.json"]


class Killed(BaseException):
    pass


def arrays(seed):
    generator = np.random.default_rng(seed)
    return {
        "model/kernel": generator.standard_normal((3, 4)).astype(np.float32),
        "file": generator.integers(0, 9, 5),
        "step": np.int64(seed),
        "half": generator.standard_normal(3).astype(np.float16),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 2), np.float32),
    }


def assert_is(checkpoint, seed):
    assert checkpoint.step == seed and checkpoint.progress == {"epoch": seed, "best": None}
    assert checkpoint.arrays.keys() == arrays(seed).keys()
    for name, array in arrays(seed).items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array)
        assert checkpoint.arrays[name].dtype == array.dtype


def save(store, seed):
    return store.save(seed, arrays(seed), {"epoch": seed, "best": float("nan")})


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def test_what_was_saved_comes_back_bit_for_bit(store):
    assert store.load_latest() is None
    path = save(store, 7)
    assert path == store.folder / "7" and sorted(os.listdir(path)) == sorted(FILES)
    assert_is(store.load_latest(), 7)
    assert_is(load_checkpoint(path), 7)


def test_the_newest_is_by_number_and_the_oldest_go(store):
    for step in (2, 9, 10, 100):
        save(store, step)
    assert store.steps() == [9, 10, 100]
    assert_is(store.load_latest(), 100)


def test_a_save_deletes_later_ones_of_a_course_that_was_left(store):
    for step in (5, 50, 60, 6):
        save(store, step)
    assert store.steps() == [5, 6]
    assert_is(store.load_latest(), 6)


def test_saving_a_step_again_replaces_it(store):
    store.save(3, {"x": np.zeros(3)}, {})
    save(store, 3)
    assert_is(store.load_latest(), 3)
    assert os.listdir(store.folder) == ["3"]


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path):
    os.truncate(path, 0)


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, cut_to_nothing, flip_a_bit, delete])
@pytest.mark.parametrize("name", FILES)
def test_damage_to_any_file_is_named_and_the_older_one_used(store, caplog, damage, name):
    save(store, 1)
    path = save(store, 2)
    damage(path / name)
    with caplog.at_level(logging.WARNING, "kseparation"):
        assert_is(store.load_latest(), 1)
    assert f"`{path}` is damaged ({name}" in caplog.text
    with pytest.raises(UserError, match=f"2` is damaged: {name}"):
        load_checkpoint(path)


def test_each_bit_of_the_small_files_matters_or_changes_nothing(store, caplog):
    save(store, 1)
    path = save(store, 2)
    for name in ("progress.json", "MANIFEST.json"):
        sound = (path / name).read_bytes()
        for position in range(0, len(sound) * 8, 7):
            data = bytearray(sound)
            data[position // 8] ^= 1 << position % 8
            (path / name).write_bytes(data)
            loaded = store.load_latest()
            assert_is(loaded, loaded.step)
            assert name == "MANIFEST.json" or loaded.step == 1
        (path / name).write_bytes(sound)


def test_a_checkpoint_under_another_number_is_refused(store):
    shutil.move(save(store, 2), store.folder / "3")
    assert store.load_latest() is None
    with pytest.raises(UserError, match="belongs to another checkpoint"):
        load_checkpoint(store.folder / "3")


def test_all_damaged_is_as_none(store, caplog):
    delete(save(store, 1) / "state.npz")
    assert store.load_latest() is None
    assert "state.npz is missing" in caplog.text


def test_multiples_and_the_steps_asked_for_stay_besides_the_newest(tmp_path):
    store = CheckpointStore(tmp_path, keep=2, keep_every=10)
    for step in range(5, 60, 5):
        store.save(step, arrays(step), {"epoch": step, "best": None}, retain={15, 30, 777})
    assert store.steps() == [10, 15, 20, 30, 40, 50, 55]
    for step in store.steps():
        assert_is(load_checkpoint(tmp_path / str(step)), step)
    save(store, 56)
    assert store.steps() == [10, 20, 30, 40, 50, 55, 56]
    store.save(25, arrays(25), {"epoch": 25, "best": None}, retain={56})
    assert store.steps() == [10, 20, 25]


def test_what_does_not_count_pushes_nothing_out_and_goes_with_the_next_save(tmp_path):
    store, kept = CheckpointStore(tmp_path, keep=2, keep_every=40, count_every=10), []
    for step in (3, 7, 10, 20, 25, 27, 30, 31, 40, 50, 55, 60, 62):
        store.save(step, arrays(step), {"epoch": step, "best": None}, retain={10})
        kept.append(store.steps())
    assert kept[:4] == [[3], [3, 7], [7, 10], [10, 20]]  # two sound ones, where there have been two
    assert kept[4:8] == [[10, 20, 25], [10, 20, 27], [10, 20, 30], [10, 20, 30, 31]]
    assert kept[8:] == [[10, 30, 40], [10, 40, 50], [10, 40, 50, 55], [10, 40, 50, 60], [10, 40, 50, 60, 62]]
    store.save(45, arrays(45), {"epoch": 45, "best": None})
    assert store.steps() == [10, 40, 45]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_what_does_not_count_stays_where_only_one_other_is_sound(tmp_path, damage):
    store = CheckpointStore(tmp_path, keep=2, count_every=10)
    damage(save(store, 10) / "state.npz")
    for step in (15, 20):
        save(store, step)
    assert store.steps() == [10, 15, 20]
    assert_is(load_checkpoint(tmp_path / "15"), 15)
    save(store, 30)
    assert store.steps() == [20, 30]


def test_with_one_kept_the_rest_goes(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    for step in (1, 2, 3):
        save(store, step)
        assert store.steps() == [step]


@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_two_sound_ones_stay_where_there_are_two(tmp_path, damage):
    """A damaged one that lies between them does not count, even where all its files have their length."""
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)
    damage(save(store, 2) / "state.npz")
    save(store, 3)
    assert store.steps() == [1, 2, 3]
    assert_is(load_checkpoint(tmp_path / "1"), 1)
    save(store, 4)
    assert store.steps() == [3, 4]


def test_a_replaced_one_goes_with_the_one_that_replaced_it(tmp_path):
    store = CheckpointStore(tmp_path, keep=3)
    for step in (1, 2, 3):
        save(store, step)
    shutil.copytree(tmp_path / "3", tmp_path / ".old-3")
    save(store, 4)
    assert sorted(os.listdir(tmp_path)) == ["2", "3", "4"]


def test_a_checkpoint_is_deleted_in_one_piece(tmp_path, monkeypatch, caplog):
    """A process that is killed meanwhile leaves no half of one, which would be taken for a damaged one."""
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1)

    def die(path, **_):
        if os.path.exists(path):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(Killed):
            save(store, 2)
    assert store.steps() == [2]
    save(store, 3)
    assert os.listdir(tmp_path) == ["3"]


def test_cut_files_do_not_count_as_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)
    truncate(save(store, 2) / "state.npz")
    save(store, 3)
    assert store.steps() == [1, 2, 3]
    save(store, 4)
    assert store.steps() == [3, 4]


def calls_of_one_save(monkeypatch, store, kill_at=None):
    """Runs a save that dies before the n-th system call that matters; returns how many there were."""
    count = 0

    def counted(real):
        def call(*arguments):
            nonlocal count
            if count == kill_at:
                raise Killed
            count += 1
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "rename", "mkdir"):
            patch.setattr(atomic.os, name, counted(getattr(os, name)))
        patch.setattr(atomic.shutil, "rmtree", lambda *_, **__: None)  # a killed process does not tidy up
        save(store, 2)
    return count


@pytest.mark.parametrize("exists", [False, True])
def test_a_writer_killed_at_any_moment_leaves_no_loadable_half(monkeypatch, tmp_path, exists):
    def fresh(name):
        store = CheckpointStore(tmp_path / name)
        save(store, 1)
        if exists:
            save(store, 2)
        return store

    total = calls_of_one_save(monkeypatch, fresh("count"))
    assert total >= 9
    for kill_at in range(total):
        store = fresh(f"killed-{kill_at}")
        with pytest.raises(Killed):
            calls_of_one_save(monkeypatch, store, kill_at)
        latest = store.load_latest()
        assert latest.step in ({2} if exists else {1, 2})
        assert_is(latest, latest.step)
        save(store, 3)
        assert_is(store.load_latest(), 3)
        assert not [name for name in os.listdir(store.folder) if name.startswith(".tmp-")]


def test_nothing_is_deleted_when_the_new_one_does_not_read_back(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1)
    monkeypatch.setattr(checkpoints, "file_sha256", lambda path: os.urandom(8).hex())
    with pytest.raises(MachineError, match="does not read back"):
        save(store, 2)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["1"]
    assert_is(store.load_latest(), 1)


@pytest.mark.parametrize("bad", [np.array([{}, None]), np.zeros(2, "V2")])
def test_objects_and_foreign_types_are_refused(store, bad):
    with pytest.raises(UserError, match="Array `w` must be of a plain NumPy number type. Received: dtype="):
        store.save(1, {"w": bad}, {})
    assert os.listdir(store.folder) == []


def test_wrong_arguments(store, tmp_path):
    with pytest.raises(UserError, match="`keep` must be at least 1. Received: keep=0"):
        CheckpointStore(tmp_path, keep=0)
    with pytest.raises(UserError, match="`keep_every` must be at least 1. Received: keep_every=0"):
        CheckpointStore(tmp_path, keep_every=0)
    with pytest.raises(UserError, match="`count_every` must be at least 1. Received: count_every=0"):
        CheckpointStore(tmp_path, count_every=0)
    with pytest.raises(UserError, match="`step` must not be negative. Received: step=-1"):
        store.save(-1, {}, {})
    with pytest.raises(UserError, match="is not a checkpoint"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="is not a checkpoint"):
        load_checkpoint(tmp_path / "5")
