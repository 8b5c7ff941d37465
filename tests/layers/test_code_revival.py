"""When codes are revived, how many, and what a revived row consists of."""

import warnings

import numpy as np
import pytest
from keras import ops

from kseparation.config.settings import settings_of
from kseparation.layers import VectorQuantizer, code_revival
from kseparation.layers.code_revival import Revival
from tests.on_backend import compute, numbers

FEATURES = 4


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def with_dead_codes(codes=50, live=10, seed=1, **revival):
    """A quantiser of which only some codes are near any vector."""
    layer = VectorQuantizer(codes, decay=0.9, seed=seed, revival=revival)
    layer.build((None, FEATURES))
    codebook = drawn(codes, FEATURES)
    codebook[live:] += 1000
    layer.set_codebook(codebook)
    return layer


def steps(layer, number, vectors=200):
    """Makes steps; returns the number of codes revived in each."""
    found = []
    for step in range(number):
        layer.match(ops.convert_to_tensor(drawn(vectors, FEATURES, seed=100 + step)), training=True)
        found.append(int(numbers(layer.revived_in_step)))
    return found


@pytest.mark.parametrize(("vectors", "expected"), [(512, [2, 6, 11, 24]), (128, [5, 21, 44, 93])])
def test_the_covering_steps_leave_hardly_any_code_out(vectors, expected):
    sizes = [64, 256, 512, 1024]
    assert [int(numbers(code_revival.covering_steps(codes, vectors))) for codes in sizes] == expected
    for codes, steps in zip(sizes, expected, strict=True):
        assert codes * np.exp(-steps * vectors / codes) <= 0.01 < codes * np.exp(-(steps - 1) * vectors / codes)


@pytest.mark.parametrize("warm_up", [0, 7])
def test_nothing_is_revived_before_warm_up_plus_patience(warm_up):
    """50 codes and 200 vectors: uniform use covers them in 3 steps, so that the patience is 6. A step later the dead are revived, at most `cap` at a time."""
    layer = with_dead_codes(warm_up_steps=warm_up, patience=2.0, cap=3, every_n_steps=1, threshold=1.0, reservoir=256)
    revived = steps(layer, 30)
    patience = 2 * int(numbers(code_revival.covering_steps(50, 200)))
    assert patience == 6
    assert revived[: warm_up + patience] == [0] * (warm_up + patience)
    assert revived[warm_up + patience] == 3
    assert max(revived) == 3 and sum(revived) == int(numbers(layer.revived)) > 20


def test_the_count_must_be_low_too():
    layer = with_dead_codes(warm_up_steps=0, patience=1.0, every_n_steps=1, threshold=0.05, reservoir=256)
    revived = steps(layer, 40)
    below = next(step for step in range(40) if 0.9 ** (step + 1) < 0.05)  # of a running count that stays 200 in sum
    assert revived.index(1) == below and set(revived[:below]) == {0}


@pytest.mark.parametrize(("codes", "cap"), [(8, 1), (50, 1), (256, 5)])
def test_by_default_a_fiftieth_is_revived_at_once(codes, cap):
    assert Revival().filled_in(codes).cap == cap
    layer = with_dead_codes(codes, live=2, warm_up_steps=0, patience=0.1, every_n_steps=1, threshold=1.0)
    assert max(steps(layer, 12)) == cap
    assert int(numbers(layer.capped_events)) > 0


def test_events_come_every_so_many_steps():
    layer = with_dead_codes(warm_up_steps=7, patience=0.1, every_n_steps=5, threshold=1.0, reservoir=256, cap=2)
    revived = steps(layer, 20)
    assert [step + 1 for step, number in enumerate(revived) if number] == [10, 15, 20]
    assert int(numbers(layer.events)) == 3 == int(numbers(layer.capped_events))


def test_by_default_an_event_comes_every_quarter_of_the_patience():
    layer = with_dead_codes(warm_up_steps=0, patience=8.0, threshold=1.0, reservoir=256)
    steps(layer, 36)
    assert int(numbers(layer.events)) == 6  # a patience of 8 * 3 steps


