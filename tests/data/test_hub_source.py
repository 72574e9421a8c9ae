"""The hub source against a hub of our own: what arrives is whole, checked and fetched once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from huggingface_hub import constants

from socrates.core.errors import SourceError
from socrates.data.sources import hub as hub_source
from socrates.data.sources.hub import open_hub
from tests.hub_server import Hub, serve
from tests.survey_rows import params_in, parquet_bytes, survey

ROOT = Path(__file__).resolve().parents[2]
REPO, REVISION = "lab/answers", "a" * 40
SHARDS = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
MAPPING = "metadata/participant_mapping.json"


def files():
    rows = survey(4).with_columns(prompt=pl.lit("Answer as this person."), reasoning=pl.lit("Because."))
    return {
        SHARDS[0]: parquet_bytes(rows.head(12)),
        SHARDS[1]: parquet_bytes(rows.tail(12)),
        MAPPING: json.dumps({"seen": ["s0000", "s0001", "s0002"], "unseen": ["s0003"]}).encode(),
        "README.md": b"not asked for",
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with serve(Hub(REPO, REVISION, files())) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield running


def read(revision=REVISION):
    return pl.concat(frame for _, frame in open_hub(REPO, revision).tables)


def test_all_shards_and_the_mapping_arrive_and_nothing_else(hub):
    source = open_hub(REPO, REVISION)
    assert pl.concat(frame for _, frame in source.tables).equals(survey(4))
    assert list(source.about["files"]) == [*SHARDS, MAPPING]
    assert source.about["revision"] == REVISION
    assert list(source.mappings) == ["participant_mapping.json"]
    assert set(hub.transfers()) == {*SHARDS, MAPPING}


def test_offline_with_an_empty_cache_says_what_to_do(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        read()
    assert not hub.asked


def test_an_unknown_revision_and_one_with_a_shard_too_few_are_refused(hub):
    with pytest.raises(SourceError, match="b" * 40):
        read("b" * 40)
    del hub.files[SHARDS[1]]
    with pytest.raises(SourceError, match="1 of 2 shards"):
        read()


@pytest.mark.parametrize("name", [SHARDS[1], MAPPING])
def test_bytes_other_than_announced_are_removed_and_fetched_again(hub, name):
    hub.corrupt = {name}
    with pytest.raises(SourceError, match=f"{name} has digest"):
        read()
    hub.corrupt = set()
    assert read().equals(survey(4))


def test_mappings_that_differ_from_the_audited_ones_are_refused(hub, monkeypatch):
    monkeypatch.setitem(hub_source.KNOWN, (REPO, REVISION), {MAPPING: "0" * 64})
    with pytest.raises(SourceError, match=f"{MAPPING} has SHA-256"):
        open_hub(REPO, REVISION)


def test_an_unreachable_hub_is_named(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    with pytest.raises(SourceError, match=f"{REPO}@{REVISION} at http://127.0.0.1:9: cannot be reached"):
        read()


def test_the_stage_obeys_the_environment_and_writes_the_raw_folder(hub, tmp_path):
    """As its user runs it: from the hub first, then from the cache alone."""
    params_in(tmp_path, data={"source": "hub", "repo": REPO, "revision": REVISION})
    own = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "home")}
    raw, written = tmp_path / "data/raw", []
    for found in (
        {"HF_ENDPOINT": hub.endpoint},
        {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"},
    ):
        command = [sys.executable, "-m", "stages.download"]
        finished = subprocess.run(command, cwd=tmp_path, env=own | found, capture_output=True, check=False)
        assert finished.returncode == 0, finished.stderr
        written.append((raw / "responses.parquet").read_bytes())
    assert written[0] == written[1]
    manifest = json.loads((raw / "manifest.json").read_text())
    assert manifest["source"] == "hub" and manifest["revision"] == REVISION
    assert manifest["kept"]["rows"] == 24
    assert json.loads((raw / "participant_mapping.json").read_text())["unseen"] == ["s0003"]
