"""Makes the songs it is asked for; run as a program by `song_processes.py`.

Its argument is JSON with `settings`, `renderer` and `root`. Each line of standard input is a job, `[split, index]`; each is
answered by a line `{"error", "message"}`, both null where the song was made.
"""

import json
import sys
from pathlib import Path

from kseparation.data.builtin.settings import BuiltinSettings
from kseparation.data.builtin.song_folder import write_song
from kseparation.errors import KSeparationError


def main() -> None:
    """Answers until standard input ends."""
    request = json.loads(sys.argv[1])
    settings, root = BuiltinSettings(**request["settings"]), Path(request["root"])
    for line in sys.stdin:
        report = {"error": None, "message": None}
        try:
            write_song(settings, request["renderer"], root, *json.loads(line))
        except KSeparationError as error:
            report = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
