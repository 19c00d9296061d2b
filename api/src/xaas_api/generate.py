"""Writes the generated files from the code: `python -m xaas_api.generate [--check]`.

    api/openapi.json       from the routes and the models
    docs/architecture.md   its state diagrams, from the engine's tables
    docs/security.md       what each call needs on Kubernetes, from the table of permissions
    crds/                  from the models, one file per kind; again in the chart, which can't read
                           files outside its own folder

They are shadows: nobody edits them, and `--check` fails if one isn't what the code says.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from xaas_api import permissions
from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.diagrams import redraw
from xaas_core.models.crd import crds
from xaas_core.ports import Evaluator, Logs, Store

ROOT: Final = Path(__file__).parents[3]
"""The clone; an installed package has none of these files."""

OPENAPI: Final = ROOT / "api" / "openapi.json"
ARCHITECTURE: Final = ROOT / "docs" / "architecture.md"
SECURITY: Final = ROOT / "docs" / "security.md"
CRDS: Final = (ROOT / "crds", ROOT / "charts" / "xaas-pipeline" / "files" / "crds")


def openapi() -> dict[str, Any]:
    """The OpenAPI document, without a backend: only routes are looked at."""
    store, evaluator, logs = cast(Store, None), cast(Evaluator, None), cast(Logs, None)
    services = Services(store, Admission(store, evaluator), logs)
    return create_app(services, Access()).openapi()


def shadows() -> dict[Path, str]:
    """Each generated file with the text that it should have: the same whenever it is made."""
    document = json.dumps(openapi(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    architecture = redraw(ARCHITECTURE.read_text("utf-8"))
    kinds = {folder / f"{plural}.yaml": text for folder in CRDS for plural, text in crds().items()}
    security = permissions.rewritten(SECURITY.read_text("utf-8"))
    return {OPENAPI: document, ARCHITECTURE: architecture, SECURITY: security, **kinds}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or check them; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xaas_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if one differs")
    check = parser.parse_args(argv).check
    stale = [
        (path, text)
        for path, text in shadows().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    for path, text in stale:
        if check:
            sys.stderr.write(f"{path} isn't what the code says; run: make generate\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
