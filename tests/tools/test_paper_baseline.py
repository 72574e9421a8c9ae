"""The paper's figures as a revision that DVC compares with, made without touching the work tree."""

import json
from pathlib import Path

import pytest

from socrates.core.errors import DataError
from socrates.evaluation.summary import headline
from socrates.tools.paper import TAG, tag_paper
from tests.repositories import call, environment

PIPELINE = """stages: {evaluate: {cmd: "true", outs: [metrics/evaluate.json: {cache: false}],
  metrics: [metrics/headline.json: {cache: false}]}}"""
METRICS = ["metrics/evaluate.json", "metrics/headline.json"]
PAPER = {
    "source": {"citation": "a paper", "table": "its second"},
    "adapter": {"wasserstein": 0.151},
    "uniform": {"drawn": {"accuracy": 0.612}},
}
RUN = {"adapter": {"wasserstein": 0.171}, "uniform": {"drawn": {"accuracy": 0.6}}, "counts": {"studies": 3}}


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Path:
    """A repository whose metrics are RUN's."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "repo"
    (folder / "metrics").mkdir(parents=True)
    monkeypatch.chdir(folder)
    call(folder, "git init -q")
    (folder / "dvc.yaml").write_text(PIPELINE)
    for name, figures in (("paper", PAPER), ("evaluate", RUN), ("headline", headline(RUN))):
        (folder / f"metrics/{name}.json").write_text(json.dumps(figures))
    return folder


def commit_all(folder: Path) -> None:
    call(folder, "git add -A")
    call(folder, "git commit -qm run")


def test_dvc_shows_the_run_against_the_paper(repo):
    call(repo, "dvc init -q")
    commit_all(repo)
    tag_paper()
    difference = json.loads(call(repo, f"dvc metrics diff {TAG} --json"))["metrics/headline.json"]
    w = difference["adapter.wasserstein"]
    assert (w["old"], w["new"], w["diff"]) == (0.151, 0.171, pytest.approx(0.02))
    assert difference["uniform.drawn.accuracy"]["diff"] == pytest.approx(-0.012)
    assert not [key for key in difference if key.startswith("source")]
    assert call(repo, "git status --porcelain") == ""


def test_work_tree_index_and_branch_stay_as_they_are(repo):
    commit_all(repo)
    (repo / "metrics/evaluate.json").write_text("{}")
    (repo / "staged.txt").write_text("half done")
    call(repo, "git add staged.txt")
    shows = ("git status --porcelain", "git rev-parse HEAD", "git branch --all")
    before = [call(repo, show) for show in shows]
    tag_paper()
    assert [call(repo, show) for show in shows] == before
    assert (repo / "metrics/evaluate.json").read_text() == "{}"
    assert call(repo, f"git diff --name-only HEAD {TAG}").split() == METRICS
    written = json.loads(call(repo, f"git show {TAG}:metrics/evaluate.json"))
    assert written["uniform"]["drawn"]["accuracy"] == 0.612
    assert "its second" in call(repo, f"git log -1 --format=%B {TAG}")


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"adapter": 0.151}'])
def test_unusable_figures_are_refused_with_the_file_named(repo: Path, content: str | None) -> None:
    commit_all(repo)
    path = repo / "metrics/paper.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=r"metrics/paper\.json"):
        tag_paper()
