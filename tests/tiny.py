"""One row for each registered name: how to build it small, with every argument unlike its default.

A name without a row fails `test_contracts.py`. `arguments` names each argument of the constructor; `shapes` are those of the inputs, without the batch; of a loss those of the
references and of the estimates, where these differ. `counts` says that the references are counts and the estimates above 0, and that a model takes cells.
"""

from dataclasses import dataclass, field
from typing import Any

STEMS = ("vocals", "rest")


@dataclass(frozen=True)
class Row:
    arguments: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] = ()
    counts: bool = False


FEATURES = ((4, 6, 4),)  # frames, bins, channels
SEQUENCE = ((5, 6),)  # positions, features

LAYERS = {
    "stft": Row({"window_samples": 16, "hop_samples": 6, "fft_size": 20, "strategy": "matmul"}, ((50, 2),)),
    "inverse_stft": Row({"window_samples": 16, "hop_samples": 6, "fft_size": 20, "strategy": "matmul"}, ((4, 11, 2), (4, 11, 2))),
    "band_split": Row({"bands": 3}, FEATURES),
    "band_merge": Row({"bands": 2}, FEATURES),
    "band_convolution": Row({"filters": 6, "kernel_size": 5, "bands": 2}, FEATURES),
    "band_convolution_unit": Row({"filters": 6, "kernel_size": 5, "bands": 2}, FEATURES),
    "finite_batch_normalization": Row({"axis": 2, "momentum": 0.8, "epsilon": 1e-3}, FEATURES),
    "dense_stack": Row({"hidden": (5, 4), "units": 3, "dropout": 0.1}, SEQUENCE),
    "frame_downsample": Row({"filters": 3}, FEATURES),
    "frame_upsample": Row({"filters": 3}, FEATURES),
    "frequency_dense": Row({"waist_factor": 2}, FEATURES),
    "rms_norm": Row({}, FEATURES),
    "rotary_attention": Row({"heads": 2, "head_size": 6, "dropout": 0.1}, SEQUENCE),
    "rotary_transformer": Row({"heads": 2, "head_size": 6, "expansion": 3, "dropout": 0.1}, SEQUENCE),
    "spectrogram_unet": Row(
        {"filters": (3, 4), "outputs": 2, "variant": "spleeter", "output_activation": "softplus", "output_bias": -0.5, "dropout": 0.1}, ((8, 13, 2),)
    ),
    "strided_convolution": Row({"filters": 3, "bias": 0.5}, ((4, 7, 2),)),
    "transposed_convolution": Row({"filters": 3, "bias": 0.5}, ((4, 6, 2),)),
    "time_frequency_dense_block": Row({"convolutions": 1, "kernel_size": 5, "bands": 2}, ((4, 8, 4),)),
    "finite_scalar_quantizer": Row({"levels": (5, 4, 3)}, ((5, 3),)),
    "vector_quantizer": Row(
        {
            "codebook_size": 5,
            "similarity": "cosine",
            "codebook_update": "gradient",
            "decay": 0.9,
            "epsilon": 1e-4,
            "commitment_weight": 0.5,
            "vectors_per_step": 10,
            "revival": {"rule": "off", "threshold": 0.1, "every_n_steps": 3, "cap": 2, "warm_up_steps": 5, "patience": 3.0, "start_count": 0.5, "reservoir": 64},
            "seed": 3,
        },
        SEQUENCE,
    ),
}

AUDIO = ((2, 60, 1),)  # stems, samples, channels

LOSSES = {
    "waveform_l1": Row({}, AUDIO),
    "multi_resolution_complex_stft": Row(
        {
            "windows": (32, 16),
            "hop_samples": (8, 6),
            "minimum_fft_size": 24,
            "distance": "magnitude_and_parts",
            "aggregation": "mean",
            "center": False,
        },
        AUDIO,
    ),
}

LOSSES |= {
    "multi_resolution_stft": Row(
        {"windows": (32, 16), "spectral_convergence": 0.5, "log_magnitude": 0.7, "linear_magnitude": 0.2, "smallest_power": 1e-6}, AUDIO
    ),
    "magnitude_l1": Row({"window_samples": 32, "hop_samples": 8}, AUDIO),
    "negative_binomial": Row({}, ((5,), (5, 2)), counts=True),
}

METRICS = {"global_sdr_metric": Row({"stem_index": 1}, AUDIO), "code_norm_ratio": Row({}, SEQUENCE), "quantization_error_ratio": Row({"features": 6}, SEQUENCE)}

MODELS = {
    "moises_light": Row(
        {
            "stems": STEMS,
            "sample_rate": 8000,
            "channels": 1,
            "segment_samples": 300,
            "window_samples": 64,
            "hop_samples": 16,
            "bins": 32,
            "bands": 2,
            "width": 4,
            "levels": 2,
            "convolutions": 1,
            "transformers": 1,
            "fold_frames": 2,
            "output": "direct",
            "dropout": 0.1,
        },
        ((300, 1),),
    ),
}

MODELS["mask_unet"] = Row(
    {
        "stems": STEMS,
        "sample_rate": 8000,
        "channels": 1,
        "segment_samples": 300,
        "window_samples": 32,
        "hop_samples": 8,
        "bins": "all",
        "filters": (3, 4),
        "variant": "spleeter",
        "dropout": 0.1,
        "objective": "ratio_mask",
        "domain": "log",
        "target_domain": "linear",
        "loss": "unweighted_l1",
        "output_bias": -0.4,
    },
    ((300, 1),),
)

MODELS["count_autoencoder"] = Row(
    {
        "genes": tuple("abcdefg"),
        "conditions": ("x", "y", "z"),
        "cell_types": ("s", "t"),
        "widths": (6, 5, 4),
        "cell_input": "log1p_of_shares",
        "dropout": 0.1,
        "condition_features": 3,
        "likelihood": {"mean": "softplus", "dispersion": "gene_condition"},
        "cell_type_head": {"weight": 0.2, "hidden": 5, "dropout": 0.2},
        "codebook_size": 3,
        "codebook_init": {"method": "random", "stratify": False, "num_samples": 12},
        "revival": {"rule": "relative", "threshold": 0.1, "every_n_steps": 3, "cap": 2, "warm_up_steps": 5, "patience": 3.0, "start_count": 0.5, "reservoir": 64},
        "decay": 0.9,
        "commitment_weight": 0.5,
        "quantizer": {"similarity": "cosine", "epsilon": 1e-4, "seed": 3},
    },
    ((7,),),
    counts=True,
)

AUGMENTATIONS = {
    "remix": Row({"probability": 1.0}),
    "gain": Row({"low": 0.5, "high": 2.0}),
    "polarity": Row({"probability": 0.9}),
    "channel_swap": Row({"probability": 0.9}),
    "silent_stem": Row({"probability": 0.9}),
    "speed": Row({"low": 0.9, "high": 1.3}),
    "tilt": Row({"most_db": 3.0}),
}

CALLBACKS = {
    "terminate_on_non_finite": Row({"in_a_row": 3, "monitor": "val_loss", "validation": False}),
    "gradient_clipping": Row({"percentile": 20.0, "history_steps": 5}),
}
