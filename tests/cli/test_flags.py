import pytest
from absl import flags as absl_flags

from kseparation.cli.flags import Verb, help_text, model_name, parse_flags, wants_help
from kseparation.errors import UserError


def define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("two_stems", None, "One stem.", flag_values=flags)
    absl_flags.DEFINE_float("overlap", 0.5, "Overlap.", lower_bound=0.0, upper_bound=0.99, flag_values=flags)
    absl_flags.DEFINE_integer("jobs", 1, "Jobs.", lower_bound=1, flag_values=flags)
    absl_flags.DEFINE_enum("format", "wav", ("wav", "flac"), "Format.", flag_values=flags)
    absl_flags.DEFINE_multi_string("set", [], "Values.", flag_values=flags)


FILES = Verb("files", "Takes files.", define, lambda flags, arguments: None, arguments="FILE...")
NO_FILES = Verb("nothing", "Takes none.", define, lambda flags, arguments: None)


def message(verb: Verb, *arguments: str) -> str:
    with pytest.raises(UserError) as error:
        parse_flags(verb, arguments)
    return str(error.value)


def test_flags_and_files_mix_and_a_dash_is_an_underscore() -> None:
    arguments = ["a-b.wav", "--two-stems=lead-vocals", "--set", "a.b=1", "c.wav", "--set=c=2", "--jobs=3"]
    flags, rest = parse_flags(FILES, arguments)
    assert flags.two_stems == "lead-vocals"
    assert flags.set == ["a.b=1", "c=2"]
    assert flags.jobs == 3
    assert rest == ["a-b.wav", "c.wav"]


def test_two_dashes_end_the_flags() -> None:
    flags, rest = parse_flags(FILES, ["--jobs=2", "--", "-rf.wav", "--two-stems"])
    assert (flags.jobs, rest) == (2, ["-rf.wav", "--two-stems"])
    assert not wants_help(["--", "--help"])
    assert wants_help(["x", "--help"])


def test_sets_of_flags_are_apart() -> None:
    parse_flags(FILES, ["--jobs=5"])
    assert parse_flags(FILES, [])[0].jobs == 1
    assert "two_stems" not in absl_flags.FLAGS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--two-stem=x"], "`--two_stem` is not a flag of `files`. Did you mean `--two_stems`? Valid: `--two_stems`, "),
        (["--flagfile=/etc/passwd"], "`--flagfile` is not a flag of `files`."),
        (["--undefok=x", "--x"], "`--undefok` is not a flag of `files`."),
        (["--two-stem=x", f"--two-stems={'[' * 300}"], "`--two_stem` is not a flag of `files`. Did you mean `--two_stems`?"),
        (["-n"], "`--n` is not a flag of `files`."),
        (["--overlap=half"], "`--overlap` must be a number in the range [0.0, 0.99]. Received: half"),
        (["--overlap=1"], "`--overlap` must be a number in the range [0.0, 0.99]. Received: 1"),
        (["--overlap=nan"], "`--overlap` must be a number in the range [0.0, 0.99]. Received: nan"),
        (["--jobs=0"], "`--jobs` must be a positive integer. Received: 0"),
        (["--jobs=1.5"], "`--jobs` must be a positive integer. Received: 1.5"),
        (
            ["--format=flag"],
            "`--format` must be one of its values. Received: flag. Did you mean `flac`? Valid: `wav`, `flac`.",
        ),
        (["--json=maybe"], "`--json` must be true or false. Received: maybe"),
        (["--jobs"], "Missing value for flag --jobs. `kseparation files --help` lists the flags."),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: str) -> None:
    assert message(FILES, *arguments).startswith(words)


def test_a_verb_without_files_refuses_them() -> None:
    assert message(NO_FILES, "song.wav") == (
        "`nothing` takes flags only. Received: 'song.wav'. `kseparation nothing --help` lists them."
    )


def test_help_shows_values_and_defaults() -> None:
    text = help_text(FILES)
    assert text.startswith("usage: kseparation files [flags] FILE...\n\nTakes files.\n")
    assert "  --format=wav|flac\n      Format. Default: wav.\n" in text
    assert "  --two_stems=...\n      One stem.\n" in text
    assert "  --require_gpu\n" in text


def test_a_model_is_called_after_its_folder_or_file(tmp_path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    assert model_name(f"{tmp_path}/runs/mine/") == "mine"
    assert model_name(f"{tmp_path}/other.keras") == "other"
