"""PyTorch checkpoints become `.keras` files, or are refused whole."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.models import load_model
from kseparation.workflows.import_weights import import_weights
from kseparation.workflows.public_moises_light import arguments_of
from kseparation.workflows.torch_state import read_torch_state
from tests.reference.public_moises_light import TINY, write_references

HOP = "hop_samples=128"


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    cases = [{"name": name, "arguments": TINY, "stems": stems, "lengths": []} for name, stems in (("four", list("vdbo")), ("one", ["vocals"]))]
    write_references(folder, cases)
    return folder


def saved_by_torch(path: Path, code: str, given: Path | None = None) -> Path:
    """Runs `code` in a torch process, where `state` is the state dict of `given` and `path` the file to write."""
    head = f"import torch, pathlib; path = {str(path)!r}; state = torch.load({str(given)!r}) if {given is not None} else None\n"
    subprocess.run([sys.executable, "-c", head + code], check=True)
    return path


def refused(words: str, checkpoint, out, *model_config, source="moises-light"):
    with pytest.raises(UserError, match=words):
        import_weights(source, checkpoint, out, model_config)
    assert not list(out.parent.glob("*.keras")) and not list(out.parent.glob(".tmp*"))


def test_sizes_are_read_from_the_tensors(public):
    sizes = arguments_of(read_torch_state(public / "four.pt"))
    assert sizes == {"window_samples": 512, "bins": 192, "bands": 4, "width": 8, "channels": 2, "levels": 3, "convolutions": 3, "transformers": 1}


def test_a_state_dict_inside_a_checkpoint_of_a_training_is_found(public, tmp_path):
    wrapped = saved_by_torch(tmp_path / "training.ckpt", "torch.save({'epoch': 3, 'state_dict': state}, path)", public / "four.pt")
    import_weights("moises-light", wrapped, tmp_path / "a.keras", [HOP])
    import_weights("moises-light", public / "four.pt", tmp_path / "b.keras", [HOP])
    first, second = (load_model(tmp_path / f"{name}.keras").get_weights() for name in "ab")
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def test_half_precision_becomes_float32(public, tmp_path):
    half = saved_by_torch(tmp_path / "half.pt", "torch.save({k: v.half() if v.ndim == 4 and 'conv' in k else v for k, v in state.items()}, path)", public / "four.pt")
    import_weights("moises-light", half, tmp_path / "a.keras", [HOP])
    assert all(weight.dtype == np.float32 for weight in load_model(tmp_path / "a.keras").get_weights())


def test_stems_get_their_names(public, tmp_path):
    refused(r"no names for its stems. Received: 1\. .*stems=\[vocals\]", public / "one.pt", tmp_path / "a.keras", HOP)
    result = import_weights("moises-light", public / "one.pt", tmp_path / "a.keras", [HOP, "stems=[solo]"])
    assert result["stems"] == ["solo"] and load_model(tmp_path / "a.keras").stems == ("solo",)
    result = import_weights("moises-light", public / "four.pt", tmp_path / "b.keras", [HOP])
    assert result["stems"] == ["vocals", "drums", "bass", "other"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("del state['first_conv.conv.bias']", "lacks `first_conv.conv.bias`"),
        ("state['ema.decay'] = torch.ones(1)", "does not have: `ema.decay`"),
        ("state['first_conv.conv.bias'] = torch.ones(9)", r"`first_conv.conv.bias` \(9,\) for `first/convolution/bias` \(8,\)"),
        ("state['ds.0.conv.weight'] = torch.ones(16, 8)", r"`ds.0.conv.weight` \(16, 8\) for `downsample_0/kernel` \(2, 8, 16\)"),
        ("state['final_conv.bias'][0] = float('nan')", "`final_conv.bias` is not finite"),
        ("state['stft_window'] = torch.ones(512)", "`stft_window` has other values"),
        ("state['stft_window'] = torch.ones(2, 256)", "`stft_window` of the checkpoint has another shape"),
        ("state = {'layer.weight': torch.ones(2)}", "no Moises-Light of the package `moises-light` 0.1.5: it lacks `stft_window`"),
    ],
)
def test_tensors_that_do_not_fit_are_named(public, tmp_path, change, words):
    changed = saved_by_torch(tmp_path / "changed.pt", f"{change}; torch.save(state, path)", public / "four.pt")
    refused(words, changed, tmp_path / "a.keras", HOP)


def test_the_named_preset_is_held_against_the_tensors(public, tmp_path):
    refused(r"make no model: `hop_samples` must lie .* Received: hop_samples=1024, window_samples=512", public / "four.pt", tmp_path / "a.keras", "preset=paper_small")
    refused(r"The checkpoint lacks `.*Check --model_config", public / "four.pt", tmp_path / "a.keras", "preset=paper_small", HOP)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("preset=paper_smal", "Did you mean `paper_small`"),
        ("hop=128", "`hop` is not an argument"),
        ("hop_samples=yes", "Received: 'yes'"),
        ("hop_samples", "takes key=value"),
        ("hop_samples=300", "half of `window_samples`"),
        ("output=softmax_mask", "has no `softmax_mask`"),
        ("preset=demo", "has no `softmax_mask`"),
    ],
)
def test_wrong_model_config_is_named(public, tmp_path, pair, words):
    refused(words, public / "four.pt", tmp_path / "a.keras", pair)


def test_code_in_a_checkpoint_never_runs(tmp_path):
    marker = tmp_path / "ran"

    class Code:
        def __reduce__(self):
            return Path.touch, (marker,)

    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"state_dict": Code()}))
    zipped = saved_by_torch(
        tmp_path / "zipped.pt",
        f"class Code:\n    def __reduce__(self): return pathlib.Path.touch, (pathlib.Path({str(marker)!r}),)\ntorch.save({{'w': Code()}}, path)",
    )
    for checkpoint in (plain, zipped):
        refused("only tensors are opened|damaged, or no file of `torch.save`", checkpoint, tmp_path / "a.keras")
    assert not marker.exists()


def test_modules_beside_the_checkpoint_never_run(public, tmp_path):
    marker = tmp_path / "ran"
    for module in ("torch", "numpy", "kseparation"):
        (tmp_path / f"{module}.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    app = Path(__file__).parents[2] / "apps" / "import_weights.py"
    call = [sys.executable, str(app), "--source=moises-light", f"--checkpoint={public / 'four.pt'}", "--out=a.keras", f"--model_config={HOP}"]
    subprocess.run(call, check=True, cwd=tmp_path)
    assert (tmp_path / "a.keras").is_file() and not marker.exists()


def test_names_and_gradients_of_the_tensors_do_not_matter(tmp_path):
    path = saved_by_torch(tmp_path / "a.pt", "torch.save({'file': torch.ones(2, requires_grad=True), 'keys': torch.zeros(3)}, path)")
    state = read_torch_state(path)
    assert {key: value.tolist() for key, value in state.items()} == {"file": [1, 1], "keys": [0, 0, 0]}


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    path = saved_by_torch(tmp_path / "huge.pt", "torch.save({'w': torch.zeros(1).expand(10**11)}, path)")
    refused(r"claim 400,000,000,000 bytes, and the file has \d", path, tmp_path / "a.keras")


def test_what_is_no_checkpoint_is_refused(public, tmp_path):
    text = tmp_path / "text.pt"
    text.write_text("weights")
    cut = tmp_path / "cut.pt"
    cut.write_bytes((public / "four.pt").read_bytes()[:5000])
    for checkpoint in (text, cut):
        refused("damaged, or no file of `torch.save`", checkpoint, tmp_path / "a.keras")
    listed = saved_by_torch(tmp_path / "list.pt", "torch.save([1, 2], path)")
    refused("no state dict. Received: list", listed, tmp_path / "a.keras")
    mixed = saved_by_torch(tmp_path / "mixed.pt", "torch.save({'w': torch.ones(1), 'epoch': 3}, path)")
    refused("Received: epoch", mixed, tmp_path / "a.keras")
    refused("does not exist", tmp_path / "none.pt", tmp_path / "a.keras")
    refused("not a regular file", tmp_path, tmp_path / "a.keras")


def test_source_and_out_are_checked_first(public, tmp_path):
    refused("Did you mean `moises-light`", public / "four.pt", tmp_path / "a.keras", source="moises_light")
    refused("must end in .keras", public / "four.pt", tmp_path / "a.h5")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(UserError, match="folder"):
        import_weights("moises-light", public / "four.pt", tmp_path / "folder.keras")
