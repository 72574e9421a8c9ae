"""``deepspeed``: how state is spread over processes. It must not change the result."""

from __future__ import annotations

from typing import Literal

from socrates.params import Section


class Deepspeed(Section):
    zero_stage: Literal[0, 1, 2, 3]
    offload: bool  # optimiser state (and, at stage 3, weights) in CPU memory
