"""Writes `api/openapi.json` from the code: `python -m xaas_api.generate [--check]`.

The file is a shadow: nobody edits it, and `--check` fails if it isn't what the code says.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.ports import Evaluator, Logs, Store

FILE: Final = Path(__file__).parents[2] / "openapi.json"
"""`api/openapi.json` of a clone; an installed package has none."""


def openapi() -> dict[str, Any]:
    """The OpenAPI document, without a backend: only routes are looked at."""
    store, evaluator, logs = cast(Store, None), cast(Evaluator, None), cast(Logs, None)
    services = Services(store, Admission(store, evaluator), logs)
    return create_app(services, Access()).openapi()


def rendered() -> str:
    """The file's text: sorted, so that it changes only where the code did."""
    return json.dumps(openapi(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, or check it; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xaas_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if it differs")
    check = parser.parse_args(argv).check
    text = rendered()
    if not check:
        FILE.write_text(text, "utf-8")
        return 0
    if FILE.exists() and FILE.read_text("utf-8") == text:
        return 0
    sys.stderr.write(f"{FILE} isn't what the code says; run: make generate\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
