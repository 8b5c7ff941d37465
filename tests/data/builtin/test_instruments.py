"""The splits of sounds: by name, and by the recordings of the soundfont that they play."""

import importlib.util
import struct
from itertools import combinations
from pathlib import Path

import pytest

from kseparation.data.builtin.instruments import BASSES, KITS, OTHERS, Patch, Program, SynthKit, basses, kits, others
from kseparation.data.builtin.settings import SPLITS
from kseparation.data.builtin.synthesiser import FAMILIES


def sounds(split: str) -> list:
    return [*BASSES[split], *(sound for role in OTHERS[split].values() for sound in role)]


def test_no_sound_is_in_two_splits() -> None:
    for first, second in combinations(SPLITS, 2):
        assert not {sound.label for sound in sounds(first)} & {sound.label for sound in sounds(second)}
        assert not {kit.label for kit in KITS[first]} & {kit.label for kit in KITS[second]}


def test_every_patch_exists_and_every_split_has_patches_for_all_roles() -> None:
    for split in SPLITS:
        assert {sound.family for sound in sounds(split) if isinstance(sound, Patch)} <= set(FAMILIES)
        assert all(isinstance(kit, SynthKit) for kit in kits(split, True)) and kits(split, True)
        assert all(isinstance(sound, Patch) for sound in basses(split, True)) and basses(split, True)
        for role in OTHERS[split]:
            assert {sound.family for sound in others(split, role, True)} <= set(FAMILIES)


def rows(data: bytes, tag: bytes, size: int) -> list[bytes]:
    place = data.index(tag, data.index(b"pdta"))
    length = struct.unpack("<I", data[place + 4 : place + 8])[0]
    return [data[place + 8 + k : place + 8 + k + size] for k in range(0, length, size)]


def recordings_by_program() -> dict[int, set[int]]:
    """Reads from the soundfont (SoundFont 2.04, 7.2 to 7.10) where the recordings of each melodic program begin."""
    data = (Path(importlib.util.find_spec("pretty_midi").origin).parent / "TimGM6mb.sf2").read_bytes()
    presets = [struct.unpack("<HHH", row[20:26]) for row in rows(data, b"phdr", 38)]
    preset_bags = [struct.unpack("<H", row[:2])[0] for row in rows(data, b"pbag", 4)]
    preset_generators = [struct.unpack("<HH", row) for row in rows(data, b"pgen", 4)]
    instruments = [struct.unpack("<H", row[20:22])[0] for row in rows(data, b"inst", 22)]
    instrument_bags = [struct.unpack("<H", row[:2])[0] for row in rows(data, b"ibag", 4)]
    instrument_generators = [struct.unpack("<HH", row) for row in rows(data, b"igen", 4)]
    samples = [struct.unpack("<I", row[20:24])[0] for row in rows(data, b"shdr", 46)]
    instrument_operator, sample_operator = 41, 53
    found: dict[int, set[int]] = {}
    for (program, bank, bag), (_, _, end_bag) in zip(presets, presets[1:], strict=False):
        for number in preset_generators[preset_bags[bag] : preset_bags[end_bag]] if bank == 0 else []:
            if number[0] == instrument_operator:
                first, last = (instrument_bags[instruments[number[1] + side]] for side in (0, 1))
                played = {
                    samples[value] for kind, value in instrument_generators[first:last] if kind == sample_operator
                }
                found[program] = found.get(program, set()) | played
    return found


@pytest.mark.parametrize(("first", "second"), list(combinations(SPLITS, 2)))
def test_no_melodic_recording_is_in_two_splits(first: str, second: str) -> None:
    recordings = recordings_by_program()
    used = [
        set().union(*(recordings[sound.number] for sound in sounds(split) if isinstance(sound, Program)))
        for split in (first, second)
    ]
    assert min(len(split) for split in used) > 20
    assert not used[0] & used[1]
