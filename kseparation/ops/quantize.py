"""Vector quantisation in pure functions: nearest codes, cluster sums, codebook from running means, straight-through gradient, perplexity."""

from keras import ops

from kseparation.ops.devices import runs_on_cpu

# Vectors whose scores against all codes are in memory at a time. Scores of 256 vectors against 1024 codes stay in the cache of a CPU core: on each backend this takes
# half to three quarters of the time of all scores at once. An accelerator would wait for the start of each small product.
CPU_BLOCK, ACCELERATOR_BLOCK = 256, 16384


def nearest_codes(vectors, codebook):
    """Returns the number of the nearest row of the codebook for each vector, int32 `(vectors,)`; of rows that are equally near the first.

    The nearest row has the largest `x e - |e|^2 / 2`, a matrix product, so that no tensor of vectors x codes x features comes up, and of vectors x codes only a block at a time.
    No gradient goes through. A vector that is not finite gets a number that means nothing, but is a row of the codebook.

    Args:
        vectors: float32 `(vectors, features)`.
        codebook: float32 `(codes, features)`.

    Example:

    >>> codebook = ops.convert_to_tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> [int(code) for code in nearest_codes(ops.convert_to_tensor([[0.9, 0.8], [0.1, -0.5]]), codebook)]
    [1, 0]
    """
    vectors, codebook = ops.stop_gradient(vectors), ops.stop_gradient(codebook)
    codes, features = codebook.shape
    half_squares = 0.5 * ops.sum(ops.square(codebook), axis=-1)
    columns = ops.transpose(codebook)
    numbers = ops.arange(codes, dtype="int32")

    def nearest_of_block(block):
        scores = ops.matmul(block, columns) - half_squares  # (block, codes)
        # Largest score and first number with it: with the argmax of XLA a block takes half as long again, and which of equal scores an argmax takes is not promised everywhere.
        best = ops.max(scores, axis=-1, keepdims=True)
        return ops.minimum(ops.min(ops.where(scores >= best, numbers, codes), axis=-1), codes - 1)

    static, block = vectors.shape[0], CPU_BLOCK if runs_on_cpu() else ACCELERATOR_BLOCK
    if static is not None and static <= block:
        return nearest_of_block(vectors)
    number = ops.shape(vectors)[0]
    blocks = (number + block - 1) // block
    if static is None or static % block:
        vectors = ops.concatenate([vectors, ops.zeros((block - 1, features), vectors.dtype)])[: blocks * block]
    return ops.reshape(ops.map(nearest_of_block, ops.reshape(vectors, (-1, block, features))), (-1,))[:number]


def cluster_sums(vectors, codes, codebook_size: int, counted=None):
    """Returns how many vectors each code has, `(codes,)`, and their sums, `(codes, features)`; float32.

    Vectors are added to rows: the product with a one-hot matrix takes 30 to 300 times as long on a CPU, and a matrix of vectors x codes.

    Args:
        vectors: float32 `(vectors, features)`.
        codes: int32 `(vectors,)`, 0 to `codebook_size - 1`.
        codebook_size: number of codes.
        counted: float32 `(vectors,)`, weight of each vector; None for 1.
    """
    weights = ops.ones_like(vectors[:, 0]) if counted is None else counted
    if counted is not None:
        # Chosen and not multiplied: a vector that does not count may be anything.
        vectors = ops.where(counted[:, None] > 0, vectors * counted[:, None], 0.0)
    rows = codes[:, None]
    counts = ops.scatter_update(ops.zeros((codebook_size,), "float32"), rows, weights, reduction="add")
    sums = ops.scatter_update(ops.zeros((codebook_size, vectors.shape[-1]), "float32"), rows, vectors, reduction="add")
    return counts, sums


def moving_average(old, new, decay: float):
    """Returns `decay * old + (1 - decay) * new`."""
    return decay * old + (1.0 - decay) * new


def codebook_of_means(counts, sums, epsilon: float):
    """Returns the rows `sums / counts`, where the counts are smoothed so that none is zero and their total stays.

    Args:
        counts: running number of vectors of each code, float32 `(codes,)`.
        sums: running sums of these vectors, float32 `(codes, features)`.
        epsilon: added to each count; a row whose count has fallen to it is drawn to the origin.

    References: van den Oord, Vinyals and Kavukcuoglu 2017, Neural discrete representation learning (arXiv 1711.00937), appendix A.1, equations 6 to 8; the smoothing is that
    of its public implementation.
    """
    total = ops.sum(counts)
    smoothed = (counts + epsilon) / (total + counts.shape[0] * epsilon) * total
    return sums / smoothed[:, None]


def straight_through(vectors, quantized):
    """Returns `quantized` with the gradient of `vectors`, which it takes as if quantising were adding a constant.

    Around the sum of several stages it stands once: one around each would multiply the gradient of the encoder by their number.

    References: Bengio, Leonard and Courville 2013, Estimating or propagating gradients through stochastic neurons (arXiv 1308.3432).
    """
    return vectors + ops.stop_gradient(quantized - vectors)


def unit_vectors(vectors):
    """Returns vectors of length 1 along the last axis; those shorter than 1e-12 are divided by that."""
    # The bound stands inside the root: the derivative of a root at zero is infinite.
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-24))


def perplexity(counts):
    """Returns the number of codes that, used equally often, would tell as much as these: the exponential of the entropy, float32 scalar from 1 to the number of codes.

    Args:
        counts: how often each code was used, `(codes,)`, at least 0. Where all are 0, the result is 1.

    Example:

    >>> round(float(perplexity(ops.convert_to_tensor([5.0, 5.0, 0.0]))), 3)
    2.0
    """
    shares = ops.cast(counts, "float32")
    shares = shares / ops.maximum(ops.sum(shares), 1e-30)
    return ops.exp(-ops.sum(shares * ops.log(ops.maximum(shares, 1e-30))))
