"""Scores an autoencoder of counts on cells that it was not trained on, and writes down the code of every cell."""

import csv
import dataclasses
import inspect
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kseparation.config.loading import load_config
from kseparation.config.records import DataConfig, RunConfig
from kseparation.data.counts import COUNT_DATASETS, CountFile, CountsInOrder, CountTable, write_h5ad, write_obs_columns
from kseparation.errors import CheckFailed, UserError, did_you_mean
from kseparation.metrics.code_metrics import CodeTable, code_by_condition, code_scores
from kseparation.metrics.count_likelihood import CountLikelihood
from kseparation.metrics.principal_components import principal_components
from kseparation.reporting.report import write_report
from kseparation.reporting.report_data import CellCodes, ReportData
from kseparation.storage.atomic import require_writable, write_json, write_text_atomic
from kseparation.storage.json_lines import read_json_lines
from kseparation.workflows.environment import describe_environment
from kseparation.workflows.run_folder import CONFIG_FILE
from kseparation.workflows.tasks.counts import CountsTask

SUBSETS = ("test", "validation", "train", "all")
CODE_COLUMN = "vq_code"
BATCH_CELLS = 1024
# More cells than these are thinned out for the picture.
DRAWN_CELLS = 5000


def evaluate_counts(
    model: Any, data: str = "builtin", subset: str = "test", out: str | Path = "results", model_name: str | None = None, run_folder: str | Path | None = None
) -> dict[str, Any]:
    """Scores held-out cells and writes `summary.json`, `report.html`, `codes.csv`, `codes.h5ad` and `code_by_condition.csv`.

    Args:
        model: a `CountAutoencoder`.
        data: `builtin` for the table of the run (without a run: pbmc68k), or a file, read with the settings of the run: its layer, size factors, conditions and label.
        subset: `test`, `validation` or `train`, by the splits of the run, or `all` cells.
        out: folder for the results, not that of a run.
        model_name: how the model is called in the results. Defaults to its `name`.
        run_folder: of the training, for its settings, curves and config.

    Returns:
        What `summary.json` holds: `model`, `data`, `subset`, `cells`, `nll_per_entry`, `nll_per_cell`, `perplexity`, `active`, and `ari`, `nmi`, `purity`, null without labels. The
        likelihood and the use of codes are of the subset, the agreement with the labels is of all cells.

    Raises:
        UserError: the subset is unknown, the table lacks genes of the model or has conditions that it does not know.
        CheckFailed: the model gives values that are not finite.
    """
    if subset not in SUBSETS:
        raise UserError(f"`subset` is unknown. Received: subset={subset!r}. {did_you_mean(subset, SUBSETS)}")
    out = Path(out)
    if (out / CONFIG_FILE).is_file():
        raise UserError(f"`--out` is the folder of a run, whose summary and report would be lost. Received: {out}. Choose another, such as {out / 'evaluation'}.")
    require_writable(out / "summary.json")
    config = _config(data, run_folder)
    dataset = CountsTask(config).dataset
    table, conditions = with_genes(dataset.all_cells, model.genes), _conditions(dataset, model)
    cells = np.arange(len(table)) if subset == "all" else dataset.cells(subset)
    codes, likelihood = _codes_and_likelihood(model, table, conditions, cells)
    labels = np.array(dataset.label_names)[dataset.labels_of_all] if dataset.label_names else None
    name = model_name or model.name
    of_all = code_scores(codes, model.codebook_size, labels)
    of_subset = {key: value for key, value in code_scores(codes[cells], model.codebook_size).items() if key in ("perplexity", "active")}
    summary = {"model": name, "data": config.data.root or config.data.name, "subset": subset, "cells": len(cells), **likelihood, **of_all, **of_subset}
    told = np.array(dataset.condition_names)[dataset.conditions_of_all]
    by_condition = code_by_condition(codes, told)
    _write_codes(out, config, table, codes, told, labels, by_condition)
    write_json(out / "summary.json", summary)
    write_report(out / "report.html", _report_data(summary, table, codes, told, labels, by_condition, run_folder))
    print("  ".join(f"{key} {value:.4g}" for key, value in summary.items() if isinstance(value, float)), file=sys.stderr)
    return summary


