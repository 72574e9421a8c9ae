"""Where data that may not be in the project lie, if they are on this machine."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("SOCRATES_SHARED") or Path(__file__).resolve().parents[2] / "shared")
