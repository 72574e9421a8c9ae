"""README.md says what the run in Git says, and its example of a data file can be read."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from socrates.core.errors import DataError
from socrates.data.sources.local import open_local
from socrates.evaluation.predictors import PREDICTORS
from socrates.reporting.read import read_results
from socrates.reporting.sections import headline_figure
from socrates.tools import readme

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def committed(*paths: str) -> bool:
    """Whether the files are as in Git: an experiment that is tried out is not what README.md speaks of."""
    done = subprocess.run(["git", "-C", str(ROOT), "diff", "--quiet", "HEAD", "--", *paths], check=False)
    return done.returncode == 0


def test_the_figures_are_those_of_the_run_in_git(monkeypatch):
    if not committed("metrics", "params.yaml", "presets"):
        pytest.skip("metrics/ or params.yaml are not those of Git")
    monkeypatch.chdir(ROOT)
    scores = read_results(ROOT)
    blocks = {"result": readme.result(scores), "cost": readme.cost()}
    assert readme.with_blocks(TEXT, blocks) == TEXT, "run make readme"
    assert (ROOT / readme.PICTURE).read_text() == headline_figure(scores).svg, "run make readme"


def test_no_figure_of_a_run_is_outside_the_written_blocks():
    by_hand = re.sub(r"<!-- \w+ -->\n.*?<!-- end -->", "", TEXT, flags=re.DOTALL)
    assert re.findall(r"(?<!\d)[-−]?0\.\d{3}", by_hand) == []


def test_the_lowest_opponent_is_the_lowest_row_that_is_no_oracle():
    scores = read_results(ROOT)
    w = {name: scores.metrics[name]["wasserstein"] for name in readme.SHOWN if name in scores.metrics}
    others = {name: value for name, value in w.items() if name not in (scores.model, *readme.ORACLES)}
    assert {"base", "base_fewshot"} <= set(others)
    assert f"{PREDICTORS[min(others, key=others.__getitem__)]}, it is" in readme.result(scores).replace(
        "\n", " "
    )


def test_blocks_are_replaced_and_missed():
    text = "a\n<!-- result -->\nold\n<!-- end -->\nb <!-- end -->\n"
    assert readme.with_blocks(text, {"result": "new\\1"}) == text.replace("old", "new\\1")
    with pytest.raises(DataError, match="0 blocks between <!-- cost -->"):
        readme.with_blocks(text, {"cost": "new"})


def test_the_row_it_shows_is_read_as_it_says(tmp_path):
    line = re.search(r"```json\n(.*)\n```", TEXT)
    assert line is not None
    (tmp_path / "answers.jsonl").write_text(line[1] + "\n")
    ((_, table),) = open_local(tmp_path / "answers.jsonl").tables
    (row,) = table.to_dicts()
    assert [str(row[name]) for name in ("study_id", "condition_num", "response")] == ["wages", "1", "5"]
    assert row["demographic"]["gender"] == "Female"
    assert row["stimuli"].startswith("Should the wage rise?")
    assert set(json.loads(line[1])) == {"instruction", "input", "output", "study_id", "condition_num"}


def test_every_file_it_names_is_there():
    named = re.findall(r"`((?:docs|presets|examples|gsm8k|socrates|tests|stages)/[\w./-]*)`", TEXT)
    made = ("gsm8k/metrics/",)
    assert named
    assert [name for name in named if name not in made and not (ROOT / name).exists()] == []
