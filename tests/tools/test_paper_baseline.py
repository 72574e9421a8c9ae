"""The paper's figures as a revision that DVC compares with, made without touching the work tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from socrates.core.errors import DataError
from socrates.evaluation.summary import headline
from socrates.tools.paper_baseline import TAG, tag_paper

PIPELINE = """
stages:
  evaluate:
    cmd: "true"
    outs:
    - metrics/evaluate.json:
        cache: false
    metrics:
    - metrics/headline.json:
        cache: false
"""
METRICS = ["metrics/evaluate.json", "metrics/headline.json"]
PAPER = {
    "source": {"citation": "a paper", "table": "its second"},
    "adapter": {"wasserstein": 0.151},
    "uniform": {"drawn": {"accuracy": 0.612}},
}
RUN = {"adapter": {"wasserstein": 0.171}, "uniform": {"drawn": {"accuracy": 0.6}}, "counts": {"studies": 3}}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit whose metrics are RUN's, and no Git identity of its own afterwards."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    folder = tmp_path / "repo"
    (folder / "metrics").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "metrics/paper.json").write_text(json.dumps(PAPER))
    (folder / "metrics/evaluate.json").write_text(json.dumps(RUN))
    (folder / "metrics/headline.json").write_text(json.dumps(headline(RUN)))
    return folder


def commit_all(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "a run")


def git(folder: Path, *command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_dvc_shows_the_run_against_the_paper(repo: Path) -> None:
    subprocess.run(["dvc", "init", "-q"], cwd=repo, check=True)
    commit_all(repo)
    tag_paper(repo)
    shown = subprocess.run(
        ["dvc", "metrics", "diff", TAG, "--json"], cwd=repo, capture_output=True, text=True, check=True
    )
    difference = json.loads(shown.stdout)["metrics/headline.json"]
    assert difference["adapter.wasserstein"]["old"] == 0.151
    assert difference["adapter.wasserstein"]["new"] == 0.171
    assert difference["adapter.wasserstein"]["diff"] == pytest.approx(0.02)
    assert difference["uniform.drawn.accuracy"]["diff"] == pytest.approx(-0.012)
    assert not [key for key in difference if key.startswith("source")]
    assert git(repo, "status", "--porcelain") == ""


def test_work_tree_index_and_branch_stay_as_they_are(repo: Path) -> None:
    commit_all(repo)
    (repo / "metrics/evaluate.json").write_text("{}")
    (repo / "staged.txt").write_text("half done")
    git(repo, "add", "staged.txt")
    before = [git(repo, *show.split()) for show in ("status --porcelain", "rev-parse HEAD", "branch --all")]
    tag_paper(repo)
    after = [git(repo, *show.split()) for show in ("status --porcelain", "rev-parse HEAD", "branch --all")]
    assert after == before
    assert (repo / "metrics/evaluate.json").read_text() == "{}"
    assert git(repo, "diff", "--name-only", "HEAD", TAG).split() == METRICS
    assert (
        json.loads(git(repo, "show", f"{TAG}:metrics/evaluate.json"))["uniform"]["drawn"]["accuracy"] == 0.612
    )
    assert "its second" in git(repo, "log", "-1", "--format=%B", TAG)


def test_the_same_head_gives_the_same_commit_and_a_new_head_moves_the_tag(repo: Path) -> None:
    commit_all(repo)
    first = tag_paper(repo)
    assert tag_paper(repo) == first == git(repo, "rev-parse", TAG)
    (repo / "more.txt").write_text("more")
    commit_all(repo)
    assert tag_paper(repo) == git(repo, "rev-parse", TAG) != first


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"adapter": 0.151}'])
def test_unusable_figures_are_refused_with_the_file_named(repo: Path, content: str | None) -> None:
    commit_all(repo)
    path = repo / "metrics/paper.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=r"metrics/paper\.json"):
        tag_paper(repo)


def test_a_folder_outside_git_is_one_line(repo: Path) -> None:
    for path in sorted((repo / ".git").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match="repository"):
        tag_paper(repo)
