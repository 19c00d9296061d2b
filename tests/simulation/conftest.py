"""The simulation's modules import each other as `tests.simulation.<name>`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
