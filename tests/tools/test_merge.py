"""The merged model answers as base and adapter do, and one that does not is never written."""

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.core.errors import ModelError
from socrates.core.params import load
from socrates.model import loading
from socrates.model.params import Model
from socrates.tools import merge as merging
from socrates.tools.merge import merge
from tests import tiny
from tests.small_models import write_models


@pytest.fixture(scope="module", params=["nf4", "none"])
def project(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    write_models(folder, request.param)
    return folder


def test_merged_and_adapter_give_the_same_distributions(project, tmp_path):
    found = merge(project, tmp_path / "merged", rows=10)
    assert found["rows"] == 10
    assert max(found["largest_distance"], found["mean_mass_difference"]) < 1e-4
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "merge.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) or "adapter" in name for name in names)
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
    record = json.loads((tmp_path / "merged/merge.json").read_text())
    assert record["check"] == found


def test_a_gpu_without_room_for_the_unpacked_weights_is_one_line(project, tmp_path, monkeypatch):
    def dequantize(self: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("transformers.PreTrainedModel.dequantize", dequantize)
    if load(Model, project / "params.yaml").quantization != "nf4":
        merge(project, tmp_path / "merged", rows=2)  # nothing is unpacked
        return
    with pytest.raises(ModelError, match=r"no room for the unpacked weights.*SOCRATES_CPU=1 socrates merge"):
        merge(project, tmp_path / "merged", rows=2)
    assert not (tmp_path / "merged").exists()


def test_the_adapter_is_added_to_what_nf4_represents(project):
    """Only where the base is quantised do the merged weights differ from original plus adapter."""
    params = load(Model, project / "params.yaml")
    folders = [project / "models/base", project / "models/adapter"]
    weights = dict(merging.merged_model(*folders, params, torch.float32).named_parameters())
    model = loading.load_model(*folders, params)
    assert isinstance(model, PeftModel)
    original = load_file(project / "models/base/model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    layer = model.get_base_model().get_submodule(name)
    delta = layer.get_delta_weight("default").float()
    distance = (weights[f"{name}.weight"] - original[f"{name}.weight"] - delta).abs().max()
    assert (distance > 1e-3) == (params.quantization == "nf4")
    untouched = "model.layers.0.self_attn.k_proj.weight"  # quantised too, and without an adapter
    assert ((weights[untouched] - original[untouched]).abs().max() > 1e-3) == (params.quantization == "nf4")


def test_a_slight_adapter_is_not_rounded_away_in_bfloat16():
    torch.manual_seed(3)
    lora = LoraConfig(r=4, target_modules=["q_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(tiny.model().bfloat16(), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=3e-4)
    layers = {
        name: (layer.get_base_layer().weight.float().clone(), layer.get_delta_weight("default").float())
        for name, layer in model.get_base_model().named_modules()
        if isinstance(layer, LoraLayer)
    }
    merged = merging.round_weights(model.float().merge_and_unload(), torch.bfloat16)
    wanted, kept, nearest = 0.0, 0.0, 0.0
    for name, (base, delta) in layers.items():
        wanted += (delta**2).sum().item()
        kept += ((merged.get_submodule(name).weight.float() - base) * delta).sum().item()
        nearest += (((base + delta).bfloat16().float() - base) * delta).sum().item()
    assert nearest / wanted < 0.3  # what would be left of it
    assert kept / wanted == pytest.approx(1, abs=0.2)


def test_the_adapter_and_its_base_are_let_go_before_the_merged_model_is_loaded(
    project, tmp_path, monkeypatch
):
    load, write, seen = loading.load_model, merging.merged_model, []

    def loaded(*arguments: Any) -> Any:
        model = load(*arguments)
        seen.append(weakref.ref(model.get_base_model().model.layers[0].mlp.gate_proj.weight))
        return model

    def written(*arguments: Any) -> Any:
        assert seen[0]() is None
        return write(*arguments)

    monkeypatch.setattr(loading, "load_model", loaded)
    monkeypatch.setattr(merging, "merged_model", written)
    merge(project, tmp_path / "merged", rows=10)


def test_a_merge_that_differs_is_refused_and_leaves_nothing(project, tmp_path, monkeypatch):
    def forgetful(base: Path, adapter: Path, params: Model, dtype: torch.dtype) -> Any:
        model = loading.load_base(base, params)
        return model.dequantize() if params.quantization == "nf4" else model

    monkeypatch.setattr(merging, "merged_model", forgetful)
    with pytest.raises(ModelError, match=r"not written; the answers of merged and adapter differ by \d"):
        merge(project, tmp_path / "merged", rows=10)
    assert list(tmp_path.iterdir()) == []


def test_the_command_reports_the_distance(project, monkeypatch):
    monkeypatch.chdir(project)

    def talkative(*arguments: Any) -> Any:
        print("a library's log")
        return merge(*arguments)

    monkeypatch.setattr(merging, "merge", talkative)
    result = CliRunner().invoke(app, ["merge", "--rows", "10", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)  # and nothing else is on standard output
    assert found["out"] == "models/merged" and found["rows"] == 10
    assert 0 <= found["mean_distance"] <= found["tolerance"]
