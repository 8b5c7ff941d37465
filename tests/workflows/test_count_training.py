"""From a table to codes: the training, what it leaves, the evaluation, and what is refused."""

import csv
import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from kseparation.cli.main import main
from kseparation.data.counts import read_h5ad, write_h5ad
from kseparation.errors import UserError
from kseparation.models import load_model
from kseparation.storage.atomic import read_json
from kseparation.workflows.evaluate_counts import evaluate_counts
from kseparation.workflows.tasks import task_of
from kseparation.workflows.train import train
from tests.tiny_run import rows, tiny_count_config

# The small tables have fewer cells than 40 for each code.
pytestmark = pytest.mark.filterwarnings("ignore:The first codebook of")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("counts")
    train(tiny_count_config(folder), run_dir=folder / "run")
    return folder / "run"


def test_a_run_leaves_what_a_run_leaves(run):
    summary = read_json(run / "summary.json")
    assert summary["task"] == "counts" and summary["steps"] == 8 and summary["skipped_steps"] == 0
    (started,) = rows(run, "start")
    assert started["codebook_cells"] == 320 and started["codebook_used"] == 1.0
    trained, validated = rows(run, "train"), rows(run, "validation")
    health = {"perplexity", "active_code_share", "quantization_error_ratio", "code_norm_ratio"}
    assert health | {"negative_binomial", "commitment", "codebook_movement", "revived_codes"} <= set(trained[-1])
    assert health <= set(validated[-1]) and "codebook_movement" not in validated[-1]
    assert trained[-1]["loss"] == pytest.approx(trained[-1]["negative_binomial"] + trained[-1]["commitment"], rel=1e-5)
    assert "perplexity" not in (run / "losses.log").read_text()
    assert "stems" not in (run / "config.yaml").read_text()


def test_a_run_that_is_interrupted_goes_on_as_if_it_had_not_been(run, tmp_path):
    train(tiny_count_config(tmp_path, epochs=1), run_dir=tmp_path / "run")
    train(tiny_count_config(tmp_path), run_dir=tmp_path / "run", allow=["training.epochs"])
    assert (tmp_path / "run" / "losses.log").read_bytes() == (run / "losses.log").read_bytes()


