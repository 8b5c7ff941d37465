from pathlib import Path

import pytest

from kseparation.config import RunConfig, dump_config
from kseparation.errors import UserError
from kseparation.workflows.run_folder import RunChoice, check_same_config, choose_run

CONFIG = RunConfig(source="configs/tiny.yaml", seed=4)
OTHER = RunConfig(source="configs/tiny.yaml", seed=5)


def begin(parent: Path, name: str, config: RunConfig = CONFIG, finished: bool = False) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(config))
    if finished:
        (folder / "summary.json").write_text("{}")
    return folder


def chosen(parent: Path, run_dir=None, resume="auto", backend="jax", config=CONFIG) -> RunChoice:
    return choose_run(config, backend, run_dir, resume, parent)


def test_the_first_run_has_the_name_of_config_and_backend(tmp_path: Path) -> None:
    assert chosen(tmp_path) == RunChoice(tmp_path / "tiny-jax-1")


def test_the_newest_unfinished_run_of_the_same_config_and_backend_goes_on(tmp_path: Path) -> None:
    for number in (1, 2, 9, 10):
        begin(tmp_path, f"tiny-jax-{number}")
    begin(tmp_path, "tiny-jax-11", OTHER)
    begin(tmp_path, "tiny-jax-12", finished=True)
    begin(tmp_path, "tiny-torch-20")
    begin(tmp_path, "tiny-jax-two")
    assert chosen(tmp_path) == RunChoice(tmp_path / "tiny-jax-10", resumes=True)
    assert chosen(tmp_path, config=OTHER) == RunChoice(tmp_path / "tiny-jax-11", resumes=True)
    assert chosen(tmp_path, resume="must") == RunChoice(tmp_path / "tiny-jax-10", resumes=True)
    assert chosen(tmp_path, resume="never") == RunChoice(tmp_path / "tiny-jax-13")
    assert chosen(tmp_path, backend="tensorflow") == RunChoice(tmp_path / "tiny-tensorflow-1")


def test_after_a_finished_run_the_next_number_begins(tmp_path: Path) -> None:
    begin(tmp_path, "tiny-jax-1", finished=True)
    assert chosen(tmp_path) == RunChoice(tmp_path / "tiny-jax-2")


def test_a_run_folder_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert chosen(tmp_path, folder) == RunChoice(folder)
    begin(tmp_path, "mine")
    assert chosen(tmp_path, folder) == chosen(tmp_path, folder, "must") == RunChoice(folder, resumes=True)
    (folder / "summary.json").write_text("{}")
    assert chosen(tmp_path, folder) == RunChoice(folder, resumes=True, finished=True)
    assert chosen(tmp_path, resume=str(folder)) == RunChoice(folder, resumes=True, finished=True)


def test_never_does_not_touch_a_run(tmp_path: Path) -> None:
    folder = begin(tmp_path, "mine")
    with pytest.raises(UserError, match="`--run_dir` already holds a run. Received: .*mine. Choose another folder"):
        chosen(tmp_path, folder, "never")


@pytest.mark.parametrize("run_dir", [None, "mine"])
def test_must_needs_a_run(tmp_path: Path, run_dir) -> None:
    with pytest.raises(UserError, match="`--resume=must` found no unfinished run to go on with. Looked for: "):
        chosen(tmp_path, run_dir and tmp_path / run_dir, "must")


def test_a_run_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="`--run_dir` is not a folder. Received: .*file"):
        chosen(tmp_path, tmp_path / "file")


def test_resume_is_a_word_or_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`--resume` must be auto, never, must or a run folder, and this folder does not exist. Received: musst. Did you mean `must`"):
        chosen(tmp_path, resume="musst")


def test_another_config_is_refused_with_every_difference(tmp_path: Path) -> None:
    folder = begin(tmp_path, "mine")
    changed = RunConfig(seed=5, reproduce_failure=True)
    assert check_same_config(folder, CONFIG) == []
    with pytest.raises(UserError) as error:
        check_same_config(folder, changed)
    assert "`reproduce_failure` was False, now True; `seed` was 4, now 5" in str(error.value)
    assert "--allow=reproduce_failure,seed" in str(error.value)
    assert check_same_config(folder, changed, ["seed", "reproduce_failure"]) == ["reproduce_failure", "seed"]
    with pytest.raises(UserError, match="`seed` was 4, now 5"):
        check_same_config(folder, changed, ["reproduce_failure"])


def test_a_section_is_allowed_as_a_whole(tmp_path: Path) -> None:
    folder = begin(tmp_path, "mine")
    longer = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"epochs": 99, "ema": 0.5})})
    assert check_same_config(folder, longer, ["training"]) == ["training.ema", "training.epochs"]
    with pytest.raises(UserError, match="training.ema"):
        check_same_config(folder, longer, ["train"])
