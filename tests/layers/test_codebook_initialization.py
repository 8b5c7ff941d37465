"""The first codebook: who is drawn, and what is found."""

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.layers import VectorQuantizer
from kseparation.layers.codebook_initialization import _kmeans, initial_codebook
from tests.on_backend import numbers


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def clusters(sizes, features=8, spread=0.05, seed=3):
    centres = 3 * drawn(len(sizes), features, seed=seed)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    return centres, (centres[rows] + spread * drawn(len(rows), features, seed=seed + 1)).astype("float32"), rows


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kmeans_finds_the_clusters_with_their_means_and_sizes(seed):
    sizes = [400, 40, 90, 160, 110]
    _, vectors, rows = clusters(sizes)
    found = initial_codebook(vectors, 5, seed=seed)
    means = np.stack([vectors[rows == group].mean(axis=0) for group in range(5)])
    order = np.square(found.codebook[:, None] - means[None]).sum(axis=-1).argmin(axis=0)
    assert sorted(order) == list(range(5))
    # 40 per code are looked at: 200 of the 800 vectors.
    np.testing.assert_allclose(found.codebook[order], means, atol=0.05)
    assert found.sizes.sum() == 200
    full = initial_codebook(vectors, 5, seed=seed, num_samples=800)
    order = np.square(full.codebook[:, None] - means[None]).sum(axis=-1).argmin(axis=0)
    np.testing.assert_allclose(full.codebook[order], means, atol=1e-5)
    np.testing.assert_array_equal(full.sizes[order], sizes)


def test_random_takes_different_vectors_as_they_are():
    vectors = drawn(400, 6)
    found = initial_codebook(vectors, 10, "random", seed=2)
    places = np.square(found.codebook[:, None] - vectors[None]).sum(axis=-1)
    assert np.all(places.min(axis=-1) == 0) and len(set(places.argmin(axis=-1))) == 10
    assert found.sizes.sum() == 400 and found.sizes.min() >= 1


def test_cosine_finds_directions():
    centres, vectors, _ = clusters([200, 200, 200])
    lengths = np.random.default_rng(9).uniform(0.1, 10, (600, 1)).astype("float32")
    found = initial_codebook(lengths * vectors, 3, similarity="cosine", num_samples=600)
    np.testing.assert_allclose(np.linalg.norm(found.codebook, axis=-1), 1.0, rtol=1e-5)
    directions = centres / np.linalg.norm(centres, axis=-1, keepdims=True)
    assert np.all((found.codebook @ directions.T).max(axis=0) > 0.999)


def test_a_cluster_that_loses_its_vectors_starts_anew_at_the_farthest():
    """A third code so far off that it gets nothing, and a lone vector between the others."""
    vectors = np.concatenate([np.zeros((20, 2)), np.full((20, 2), 10.0), [[4.0, 4.0]]]).astype("float32")
    start = np.array([[0, 0], [10, 10], [1000, 1000]], "float32")
    np.testing.assert_allclose(_kmeans(vectors, start, 10, False), [[0, 0], [10, 10], [4, 4]], atol=1e-6)


def test_fewer_different_vectors_than_codes_are_told():
    vectors = np.concatenate([np.zeros((200, 2)), np.ones((200, 2)), 5 + drawn(3, 2)]).astype("float32")
    with pytest.warns(UserWarning, match="Only 5 of the vectors are different, fewer than the 6 codes; the others start as copies."):
        found = initial_codebook(vectors, 6, num_samples=403)
    assert np.isfinite(found.codebook).all()
    nearest = np.square(vectors[:, None] - found.codebook[None]).sum(axis=-1).min(axis=-1)
    assert nearest.max() < 1e-6


def test_a_layer_starts_from_it():
    _, vectors, _ = clusters([300, 100, 100])
    found = initial_codebook(vectors, 3, num_samples=500)
    layer = VectorQuantizer(3, revival={"rule": "off"}, vectors_per_step=50)
    layer.build(vectors.shape)
    layer.set_codebook(*found)
    np.testing.assert_allclose(np.sort(numbers(layer.counts)), [10, 10, 30], rtol=1e-5)
    assert float(np.square(numbers(layer(vectors)) - vectors).mean()) < 0.01


def test_fewer_vectors_than_40_per_code_is_told():
    with pytest.warns(UserWarning, match="The first codebook of 8 codes is made of 50 vectors, fewer than 40 for each code"):
        assert initial_codebook(drawn(50, 3), 8).sizes.sum() == 50


@pytest.mark.parametrize(
    ("vectors", "arguments", "message"),
    [
        (drawn(7, 3), {}, "A codebook of 8 codes needs at least as many vectors to start from. Received: 7 vectors."),
        (drawn(70, 3), {"num_samples": 7}, "Received: 7 vectors."),
        (drawn(70, 3), {"method": "k_means"}, "`codebook_init.method` is unknown. Received: method='k_means'. Did you mean `kmeans`?"),
        (drawn(70, 3), {"num_samples": 71}, "`num_samples` must not exceed the number of vectors, 70. Received: num_samples=71"),
        (np.full((70, 3), np.nan), {}, "`vectors` must be finite to start a codebook from. Received: 70 of 70 that are not."),
    ],
)
def test_what_cannot_be_done_is_told(vectors, arguments, message):
    with pytest.raises(UserError) as caught:
        initial_codebook(vectors, 8, **arguments)
    assert message in str(caught.value)
