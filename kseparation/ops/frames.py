"""Cutting a signal into overlapping frames and adding frames up again, by reshapes and pads alone.

No gather and no scatter: the gradient of a frame cut is again a sum of shifted blocks, which is fast on every backend, and works with a time axis
whose length is known only at run time.
"""

from keras import ops


def length_of(tensor, axis: int):
    """Returns the length of one axis: an int where it is known, else a scalar tensor."""
    static = tensor.shape[axis]
    return static if static is not None else ops.shape(tensor)[axis]


def reflect_pad(signal, before: int, after: int):
    """Extends the last axis at both ends by mirroring it about its first and last sample, as often as needed.

    Equal to `numpy.pad(..., mode="reflect")` for every length from one sample on; a signal of one sample is repeated.

    Args:
        signal: `(..., samples)`, at least one sample.
        before: number of samples to put in front, not negative.
        after: number of samples to append, not negative.

    Returns:
        `(..., before + samples + after)`.
    """
    samples = length_of(signal, -1)
    parts = [signal]
    if before:
        parts.insert(0, _mirrored(signal, samples, -before, 0))
    if after:
        parts.append(_mirrored(signal, samples, samples, samples + after))
    return ops.concatenate(parts, axis=-1)


def _mirrored(signal, samples, start, stop):
    if isinstance(samples, int) and samples > max(-start if start < 0 else 0, stop - samples):
        # The common case needs one mirror image, which is a slice.
        mirror = signal[..., 1 : 1 - start] if start < 0 else signal[..., 2 * samples - 1 - stop : samples - 1]
        return ops.flip(mirror, axis=-1)
    # The mirrored signal repeats with period 2 (samples - 1): a triangle wave over the sample index.
    index = ops.arange(stop - start, dtype="int32") + ops.cast(start, "int32")
    last = ops.cast(samples - 1, "int32")
    period = ops.maximum(2 * last, 1)
    folded = ops.mod(ops.mod(index, period) + period, period)
    return ops.take(signal, last - ops.absolute(folded - last), axis=-1)


def cut_frames(signal, frame_samples: int, hop_samples: int, frames):
    """Cuts overlapping frames out of the last axis; what lies beyond the end reads as zero.

    Args:
        signal: `(..., samples)`.
        frame_samples: length of a frame in samples.
        hop_samples: distance between the starts of two frames, from 1 to any length.
        frames: how many frames, int or scalar tensor.

    Returns:
        `(..., frames, frame_samples)`.
    """
    blocks = -(-frame_samples // hop_samples)
    leading = [length_of(signal, axis) for axis in range(len(signal.shape) - 1)]
    wanted = (frames + blocks - 1) * hop_samples
    samples = length_of(signal, -1)
    if isinstance(wanted, int) and isinstance(samples, int):
        missing, kept = max(wanted - samples, 0), min(wanted, samples)
    else:
        missing, kept = ops.maximum(wanted - samples, 0), ops.minimum(wanted, samples)
    signal = ops.pad(signal[..., :kept], [(0, 0)] * len(leading) + [(0, missing)])
    signal = ops.reshape(signal, (*leading, frames + blocks - 1, hop_samples))
    shifted = [signal[..., block : block + frames, :] for block in range(blocks)]
    return ops.concatenate(shifted, axis=-1)[..., :frame_samples]


def add_frames(framed, hop_samples: int):
    """Adds overlapping frames up to a signal: the adjoint of `cut_frames`.

    Args:
        framed: `(..., frames, frame_samples)`.
        hop_samples: distance between the starts of two frames in samples.

    Returns:
        `(..., (frames + ceil(frame_samples / hop_samples) - 1) * hop_samples)`.
    """
    frame_samples = framed.shape[-1]
    blocks = -(-frame_samples // hop_samples)
    leading = [length_of(framed, axis) for axis in range(len(framed.shape) - 2)]
    frames = length_of(framed, -2)
    no_pad = [(0, 0)] * len(leading)
    framed = ops.pad(framed, no_pad + [(0, 0), (0, blocks * hop_samples - frame_samples)])
    total = None
    for block in range(blocks):
        part = framed[..., block * hop_samples : (block + 1) * hop_samples]
        part = ops.pad(part, no_pad + [(block, blocks - 1 - block), (0, 0)])
        total = part if total is None else total + part
    return ops.reshape(total, (*leading, (frames + blocks - 1) * hop_samples))
