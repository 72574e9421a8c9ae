"""Responses from the Hugging Face hub: the dataset's parquet shards and split files at one commit.

The files go to the hub's own cache (``HF_HOME``): a second run fetches nothing, and a download that broke is taken up
where it broke. ``HF_HUB_OFFLINE=1`` reads the cache alone and ``HF_ENDPOINT`` names another server.
"""

import hashlib
import re
from pathlib import Path

from socrates.core.errors import SourceError
from socrates.core.files import sha256
from socrates.core.hub import hub_errors
from socrates.data.sources.clean import Source
from socrates.data.sources.local import parquet_source

PATTERNS = ["data/train-*.parquet", "metadata/*_mapping.json"]
SHARD = re.compile(r"data/train-(\d{5})-of-(\d{5})\.parquet")

# Split files that were audited by others at this commit; a hub that serves other bytes is not the hub.
KNOWN = {
    ("socratesft/SocSci210", "048481111a4425ed83dc0eacf15f8431f252b21a"): {
        "metadata/participant_mapping.json": "b436801983a6c31dd408bab65d5b2b79fb5515db129df2ff07acb781549ecbee",
        "metadata/condition_mapping.json": "ea0a2b7ffdac8cb128e7d3dc599148e711ebb72a0297f40473925ddf6870347d",
        "metadata/task_mapping.json": "b38799df03c844089e772b5768cef21affdc6c22af21f91be936ac2a09c3c40e",
    }
}


def open_hub(repo: str, revision: str) -> Source:
    """The source that is dataset ``repo`` at commit ``revision``, downloaded, whole, and as the hub announced it."""
    where = f"{repo}@{revision}"
    with hub_errors(where, "data.repo and data.revision"):
        from huggingface_hub import snapshot_download  # reads HF_HOME and others when it is imported

        found = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=PATTERNS)
    folder = Path(found)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.*"))}
    shards = {name: match for name in files if (match := SHARD.fullmatch(name))}
    if not shards:
        raise SourceError(
            f"{where}: no shard named data/train-NNNNN-of-NNNNN.parquet; is it the right data.repo?"
        )
    expected = {int(match[2]) for match in shards.values()}
    if expected != {len(shards)}:
        raise SourceError(
            f"{where}: {len(shards)} of {max(expected)} shards are there; run again while online"
        )
    for name, path in files.items():
        blob = path.resolve()  # in a cache with links, its name is the digest that the hub announced
        if len(blob.name) in (40, 64) and (digest := _digest(blob)) != blob.name:
            path.unlink()
            blob.unlink()
            raise SourceError(
                f"{where}: {name} has digest {digest}, the hub announced {blob.name}; removed, run again"
            )
    source = parquet_source({name: files[name] for name in shards}, [folder])
    for name, known in KNOWN.get((repo, revision), {}).items():
        digest = sha256(files[name]) if name in files else "no file"
        if digest != known:
            raise SourceError(
                f"{where}: {name} has SHA-256 {digest}, not the audited {known}; do not use this copy"
            )
    source.about.update(repo=repo, revision=revision)
    return source


def _digest(blob: Path) -> str:
    """What the hub names a file by: SHA-256 of a large one, of a small one Git's SHA-1."""
    if len(blob.name) != 40:
        return sha256(blob)
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
