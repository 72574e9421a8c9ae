"""Which folders of predictions the stage compares, and which baseline is the opponent."""

import json
from pathlib import Path

import pytest

from stages.evaluate import best_baseline, old_baselines


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    """Predictors' tables, whose manifests have a validation score if they are baselines."""
    scores = {"adapter": None, "words": 0.1, "nearest": 0.2, "other_tasks": 0.3}
    for name, score in scores.items():
        (tmp_path / name).mkdir()
        told = {} if score is None else {"validation_rps": score}
        (tmp_path / name / "manifest.json").write_text(json.dumps(told))
    return {name: tmp_path / name / "predictions.parquet" for name in scores}


def test_a_baseline_that_is_not_asked_for_any_more_is_left_out(paths: dict[str, Path]) -> None:
    assert old_baselines(paths, ["words", "other_tasks"]) == ["nearest"]


def test_the_opponent_is_the_best_on_validation_or_whoever_copies(paths: dict[str, Path]) -> None:
    assert best_baseline(paths) == "other_tasks"
    del paths["other_tasks"]
    assert best_baseline(paths) == "words"
    assert best_baseline({"adapter": paths["adapter"]}) is None
