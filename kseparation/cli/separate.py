"""`separate`: audio files -> stems."""

from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from kseparation.cli.flags import Verb, model_name
from kseparation.errors import UserError


def _define(flags: absl_flags.FlagValues) -> None:
    absl_flags.DEFINE_string("model", None, "Run folder or .keras file. Required.", flag_values=flags)
    absl_flags.DEFINE_string("out", "separated", "Folder for the stems.", flag_values=flags)
    absl_flags.DEFINE_list("stems", None, "Only these stems, comma-separated.", flag_values=flags)
    absl_flags.DEFINE_string("two_stems", None, "This stem and the rest as no_<stem>.", flag_values=flags)
    absl_flags.DEFINE_float(
        "overlap",
        0.5,
        "Share of a segment that the next repeats.",
        lower_bound=0.0,
        upper_bound=0.99,
        flag_values=flags,
    )
    absl_flags.DEFINE_integer("shifts", 0, "Random shifts to average over; slower.", lower_bound=0, flag_values=flags)
    absl_flags.DEFINE_enum("format", "wav", ("wav", "flac", "mp3", "ogg"), "Format of the stems.", flag_values=flags)
    absl_flags.DEFINE_enum("bits", "16", ("16", "24", "32f"), "Sample format of wav and flac.", flag_values=flags)
    absl_flags.DEFINE_enum(
        "clip_mode",
        "joint",
        ("joint", "none"),
        "joint turns all stems down by one gain where one would clip.",
        flag_values=flags,
    )
    absl_flags.DEFINE_string(
        "filename", "{model}/{track}/{stem}.{ext}", "Names of the files in --out.", flag_values=flags
    )
    absl_flags.DEFINE_boolean("residual", False, "Also write what the stems lack to the mixture.", flag_values=flags)
    absl_flags.DEFINE_boolean("skip_existing", False, "Leave out tracks that are done: by the same model, with the same settings, from the same file.", flag_values=flags)
    absl_flags.DEFINE_integer("jobs", 1, "Tracks whose stems are encoded in the background while the next is separated.", lower_bound=1, flag_values=flags)


def _run(flags: absl_flags.FlagValues, arguments: Sequence[str]) -> dict[str, Any]:
    if not arguments:
        raise UserError(
            "`separate` needs audio files or folders. Received: none. Example: `kseparation separate song.wav --model=runs/x`."
        )
    if not flags.model:
        raise UserError("`--model` is required: a run folder or a .keras file. `kseparation train` makes one.")
    from kseparation.workflows.separate import SeparateSettings, separate

    settings = SeparateSettings(
        out=flags.out,
        stems=tuple(flags.stems) if flags.stems else None,
        two_stems=flags.two_stems,
        overlap=flags.overlap,
        shifts=flags.shifts,
        format=flags.format,
        bits=flags.bits,
        clip_mode=flags.clip_mode,
        filename=flags.filename,
        residual=flags.residual,
        skip_existing=flags.skip_existing,
        jobs=flags.jobs,
    )
    from kseparation.models.loading import find_model_file, load_model  # imports Keras: only once the flags are right
    from kseparation.storage.hashes import file_sha256

    file = find_model_file(flags.model)
    return separate(list(arguments), load_model(file), settings, model_name(flags.model), file_sha256(file))


VERB = Verb(
    "separate", "Separates audio files, or all in a folder, into stems.", _define, _run, arguments="FILE_OR_FOLDER..."
)
