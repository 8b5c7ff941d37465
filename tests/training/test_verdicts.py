"""The words themselves; that faults, reports and `replay` keep to them is tested with those."""

import ast
from pathlib import Path

import pytest

from kseparation.training import verdicts
from kseparation.training.faults import table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["EVENTS", "VERDICTS", "ACTIONS"])
def test_every_word_is_explained_in_the_docs(kind: str) -> None:
    rows = [line for line in (ROOT / "docs" / "safety.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    explained = {row.split("`")[1] for row in rows}
    words = getattr(verdicts, kind)
    assert set(words) - {"none"} <= explained
    assert all(meaning and not meaning.endswith(".") for meaning in words.values())  # they become parts of sentences
    assert getattr(table, kind) is words


def test_a_report_needs_no_injector() -> None:
    for module in ("incidents", "verdicts"):
        tree = ast.parse((ROOT / "kseparation" / "training" / f"{module}.py").read_text(encoding="utf-8"))
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in imported if "faults" in name]
