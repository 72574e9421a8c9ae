"""``backup``: where finished checkpoints are copied while training goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from socrates.core.params import Section


class Backup(Section):
    url: str | None  # any fsspec URL (s3://bucket/folder, /mnt/backup); null: no backup
    endpoint_url: str | None  # for S3-compatible stores
    finish_minutes: Annotated[float, Field(ge=0)]  # waited for the last uploads when training has ended
    stop_seconds: Annotated[float, Field(ge=0)]  # from SIGTERM to the exit; a spot notice is 120 s
