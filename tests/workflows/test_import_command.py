"""`apps/import_weights.py` as a user calls it."""

import subprocess
import sys
from pathlib import Path

from tests.reference.public_moises_light import TINY, write_references


def test_modules_beside_the_checkpoint_never_run(tmp_path):
    write_references(tmp_path, [{"name": "four", "arguments": TINY, "stems": list("vdbo"), "lengths": []}])
    marker = tmp_path / "ran"
    for module in ("torch", "numpy", "kseparation"):
        (tmp_path / f"{module}.py").write_text(f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    app = Path(__file__).parents[2] / "apps" / "import_weights.py"
    call = [sys.executable, str(app), "--source=moises-light", f"--checkpoint={tmp_path / 'four.pt'}", "--out=a.keras", "--model_config=hop_samples=128"]
    subprocess.run(call, check=True, cwd=tmp_path)
    assert (tmp_path / "a.keras").is_file() and not marker.exists()
