"""DVC's own remote on the same S3 server: push, clone, pull, and nothing is left to do."""

import shutil
from pathlib import Path

import pytest

from tests.repositories import call
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
def server(tmp_path, monkeypatch):
    use_credentials(monkeypatch)
    running = S3Server(tmp_path / "s3")
    yield running
    running.kill()


def test_a_fresh_clone_pulls_and_has_nothing_to_do(server, tmp_path):
    repo, clone = tmp_path / "repo", tmp_path / "clone"
    ignored = shutil.ignore_patterns("data", "models", "__pycache__")
    shutil.copytree(ROOT / "gsm8k", repo / "gsm8k", ignore=ignored)  # the second pipeline is never run
    (repo / "dvc.yaml").write_text(PIPELINE)
    (repo / "in.txt").write_text("answers\n")
    for command in (
        *("git init -q", "dvc init -q", f"dvc remote add -q -d store s3://{BUCKET}/dvc"),
        *(f"dvc remote modify -q store endpointurl {server.endpoint}", "dvc repro -q dvc.yaml"),
        *("git add -A", "git commit -qm all", "dvc push -q"),
    ):
        call(repo, command)
    assert list((server.bucket / "dvc").rglob("*"))

    call(tmp_path, f"git clone -q {repo} {clone}")
    call(clone, "dvc pull -q")
    assert (clone / "out.txt").read_text() == "answers\n" * 3
    for command in ("dvc checkout", "dvc status"):
        call(clone, command)
    for command in ("dvc status dvc.yaml", "dvc repro dvc.yaml"):
        assert "up to date" in call(clone, command)
