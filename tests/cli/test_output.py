import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kseparation.cli.output import json_text, print_result, standard_output_kept_clean


def test_json_has_no_nan_and_takes_numpy_and_paths() -> None:
    value = {
        "a": float("nan"),
        "b": [np.float32(0.5), np.float32("inf"), np.int64(3)],
        "c": np.zeros(2),
        "d": Path("x/y"),
    }
    assert json.loads(json_text(value)) == {"a": None, "b": [0.5, None, 3], "c": [0.0, 0.0], "d": "x/y"}


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "koi8-r", "utf-8"])
def test_json_is_json_in_every_locale(encoding: str) -> None:
    names = ["Beyonc\u00e9.wav", "\u0416.wav", "\U0001f3b5.wav"]
    code = f"from kseparation.cli.output import *; print_result(json_text({names!r}))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, check=True)
    assert json.loads(done.stdout.decode("ascii")) == names


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="JSON cannot hold a set. Received: {1}"):
        json_text({"a": {1}})


def test_stray_output_goes_to_standard_error(capfd: pytest.CaptureFixture) -> None:
    with standard_output_kept_clean():
        print("from Python")
        os.write(1, b"from a library\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    print_result('{"ok": true}')
    out, err = capfd.readouterr()
    assert out == '{"ok": true}\n'
    assert sorted(err.splitlines()) == ["from Python", "from a child", "from a library"]


def test_what_c_code_buffers_does_not_follow_the_result() -> None:
    code = (
        "import ctypes; from kseparation.cli.output import *\n"
        "with standard_output_kept_clean(): ctypes.CDLL(None).printf(b'late')\n"
        "print_result('result')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "late")


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = "from kseparation.cli.output import print_result\nfor _ in range(5): print_result('x' * 100000)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=20) == 0


def test_a_file_name_that_is_not_utf8_is_printed_as_json(capfd: pytest.CaptureFixture) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    print_result(json_text({"file": name}))
    assert json.loads(capfd.readouterr().out) == {"file": name}
