"""A whole model as the base: a folder of this machine is pinned by its hashes and read where it lies."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from pydantic import ValidationError

from socrates.core.errors import ModelError
from socrates.core.params import read_yaml
from socrates.model import loading
from socrates.model.loading import limit_threads, pin
from socrates.model.params import Model, Prompt
from tests import model_folders, tiny


def settings(name: str) -> Model:
    raw = read_yaml(tiny.ROOT / "params.yaml")["model"]
    return Model.model_validate({**raw, "name": name, "quantization": "none"})


def test_a_folder_s_model_predicts_as_it_does_as_the_built_in_one(here):
    questions = model_folders.questions()
    expected = model_folders.trie(questions, "survey")
    shutil.copytree("models/base", "whole", ignore=shutil.ignore_patterns("manifest.json"))
    shutil.rmtree("models/base")
    Path("models/base").mkdir()
    assert "files in the folder" in pin(settings("./whole"), Path("models/base"))
    for (one, mass), (other, other_mass) in zip(
        expected, model_folders.trie(questions, "survey"), strict=True
    ):
        np.testing.assert_array_equal(one, other)
        assert mass == other_mass


@pytest.mark.parametrize("name", ["./nowhere", "./models"])
def test_a_folder_without_weights_is_refused(here, name):
    with pytest.raises(ModelError, match="holds no safetensors weights"):
        pin(settings(name), here)


def test_a_hub_model_without_a_commit_is_asked_for_one_and_the_released_prompt_has_one_order():
    with pytest.raises(
        ValidationError, match="needs a revision, a full 40-digit commit hash: its page on the hub"
    ):
        settings("socratesft/socrates-llama3-8b-sft")
    with pytest.raises(ValidationError, match="layout is persona_first"):
        Prompt(layout="scenario_first", max_length=64, format="socrates")


@pytest.mark.parametrize(
    ("variable", "most", "calls"), [(None, 10**9, [1]), ("2", 10**9, []), (None, 10, [])]
)
def test_only_a_small_model_is_put_on_one_thread_and_a_setting_stays(variable, most, calls, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(loading, "SMALL", most)
    monkeypatch.setattr(loading.torch, "set_num_threads", told := Mock())
    limit_threads(tiny.model())
    assert [call.args[0] for call in told.call_args_list] == calls
