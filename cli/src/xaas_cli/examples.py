"""Where the examples are: beside the code in a checkout, inside the package when installed."""

from pathlib import Path
from typing import Final

from xaas_cli.failures import Failure

_HERE: Final = Path(__file__).resolve().parent
_PLACES: Final = (_HERE.parents[2] / "examples", _HERE / "examples")


def example(name: str) -> Path:
    """The folder of an example. Raises Failure."""
    for place in _PLACES:
        if (place / name).is_dir():
            return place / name
    listed = " or ".join(str(place) for place in _PLACES)
    raise Failure(f"The example {name!r} isn't there; it was looked for in {listed}")
