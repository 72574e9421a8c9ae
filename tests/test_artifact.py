"""The adapter is an artifact of DVC's registry: a tag names a version, and DVC finds what it points to."""

from __future__ import annotations

import shutil
import subprocess

import dvc.api
from ruamel.yaml import YAML

from tests import tiny


def test_a_tagged_version_of_the_adapter_is_found_by_name(tmp_path):
    def git(*command):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / ".dvc").mkdir()
    shutil.copy(tiny.ROOT / ".dvc/config", tmp_path / ".dvc/config")
    shutil.copy(tiny.ROOT / "params.yaml", tmp_path / "params.yaml")
    shutil.copy(tiny.ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    git("add", "-A")
    git("commit", "-qm", "a run")
    git("tag", "-a", "adapter@v1.0.0", "-m", "the first")
    (tmp_path / "params.yaml").write_text((tmp_path / "params.yaml").read_text() + "# later\n")
    git("commit", "-qam", "more")
    found = dvc.api.artifacts_show("adapter", version="v1.0.0", repo=str(tmp_path))
    assert found["path"] == "models/adapter"
    assert found["rev"] != "HEAD"


def test_the_artifact_is_what_the_train_stage_writes():
    pipeline = YAML(typ="safe").load(tiny.ROOT / "dvc.yaml")
    artifact = pipeline["artifacts"]["adapter"]
    assert artifact["path"] in pipeline["stages"]["train"]["outs"]
    assert artifact["type"] == "model"
