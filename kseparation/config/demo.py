"""The config that is used where none is named."""

from pathlib import Path

from kseparation.errors import UserError

DEMO_CONFIG = "configs/demo/separation.yaml"


def demo_config() -> Path:
    """Returns the path of the demo's config: that of this folder, else that of the folder the package was installed from.

    Raises:
        UserError: neither is there.
    """
    places = (Path(DEMO_CONFIG), Path(__file__).parents[2] / DEMO_CONFIG)
    for path in places:
        if path.exists():
            return path
    raise UserError(f"The demo's config is not there: it comes with the source, not with the installed package. Looked for: {', '.join(map(str, places))}. Run in a copy of the project.")
