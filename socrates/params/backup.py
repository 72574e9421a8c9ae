"""``backup``: where finished checkpoints are copied while training goes on."""

from __future__ import annotations

from socrates.params import Section


class Backup(Section):
    url: str | None  # any fsspec URL (s3://bucket/folder, /mnt/backup); null: no backup
    endpoint_url: str | None  # for S3-compatible stores