def test_codes_are_scored_and_written_down(run, tmp_path, capsys):
    assert main(["evaluate", f"--model={run}", f"--out={tmp_path / 'out'}", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == read_json(tmp_path / "out" / "summary.json")
    assert set(summary) == {"model", "data", "subset", "cells", "nll_per_entry", "nll_per_cell", "perplexity", "active", "ari", "nmi", "purity"}
    assert summary["cells"] == 120 and summary["nll_per_cell"] == pytest.approx(30 * summary["nll_per_entry"])
    model = load_model(run, task="counts")
    data = task_of(tiny_count_config(tmp_path)).dataset
    with open(tmp_path / "out" / "codes.csv", newline="") as file:
        told = list(csv.DictReader(file))
    assert len(told) == 600 and set(told[0]) == {"cell", "code", "condition", "label"}
    inputs = {"counts": data.all_cells.dense(np.arange(600)), "library_sizes": data.all_cells.library_sizes[:, None].astype("float32"), "conditions": data.conditions_of_all}
    np.testing.assert_array_equal([int(row["code"]) for row in told], model.encode(inputs))
    np.testing.assert_array_equal(read_h5ad(tmp_path / "out" / "codes.h5ad", columns=["vq_code"]).column("vq_code"), model.encode(inputs))
    by_condition = list(csv.DictReader((tmp_path / "out" / "code_by_condition.csv").read_text().splitlines()))
    assert sum(int(row["cells"]) for row in by_condition) == 600
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Cells along their first principal components" in page and "held-out negative log-likelihood" in page


def test_a_file_of_other_cells_gets_codes_in_a_copy_of_itself(run, tmp_path):
    data = task_of(tiny_count_config(tmp_path)).dataset
    table = data.all_cells.take(np.arange(40))
    order = np.random.default_rng(0).permutation(30)
    mixed = type(table)(table.counts[:, order], table.genes[order], table.cells, table.library_sizes, table.columns, "mixed")
    write_h5ad(tmp_path / "cells.h5ad", mixed)
    model = load_model(run, task="counts")
    evaluate_counts(model, str(tmp_path / "cells.h5ad"), "all", tmp_path / "out", run_folder=run)
    with h5py.File(tmp_path / "out" / "codes.h5ad") as file:
        assert "study" in file["obs"] and "library_size" in file["obs"]
        found = file["obs/vq_code"][()]
    inputs = {"counts": table.dense(np.arange(40)), "library_sizes": table.library_sizes[:, None].astype("float32"), "conditions": data.conditions_of_all[:40]}
    np.testing.assert_array_equal(found, model.encode(inputs))


def test_a_table_without_a_gene_of_the_model_is_refused(run, tmp_path):
    table = task_of(tiny_count_config(tmp_path)).dataset.all_cells.take(np.arange(40))
    fewer = type(table)(table.counts[:, 1:], table.genes[1:], table.cells, table.library_sizes, table.columns, "fewer")
    write_h5ad(tmp_path / "fewer.h5ad", fewer)
    with pytest.raises(UserError, match="lacks 1 of the 30 genes of the model, the first is `gene 0`"):
        evaluate_counts(load_model(run, task="counts"), str(tmp_path / "fewer.h5ad"), "all", tmp_path / "out", run_folder=run)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.stems=[vocals]", "`data.stems` means nothing to the task `counts`. Remove it."),
        ("model={name: moises_light}", "`model.name` is no model. Received: moises_light."),
        ("loss=[{name: waveform_l1}]", "is no loss of the task `counts`. Received: waveform_l1. Valid: `negative_binomial`."),
        ("augment=[{name: remix}]", "is no augmentation. Received: remix."),
        ("data={name: track_folder}", "is no data set. Received: track_folder. "),
        ("data={name: count_file}", "`data.root` is required for the data set `count_file`. Received: null."),
        ("data.root=cells.h5ad", "`data.root` does not go with the data set `simulated_counts`, which has no file or folder of yours."),
        ("data.conditions=[tissue]", "`simulated_counts` has no column `tissue` of its cells."),
        ("model.codebook_size=1000", "`model.codebook_size` must not exceed the number of cells that the first codebook is made of. Received: 1000 codes, 432 cells."),
        ("model.codebook_init={num_samples: 600}", "`num_samples` asks for more cells than there are to train on. Received: 600, for 432 cells."),
        ("model.cell_input=counts", "is known to break a training: counts in the thousands"),
        ("model.revival={rule: fixed}", "is known to break a training: most codes of a large codebook are thrown away"),
        ("model.quantizer={ema_source: quantized}", "is known to break a training: a codebook that is averaged over its own rows never moves"),
        ("inject=[{name: layer_infinite}]", "is no fault of the task `counts`. Received: layer_infinite."),
    ],
)
@pytest.mark.filterwarnings("ignore:.*is known to break trainings")
@pytest.mark.filterwarnings("ignore:.*it learns nothing")
def test_what_is_refused_leaves_nothing(tmp_path, override, words):
    with pytest.raises(UserError) as error:
        train(tiny_count_config(tmp_path, [override]), run_dir=tmp_path / "run")
    assert words in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_config_may_say_no_more_than_its_task(tmp_path):
    from kseparation.config import load_config

    (tmp_path / "least.yaml").write_text("task: counts\n")
    config = load_config(tmp_path / "least.yaml")
    assert (config.data.name, config.model.name, [loss.name for loss in config.loss], config.augment) == ("pbmc68k", "count_autoencoder", ["negative_binomial"], ())


def test_a_model_of_counts_is_no_separator(run, tmp_path, capsys):
    assert main(["separate", str(run / "config.yaml"), f"--model={run}"]) == 2
    assert "The model file holds no model for separation" in capsys.readouterr().err
    assert main(["evaluate", f"--model={run}", "--overlap=0.5", f"--out={tmp_path / 'out'}"]) == 2
    assert "`--overlap` is for separators" in capsys.readouterr().err
    assert keras.config.dtype_policy().name == "float32"
