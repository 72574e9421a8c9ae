"""``run``: how a training is watched, stored and stopped.

Nothing here can change a result: the section is no parameter of any DVC stage and no part of the fingerprint. A
change takes effect in the next run, resumed or not.
"""

from typing import Annotated

from pydantic import Field

from socrates.core.params import Section

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class Backup(Section):
    url: Annotated[str, Field(min_length=1)] | None  # any fsspec URL; null: no backup
    endpoint_url: str | None  # for S3-compatible stores
    finish_minutes: NotNegative  # waited for the last uploads when training has ended
    stop_seconds: NotNegative  # from SIGTERM to the exit; a spot notice is 120 s


class Run(Section):
    save_steps: Positive  # optimiser steps between two checkpoints
    log_steps: Positive  # between two lines of progress, where stderr is no terminal
    keep_checkpoints: Positive
    usd_per_hour: NotNegative  # of all machines together, for the cost shown
    stall_minutes: Annotated[float, Field(gt=0)] | None  # without progress before the run stops; null: never
    backup: Backup
    # A guard of a loss, which GRPO has not: its params leave it out.
    spike_multiple: Annotated[float, Field(gt=1)] | None = None  # of the running median loss; null: no guard
