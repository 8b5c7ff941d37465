"""Weights that were trained elsewhere become a `.keras` file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kseparation.config.arguments import check_arguments
from kseparation.config.places import Problems
from kseparation.config.strict_yaml import parse
from kseparation.data.builtin.form import STEMS
from kseparation.errors import UserError, did_you_mean
from kseparation.models import MoisesLight
from kseparation.models.moises_light_presets import PRESETS
from kseparation.storage.atomic import atomic_file, require_writable
from kseparation.storage.torch_state import read_torch_state
from kseparation.workflows.public_moises_light import arguments_of, our_weights, stem_count

SOURCES = ("moises-light",)
# What makes an architecture, but for the stems.
SIZES = ("window_samples", "bins", "bands", "width", "levels", "convolutions", "transformers", "fold_frames")
# Arguments that no tensor tells.
UNTOLD = ("hop_samples", "output")


def import_weights(source: str, checkpoint: str | Path, out: str | Path, model_config: Sequence[str] = ()) -> dict[str, Any]:
    """Writes a foreign checkpoint as a `.keras` file that every backend opens.

    Sizes are read from the shapes of the tensors; every tensor of the file must be known, and every weight of the model found.

    Args:
        source: whose weights: `moises-light`, the public PyTorch package.
        checkpoint: file of `torch.save` with a state dict.
        out: the `.keras` file.
        model_config: `key=value` each: arguments of the model, or `preset`, that the shapes do not tell or that are to be checked against them.

    Returns:
        `{"model", "source", "preset", "stems", "hop_samples", "output", "parameters"}`; `preset` is None where the model is none of them. No tensor tells `hop_samples` and
        `output`: they are those of `model_config` or of the package.

    Raises:
        UserError: the file cannot be read or does not fit; nothing is written.
    """
    if source not in SOURCES:
        raise UserError(f"`--source` is unknown. Received: {source}. {did_you_mean(source, SOURCES)}")
    if Path(out).suffix != ".keras":
        raise UserError(f"`--out` must end in .keras. Received: {out}")
    require_writable(out)
    given = _given(model_config)
    state = read_torch_state(checkpoint)
    arguments = {**arguments_of(state), **given}
    if arguments.get("output") == "softmax_mask":
        raise UserError("`--model_config`: the package `moises-light` has no `softmax_mask`. Received: output=softmax_mask. Take mask or direct.")
    if "stems" not in arguments:
        arguments["stems"] = _stems(stem_count(state))
    _require_numbers(arguments, sum(tensor.size for tensor in state.values()))
    try:
        model = MoisesLight(**arguments)
        model.build((None, None, model.channels))
    except ValueError as error:
        raise UserError(f"`--model_config` and the shapes of the checkpoint make no model: {error}") from error
    weights = {weight.path.split("/", 1)[-1]: weight for weight in model.weights}
    values = our_weights(state, model.get_config(), {path: tuple(weight.shape) for path, weight in weights.items()})
    for path, value in values.items():
        weights[path].assign(value)
    with atomic_file(out) as temporary:
        model.save(temporary)
    return {"model": str(out), "source": source, "preset": _preset_of(model), "stems": list(model.stems), **{key: model.get_config()[key] for key in UNTOLD}, "parameters": model.count_params()}


def _require_numbers(arguments: dict[str, Any], held: int) -> None:
    """Sizes are a claim of the file or of the caller: a model of them is built only where the file has the numbers for it."""
    sizes = {name: arguments[name] for name in SIZES if name in arguments}
    for name, value in sizes.items():
        if value < 1 and name != "transformers":
            raise UserError(f"`--model_config` and the shapes of the checkpoint make no model: `{name}` must be at least 1. Received: {name}={value}")
    width, bands, bins = (int(sizes[name]) for name in ("width", "bands", "bins"))
    deepest = width * (sizes["levels"] + 1)
    least = 9 * deepest**2 // bands * (2 * sizes["convolutions"] + 1) + (bins // bands) ** 2 // 4
    least += max(sizes["transformers"], 0) * 2 * 4 * deepest**2  # feed-forward networks alone
    least += 9 * 2 * arguments["channels"] * sizes.get("fold_frames", 1) * width // bands
    least = max(least, *sizes.values())
    if least > held:
        raise UserError(
            f"`--model_config` and the shapes of the checkpoint make no model: one of these sizes has at least {least:,} weights, and the checkpoint holds {held:,} numbers. "
            f"Received: {', '.join(f'{name}={value}' for name, value in sizes.items())}. Leave the sizes and `preset` out of `--model_config`: the tensors tell them."
        )


def _given(model_config: Sequence[str]) -> dict[str, Any]:
    """Arguments of the model from `key=value`, in the types of the constructor; those of a named preset below them."""
    problems, given = Problems(), {}
    for pair in model_config:
        key, equals, text = pair.partition("=")
        if not equals or not re.fullmatch(r"\w+", key):
            raise UserError(f"`--model_config` takes key=value, comma-separated. Received: {pair}")
        if key in given:
            raise UserError(f"`--model_config` names `{key}` twice. Received: {', '.join(model_config)}")
        given[key] = parse(text, f"--model_config {pair}", problems, key, lines=False).value
    preset = given.pop("preset", None)
    if preset is not None and preset not in PRESETS:
        raise UserError(f"`--model_config`: `preset` is unknown. Received: preset={preset}. {did_you_mean(str(preset), PRESETS)}")
    checked = check_arguments(MoisesLight, given, "--model_config", problems=problems, handled=("preset",))
    problems.raise_if_any()
    return {**(PRESETS[preset] if preset else {}), **checked}


def _stems(count: int) -> tuple[str, ...]:
    if count == len(STEMS):
        return STEMS
    example = "vocals" if count == 1 else ",".join(f"stem{number}" for number in range(1, count + 1))
    raise UserError(f"The checkpoint has no names for its stems. Received: {count}. Name them in their order: --model_config=stems=[{example}]")


def _preset_of(model: MoisesLight) -> str | None:
    config = model.get_config()
    for name in PRESETS:
        preset = MoisesLight.from_preset(name).get_config()
        if all(preset[key] == config[key] for key in (*SIZES, *UNTOLD)):
            return name
    return None