def test_a_revived_row_is_a_vector_that_was_seen_with_count_and_sum_to_match():
    layer = with_dead_codes(warm_up_steps=0, patience=0.1, every_n_steps=4, threshold=1.0, reservoir=256, cap=6, start_count=0.5)
    steps(layer, 3)
    before = numbers(layer.codebook)
    vectors = drawn(200, FEATURES, seed=7)
    layer.match(vectors, training=True)
    assert int(numbers(layer.revived_in_step)) == 6
    rows, counts, sums, age = (numbers(part) for part in (layer.codebook, layer.counts, layer.sums, layer.age))
    revived = np.flatnonzero(np.abs(rows[10:] - before[10:]).max(axis=-1) > 100) + 10
    assert len(revived) == 6 and np.all(age[revived] == 0)
    np.testing.assert_allclose(sums[revived], rows[revived] * counts[revived, None], rtol=1e-6)
    # The mean before the rows got theirs: 200 vectors on 50 codes.
    np.testing.assert_allclose(counts[revived], 0.5 * 200 / 50, rtol=1e-5)
    seen = np.concatenate([*(drawn(200, FEATURES, seed=100 + step) for step in range(3)), vectors])
    places = np.abs(rows[revived][:, None] - seen[None]).max(axis=-1)
    assert np.all(places.min(axis=-1) == 0)
    assert len(set(places.argmin(axis=-1))) == 6  # without replacement
    # The next step leaves them near where they are: nothing of the old row comes back.
    layer.match(drawn(200, FEATURES, seed=8), training=True)
    assert np.abs(numbers(layer.codebook)[revived]).max() < 10


def test_the_rarest_are_revived_first():
    revival = Revival(cap=3).filled_in(6)
    dead = np.array([True, True, False, True, True, True])
    counts = np.array([5, 2, 0, 1, 2, 3], "float32")
    chosen, rows = compute(lambda *a: code_revival.new_places(revival, *a[:4], 9, a[4]), dead, counts, drawn(4096, 2), np.ones(4096, "float32"), np.float32(40))
    np.testing.assert_array_equal(chosen, [False, True, False, True, True, False])
    assert np.isin(rows[chosen], drawn(4096, 2)).all()


@pytest.mark.parametrize("written", [0, 1, 5, 64])
def test_no_more_are_revived_than_there_are_vectors(written):
    revival = Revival(cap=8, reservoir=64).filled_in(8)
    filled = (np.arange(64) < written).astype("float32")
    chosen, _ = compute(lambda *a: code_revival.new_places(revival, *a[:4], 9, a[4]), np.ones(8, bool), np.ones(8, "float32"), drawn(64, 2), filled, np.float32(40))
    assert chosen.sum() == {0: 0, 1: 1, 5: 4, 64: 8}[written]  # of a ring that is not full, the largest power of two


def test_the_reservoir_is_a_ring_of_what_came_last():
    ring, filled, position = np.zeros((32, 2), "float32"), np.zeros(32, "float32"), np.float32(0)
    seen = []
    for step in range(9):
        vectors = drawn(10, 2, seed=step)
        ring, filled, position = compute(lambda *a: code_revival.reservoir_with(*a[:4], None, a[4]), ring, filled, position, vectors, np.int32(step * 1000))
        assert filled.sum() == min(4 * (step + 1), 32)
        seen.append({tuple(row) for row in vectors})
    kept = [tuple(row) for row in ring]
    assert len(set(kept)) == 32
    for step in range(1, 9):
        assert len(seen[step] & set(kept)) == 4
    assert not seen[0] & set(kept)


def test_vectors_that_do_not_count_stay_out_of_the_reservoir():
    counted = np.array([0, 1, 0, 1], "float32")
    ring, filled, position = compute(
        lambda *a: code_revival.reservoir_with(*a), np.zeros((32, 2), "float32"), np.zeros(32, "float32"), np.float32(0), drawn(4, 2), counted, np.int32(0)
    )
    assert position == 4 and filled.sum() == 2
    np.testing.assert_array_equal(ring[filled > 0], drawn(4, 2)[[1, 3]])


