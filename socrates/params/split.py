"""``split``: which studies are trained on and which are never seen."""

from __future__ import annotations

from typing import Literal

from socrates.params import Section


class Split(Section):
    method: Literal["seeded", "official"]
    seed: int
