"""DVC's own remote on the same S3 server: push, clone, pull, and nothing is left to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, S3Server, use_credentials

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = """
stages:
  count:
    cmd: python -c "open('out.txt', 'w').write(open('in.txt').read() * 3)"
    deps: [in.txt]
    outs: [out.txt]
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    use_credentials(monkeypatch)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    running = S3Server(tmp_path / "s3")
    yield running
    running.kill()


def call(folder: Path, command: str) -> str:
    ended = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_fresh_clone_pulls_and_has_nothing_to_do(server: S3Server, tmp_path: Path) -> None:
    repo, clone = tmp_path / "repo", tmp_path / "clone"
    repo.mkdir()
    call(repo, "git init -q")
    call(repo, "dvc init -q")
    (repo / "dvc.yaml").write_text(PIPELINE)
    (repo / "in.txt").write_text("answers\n")
    call(repo, f"dvc remote add -q -d store s3://{BUCKET}/dvc")
    call(repo, f"dvc remote modify -q store endpointurl {server.endpoint}")
    shutil.copytree(
        ROOT / "gsm8k", repo / "gsm8k", ignore=shutil.ignore_patterns("data", "models", "__pycache__")
    )
    call(repo, "dvc repro -q dvc.yaml")  # the second pipeline is never run
    call(repo, "git add -A")
    call(repo, "git commit -qm all")
    call(repo, "dvc push -q")
    assert list((server.bucket / "dvc").rglob("*"))

    call(tmp_path, f"git clone -q {repo} {clone}")
    call(clone, "dvc pull -q")
    assert (clone / "out.txt").read_text() == "answers\n" * 3
    call(clone, "dvc checkout")
    assert "up to date" in call(clone, "dvc status dvc.yaml")
    assert "up to date" in call(clone, "dvc repro dvc.yaml")
    call(clone, "dvc status")