def draw_in_whole_numbers(seed, step, salt):
    """The definition in Python's integers, which never overflow."""
    prime, value = code_revival.PRIME, step + seed
    for constant in (salt * 7919 + 1, seed // prime, step // prime, 12289 + salt, 31337):
        value = (value**3 + constant) % prime
    return value


def test_draws_are_the_same_everywhere_and_spread():
    for seed, salt in ((0, 1), (7, 1), (7, 2), (2**31 - 1, 3)):
        draws = [int(numbers(code_revival.drawn(seed, ops.convert_to_tensor(float(step)), salt))) for step in (0, 1, 2, 50000, 2**23)]
        assert draws == [draw_in_whole_numbers(seed, step, salt) for step in (0, 1, 2, 50000, 2**23)]
    many = compute(lambda step: code_revival.drawn(123456789, step, 2), np.arange(20000, dtype="int32"))
    shares = np.histogram(many, bins=10, range=(0, code_revival.PRIME))[0] / 20000
    np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_revival_takes_the_same_course_on_every_backend():
    """Numbers that torch gave on a CPU: which codes are revived, and where to, is drawn the same everywhere."""
    layer = with_dead_codes(warm_up_steps=0, patience=1.0, every_n_steps=2, threshold=0.8, reservoir=256, cap=4)
    assert steps(layer, 24) == [0, 0, 0, *[4, 0] * 10, 0]
    np.testing.assert_allclose(numbers(layer.counts)[:6], [10.533687, 5.9895067, 7.5544715, 4.124246, 6.578779, 6.1440434], rtol=1e-5)
    assert float(numbers(layer.codebook)[:12].sum()) == pytest.approx(3.2263334, rel=1e-5)


def test_the_fixed_rule_throws_away_what_the_first_batch_left_out():
    """As the count document has it: a usage that starts at zero, below any threshold."""
    with pytest.warns(UserWarning, match="known to break trainings"):
        layer = with_dead_codes(rule="fixed", reservoir=256)
    revived = steps(layer, 2)
    assert revived[0] == 32  # as many as the reservoir has after a batch; 40 are dead
    assert float(numbers(layer.usage).sum()) == pytest.approx(1 - 0.9**2, rel=1e-5)


def test_without_revival_there_is_no_state_for_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = VectorQuantizer(50, revival={"rule": "off"})
    layer = with_dead_codes(rule="off")
    assert not hasattr(layer, "reservoir") and not hasattr(layer, "age")
    before = numbers(layer.codebook)
    layer.match(ops.convert_to_tensor(drawn(200, FEATURES)), training=True)
    np.testing.assert_allclose(numbers(layer.codebook)[10:], before[10:], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "relativ"}, "`revival.rule` is unknown. Received: rule='relativ'. Did you mean `relative`?"),
        ({"every_n_step": 3}, "`revival.every_n_step` is not a setting of `revival`. Did you mean `every_n_steps`?"),
        ({"every_n_steps": 0}, "`revival.every_n_steps` must be at least 1. Received: every_n_steps=0"),
        ({"cap": 0}, "`revival.cap` must be at least 1. Received: cap=0"),
        ({"warm_up_steps": -1}, "`revival.warm_up_steps` must be at least 0. Received: warm_up_steps=-1"),
        ({"warm_up_steps": 2**21}, "`revival.warm_up_steps` must be at most 1048576"),
        ({"threshold": 0.0}, "`revival.threshold` must lie above 0 and not above 1. Received: threshold=0.0"),
        ({"start_count": 1.5}, "`revival.start_count` must lie above 0 and not above 1. Received: start_count=1.5"),
        ({"reservoir": 100}, "`revival.reservoir` must be a power of two, as 4096. Received: reservoir=100"),
        ({"reservoir": 4, "cap": 5}, "`revival.reservoir` must be at least the cap, 5. Received: reservoir=4"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ValueError) as caught:
        VectorQuantizer(8, revival=settings)
    assert message in str(caught.value)


def test_a_record_and_its_mapping_are_the_same():
    record = Revival(cap=3, every_n_steps=2)
    assert settings_of(Revival, record, "revival") is record and settings_of(Revival, record.as_dict(), "revival") == record and settings_of(Revival, None, "revival") == Revival()
