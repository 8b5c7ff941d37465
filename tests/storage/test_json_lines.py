from kseparation.storage.json_lines import read_json_lines


def test_a_missing_file_has_no_rows(tmp_path):
    assert read_json_lines(tmp_path / "metrics.jsonl") == []


def test_an_incomplete_last_line_is_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"kind": "train", "step": 1}\n{"kind": "train", "step": 2, "loss": null}\n{"kind": "tr')
    assert read_json_lines(file) == [{"kind": "train", "step": 1}, {"kind": "train", "step": 2, "loss": None}]


def test_a_damaged_line_is_passed_over(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"kind": "tr\n\xff\x00\n[3]\n{"kind": "train", "step": 2}\n')
    assert read_json_lines(file) == [{"kind": "train", "step": 2}]