def _config(data: str, run_folder: str | Path | None) -> RunConfig:
    file = Path(run_folder) / CONFIG_FILE if run_folder else None
    config = load_config(file) if file and file.is_file() else RunConfig(task="counts")
    if data == "builtin":
        return config
    if data in COUNT_DATASETS and not Path(data).exists():
        return config.model_copy(update={"data": DataConfig(name=data)})
    taken = inspect.signature(CountFile).parameters
    arguments = {key: value for key, value in config.data.arguments.items() if key in taken}
    return config.model_copy(update={"data": DataConfig(name="count_file", root=data, arguments=arguments, validation_split=config.data.validation_split)})


def with_genes(table: CountTable, genes: tuple[str, ...]) -> CountTable:
    """Returns a table with the genes of a model, in its order; library sizes stay those of all its genes.

    Raises:
        UserError: it lacks one.
    """
    if tuple(table.genes.tolist()) == tuple(genes):
        return table
    places = {gene: place for place, gene in enumerate(table.genes.tolist())}
    lost = [gene for gene in genes if gene not in places]
    if lost:
        raise UserError(f"`{table.name}` lacks {len(lost)} of the {len(genes)} genes of the model, the first is `{lost[0]}`. Give a table with the genes that it was trained on.")
    return dataclasses.replace(table, counts=table.counts[:, [places[gene] for gene in genes]], genes=np.array(genes))


def _conditions(dataset, model):
    """The numbers that the model knows the conditions by, for all cells."""
    if len(model.conditions) == 1:
        return np.zeros(len(dataset.all_cells), "int32")
    unknown = [name for name in dataset.condition_names if name not in model.conditions]
    if unknown:
        raise UserError(f"`{dataset.all_cells.name}` has the condition `{unknown[0]}`, which the model was not trained with. {did_you_mean(unknown[0], model.conditions)}")
    return np.array([model.conditions.index(name) for name in dataset.condition_names], "int32")[dataset.conditions_of_all]


def _codes_and_likelihood(model, table, conditions, scored):
    """The code of every cell, and the likelihood of those that are scored."""
    from keras import ops, tree  # the module is looked at by commands that need no backend

    batches, codes, score = CountsInOrder(table, BATCH_CELLS, conditions), [], CountLikelihood()
    counted = np.zeros(len(table), bool)
    counted[scored] = True
    for index in range(len(batches)):
        inputs, counts = batches[index]
        inputs = tree.map_structure(ops.convert_to_tensor, inputs)
        found = model.match(inputs)
        expected = ops.convert_to_numpy(model.expected(found.vectors, inputs))
        if not np.isfinite(expected).all():
            raise CheckFailed(f"The model gives values that are not finite for cells {index * BATCH_CELLS} and after. Use an earlier checkpoint of the run.")
        codes.append(ops.convert_to_numpy(found.codes))
        chosen = counted[index * BATCH_CELLS : index * BATCH_CELLS + len(counts)]
        if chosen.any():
            score.update(counts[chosen], expected[chosen, :, 0], expected[chosen, :, 1])
    return np.concatenate(codes), score.result()


def _write_codes(out: Path, config: RunConfig, table: CountTable, codes, conditions, labels, by_condition: CodeTable) -> None:
    columns = {"cell": table.cells, "code": codes, "condition": conditions} | ({} if labels is None else {"label": labels})
    _write_csv(out / "codes.csv", [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    _write_csv(out / "code_by_condition.csv", by_condition.rows())
    source = config.data.root
    if source is not None and source.endswith(".h5ad"):
        write_obs_columns(source, out / "codes.h5ad", table.cells, {CODE_COLUMN: codes})
    else:
        write_h5ad(out / "codes.h5ad", table, {CODE_COLUMN: codes})


def _write_csv(path: Path, rows: list[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def _report_data(summary, table, codes, conditions, labels, by_condition, run_folder) -> ReportData:
    drawn = np.sort(np.random.default_rng(0).permutation(len(table))[:DRAWN_CELLS])
    groupings = {"code": codes[drawn]} | ({} if labels is None else {"cell type": labels[drawn]}) | ({"condition": conditions[drawn]} if len(set(conditions)) > 1 else {})
    points = principal_components(table.dense(drawn), table.library_sizes[drawn], 2)
    environment = describe_environment()
    packages = environment.pop("packages")
    run = Path(run_folder) if run_folder else None
    metrics = run / "metrics.jsonl" if run else None
    return ReportData(
        title=f"{summary['model']} on {summary['data']}",
        cells=CellCodes(summary, points, groupings, by_condition),
        history=read_json_lines(metrics) if metrics and metrics.is_file() else (),
        facts={"Environment": {**environment, **packages}},
        config_text=(run / CONFIG_FILE).read_text(encoding="utf-8") if run and (run / CONFIG_FILE).is_file() else "",
    )
