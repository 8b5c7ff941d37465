"""museval's files as they are read. What the package itself computes is in `tests/parity`."""

import json

import pytest

from kseparation.metrics.bss_eval import read_museval


def write(path, **targets):
    frames = [
        {"name": name, "frames": [{"time": float(index), "duration": 1.0, "metrics": dict(zip(("SDR", "ISR", "SIR", "SAR"), values))} for index, values in enumerate(rows)]}
        for name, rows in targets.items()
    ]
    path.write_text(json.dumps({"targets": frames}))
    return path


def test_scores_are_medians_over_the_frames_that_are_defined(tmp_path):
    nothing = (float("nan"),) * 4
    file = write(tmp_path / "a.json", vocals=[(1.0, 2.0, 3.0, 4.0), nothing, (3.0, 4.0, 5.0, float("inf")), (9.0, 9.0, 9.0, None)], bass=[nothing])
    scores = read_museval(file)
    assert scores["vocals"] == pytest.approx({"sdr_museval_median": 3.0, "isr": 4.0, "sir": 5.0, "sar": 4.0})
    assert scores["bass"] == dict.fromkeys(("sdr_museval_median", "isr", "sir", "sar"))
