"""Sizes of Moises-Light by name: constructor arguments that differ from the defaults.

`paper_*` keep the lowest 2048 of 3073 bins, up to 14.7 kHz, as the paper does; `fullband_*` model up to 22 kHz in six bands.
"""

_FULLBAND = {"bins": 3072, "bands": 6}

PRESETS = {
    "paper_large": {"width": 56, "transformers": 5},
    "paper_small": {"width": 32, "transformers": 6},
    "fullband_large": {**_FULLBAND, "width": 60, "transformers": 5},
    "fullband_small": {**_FULLBAND, "width": 36, "transformers": 6},
    "fullband_large_wide": {**_FULLBAND, "width": 84, "transformers": 5},
    "fullband_small_wide": {**_FULLBAND, "width": 48, "transformers": 6},
    # Learns on two cores in minutes: bins to 11 kHz, folded frames, masks that divide the mixture from the first step.
    "demo": {
        "segment_samples": 129654,
        "window_samples": 4096,
        "hop_samples": 1024,
        "bins": 1024,
        "width": 32,
        "levels": 2,
        "convolutions": 1,
        "transformers": 1,
        "fold_frames": 4,
        "output": "softmax_mask",
    },
}
