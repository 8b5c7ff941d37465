import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kseparation.cli import main as cli
from kseparation.cli.flags import Verb
from kseparation.errors import CheckFailed, MachineError, TrainingStopped, UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Puts a verb `work` with a given body in the place of all others."""
    monkeypatch.setattr(cli, "select_backend", lambda flag: "jax")
    monkeypatch.setattr(cli, "prepare_environment", lambda device: None)

    def put(body: Callable, show: Callable | None = None) -> None:
        work = Verb("work", "Works.", lambda flags: None, body, arguments="FILE...", show=show)
        monkeypatch.setattr(cli, "VERBS", {"work": work})

    return put


def raises(error: BaseException) -> Callable:
    def body(flags, arguments):
        raise error

    return body


def test_a_result_is_printed_only_with_json(verb, capfd) -> None:
    verb(lambda flags, arguments: {"files": arguments, "sdr": float("inf")})
    assert cli.main(["work", "a.wav"]) == 0
    assert capfd.readouterr().out == ""
    assert cli.main(["work", "a.wav", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"files": ["a.wav"], "sdr": None}


def test_a_verb_may_show_its_result_as_text(verb, capfd) -> None:
    verb(lambda flags, arguments: [1, 2], show=lambda result: f"{len(result)} rows")
    assert cli.main(["work"]) == 0
    assert capfd.readouterr().out == "2 rows\n"
    assert cli.main(["work", "--json"]) == 0
    assert capfd.readouterr().out == "[1, 2]\n"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("`a` is wrong."), 2, "error: `a` is wrong.\n"),
        (CheckFailed("not equal."), 3, "error: not equal.\n"),
        (TrainingStopped("see incidents/4."), 4, "error: see incidents/4.\n"),
        (MachineError("locked."), 5, "error: locked.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            5,
            "error: The disk is full: [Errno 28] No space left on device.",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (cli.Terminated(), 143, "interrupted\n"),
    ],
)
def test_each_end_has_its_code_and_one_message(verb, capfd, error: BaseException, code: int, words: str) -> None:
    verb(raises(error))
    assert cli.main(["work"]) == code
    out, err = capfd.readouterr()
    assert (out, err[: len(words)]) == ("", words)
    assert "Traceback" not in err
    assert cli.main(["work", "--json"]) == code
    out, err = capfd.readouterr()
    assert json.loads(out)["exit_code"] == code
    assert err.startswith(words)


def test_a_fault_of_ours_has_a_traceback_and_says_where_to_report_it(verb, capfd) -> None:
    verb(raises(ZeroDivisionError("by zero")))
    assert cli.main(["work"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError: by zero" in err
    assert "Please report it on the project's issue tracker" in err


def test_sigterm_ends_with_its_code_and_restores_the_handler(verb) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def body(flags, arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            cleaned.append(True)

    verb(body)
    assert cli.main(["work"]) == 143
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_gpu_is_looked_for_before_the_work(verb, capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    verb(lambda flags, arguments: None)
    monkeypatch.setattr(cli, "require_gpu", raises_for_backend)
    assert cli.main(["work", "--require_gpu"]) == 5
    assert cli.main(["work", "--device=gpu"]) == 5
    assert cli.main(["work", "--device=cpu"]) == 0
    capfd.readouterr()
    assert cli.main(["work", "--device=cpu", "--require-gpu"]) == 2
    assert "`--require_gpu` contradicts `--device=cpu`" in capfd.readouterr().err


def raises_for_backend(backend: str) -> None:
    raise MachineError(f"no GPU on {backend}")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.EROFS])
def test_a_path_that_the_system_refuses_is_the_users_mistake(verb, capfd, number: int) -> None:
    def refused(flags, arguments):
        raise OSError(number, os.strerror(number), "/root/music")

    verb(refused)
    assert cli.main(["work"]) == 2
    assert capfd.readouterr().err == f"error: `/root/music` cannot be used: {os.strerror(number)}. Check the path and its permissions, or choose another.\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_what_the_machine_refuses_is_not_our_fault(verb, capfd, number: int) -> None:
    def refused(flags, arguments):
        raise OSError(number, os.strerror(number), "/root/music")

    verb(refused)
    assert cli.main(["work"]) == 5
    assert capfd.readouterr().err.startswith("error: The machine stands in the way: ")


def test_a_file_called_like_the_flag_prints_no_json(verb, capfd) -> None:
    verb(lambda flags, arguments: None)
    assert cli.main(["work", "--jsn", "--", "--json"]) == 2
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("json_flag", ["--json", "--json=true", "-json"])
def test_a_wrong_flag_prints_json_too(verb, capfd, json_flag: str) -> None:
    verb(lambda flags, arguments: None)
    assert cli.main(["work", "--jsn", json_flag]) == 2
    out, err = capfd.readouterr()
    assert json.loads(out)["exit_code"] == 2
    assert "`--jsn` is not a flag of `work`. Did you mean `--json`?" in err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_without_a_verb_all_are_listed(arguments: list[str], capfd) -> None:
    assert cli.main(arguments) == 0
    out = capfd.readouterr().out
    assert out.startswith("usage: kseparation <verb> [flags]\n")
    assert all(f"\n  {name} " in out for name in cli.VERBS)


def test_an_unknown_verb_is_answered_with_the_nearest(capfd) -> None:
    assert cli.main(["seperate"]) == 2
    assert "There is no verb `seperate`. Did you mean `separate`?" in capfd.readouterr().err


def test_version(capfd) -> None:
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == cli.__version__ + "\n"


def test_each_verb_has_an_app_of_the_same_code() -> None:
    assert {path.stem for path in (ROOT / "apps").glob("*.py")} == set(cli.VERBS)


@pytest.mark.parametrize("name", list(cli.VERBS))
def test_help_is_quick_and_loads_neither_keras_nor_numpy(name: str, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'keras', 'numpy', 'yaml', 'pydantic'} & set(sys.modules)"
    )
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, str(ROOT / "apps" / f"{name}.py")],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        seconds.append(time.perf_counter() - start)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: kseparation {name} [flags]")
    assert min(seconds) < 0.5
