"""PyTorch checkpoints become `.keras` files, or are refused whole."""

import functools

import numpy as np
import pytest

from kseparation.errors import UserError
from kseparation.models import load_model
from kseparation.storage.torch_state import read_torch_state
from kseparation.workflows import import_weights as workflow
from kseparation.workflows.import_weights import import_weights
from kseparation.workflows.public_moises_light import arguments_of
from tests.on_backend import numbers
from tests.reference.public_moises_light import TINY, write_references

HOP = "hop_samples=128"


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    folder = tmp_path_factory.mktemp("public")
    cases = [{"name": name, "arguments": TINY, "stems": stems, "lengths": []} for name, stems in (("four", list("vdbo")), ("one", ["vocals"]))]
    write_references(folder, cases)
    return folder


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Each file: importing torch anew for each of many cases would take longer than the cases."""
    states = functools.cache(read_torch_state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "read_torch_state", lambda path: dict(states(path)))
        yield


@pytest.fixture
def state(public):
    return workflow.read_torch_state(public / "four.pt")


def refused(words: str, checkpoint, out, *model_config, source="moises-light"):
    with pytest.raises(UserError, match=words):
        import_weights(source, checkpoint, out, model_config)
    assert not list(out.parent.glob("*.keras")) and not list(out.parent.glob(".tmp*"))


def test_sizes_are_read_from_the_tensors(state):
    sizes = arguments_of(state)
    assert sizes == {"window_samples": 512, "bins": 192, "bands": 4, "width": 8, "channels": 2, "levels": 3, "convolutions": 3, "transformers": 1}


def test_stems_get_their_names(public, tmp_path):
    refused(r"no names for its stems. Received: 1\. .*stems=\[vocals\]", public / "one.pt", tmp_path / "a.keras", HOP)
    result = import_weights("moises-light", public / "one.pt", tmp_path / "a.keras", [HOP, "stems=[solo]"])
    assert result["stems"] == ["solo"] and load_model(tmp_path / "a.keras").stems == ("solo",)
    result = import_weights("moises-light", public / "four.pt", tmp_path / "b.keras", [HOP])
    assert result["stems"] == ["vocals", "drums", "bass", "other"]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_imported_as_float32(state, tmp_path, monkeypatch, precision):
    # What NumPy has for bfloat16: the upper half of the bits, rounded.
    half = {
        "float16": lambda value: value.astype("float16").astype("float32"),
        "bfloat16": lambda value: ((value.astype("float32").view("uint32") + 0x8000) & 0xFFFF0000).astype("uint32").view("float32"),
    }[precision]
    rounded = {key: half(value) if value.dtype.kind == "f" else value for key, value in state.items()}
    monkeypatch.setattr(workflow, "read_torch_state", lambda _: rounded)
    import_weights("moises-light", "half.pt", tmp_path / "a.keras", [HOP])
    bias = next(weight for weight in load_model(tmp_path / "a.keras").weights if weight.path.endswith("first/convolution/bias"))
    np.testing.assert_array_equal(numbers(bias), rounded["first_conv.conv.bias"])
    monkeypatch.setattr(workflow, "read_torch_state", lambda _: {**rounded, "stft_window": half(np.hamming(512).astype("float32"))})
    refused("`stft_window` has other values", "half.pt", tmp_path / "b" / "c.keras", HOP)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("first_conv.conv.bias"), "lacks `first_conv.conv.bias`"),
        (lambda state: state.update({"ema.decay": np.ones(1)}), "does not have: `ema.decay`"),
        (lambda state: state.update({"first_conv.conv.bias": np.ones(9)}), r"`first_conv.conv.bias` \(9,\) for `first/convolution/bias` \(8,\)"),
        (lambda state: state.update({"ds.0.conv.weight": np.ones((16, 8))}), r"`ds.0.conv.weight` \(16, 8\) for `downsample_0/kernel` \(2, 8, 16\)"),
        (lambda state: state.update({"final_conv.bias": state["final_conv.bias"] * np.nan}), "`final_conv.bias` is not finite"),
        (lambda state: state.update({"stft_window": np.ones(512)}), "`stft_window` has other values"),
        (lambda state: state.update({"stft_window": np.ones((2, 256))}), "`stft_window` of the checkpoint has another shape"),
        (lambda state: [state.clear(), state.update({"layer.weight": np.ones(2)})], "no Moises-Light of the package `moises-light` 0.1.5: it lacks `stft_window`"),
    ],
)
def test_tensors_that_do_not_fit_are_named(state, tmp_path, monkeypatch, change, words):
    changed = dict(state)
    change(changed)
    monkeypatch.setattr(workflow, "read_torch_state", lambda _: changed)
    refused(words, tmp_path / "a.pt", tmp_path / "a.keras", HOP)


def test_the_named_preset_is_held_against_the_tensors(public, tmp_path):
    refused(r"one of these sizes has at least [\d,]+ weights, and the checkpoint holds [\d,]+ numbers.* width=32", public / "four.pt", tmp_path / "a.keras", "preset=paper_small", HOP)
    refused(r"The checkpoint lacks `.*Check --model_config", public / "four.pt", tmp_path / "a.keras", "transformers=2", HOP)


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
        ("bands=0", "`bands` must be at least 1. Received: bands=0"),
        ("stems=[../x,b,c,d]", "`stems` become names of files: .* Received: '../x'"),
    ],
)
def test_wrong_model_config_is_named(public, tmp_path, pair, words):
    refused(words, public / "four.pt", tmp_path / "a.keras", pair)


@pytest.mark.parametrize("sizes", ["width=1000000", "channels=1000000000", "window_samples=1000000000000", "transformers=1000000000", "levels=1000000000"])
def test_a_model_that_the_file_cannot_fill_is_not_built(public, tmp_path, sizes):
    refused(r"has at least [\d,]+ weights, and the checkpoint holds", public / "four.pt", tmp_path / "a.keras", HOP, sizes)


def test_source_and_out_are_checked_first(public, tmp_path):
    refused("Did you mean `moises-light`", public / "four.pt", tmp_path / "a.keras", source="moises_light")
    refused("must end in .keras", public / "four.pt", tmp_path / "a.h5")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(UserError, match="folder"):
        import_weights("moises-light", public / "four.pt", tmp_path / "folder.keras")
