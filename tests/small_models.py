"""A base model and an adapter that changes its answers, as the stages leave them, without training."""

from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import LoraConfig, get_peft_model
from ruamel.yaml import YAML

from socrates.core.params import parse, read_yaml
from socrates.data.params import World
from socrates.data.scales.resolve import resolve_scales
from socrates.data.synthetic.generate import generate
from socrates.model.encoding import encode
from socrates.model.loading import load_base, load_tokenizer
from socrates.model.params import Model
from socrates.prediction.distributions import predict_distributions
from socrates.prediction.predict import PredictionInputs, usable_rows
from socrates.prediction.table import predictions_table
from socrates.tiny_model.pretrain import build_builtin
from tests import tiny


def write_inputs(folder: Path, raw: dict[str, Any], ends: tuple[int, ...]) -> Model:
    """Write params.yaml, data/splits/ and models/base/ under ``folder``, as the stages before train leave them.

    Args:
        ends: how many of eight studies come before the end of train, val, and test.
    """
    raw["prompt"]["max_length"] = 400
    params = parse(raw)["model"]
    assert isinstance(params, Model)
    YAML().dump(raw, folder / "params.yaml")
    responses, _ = generate(World(studies=8, participants=6, effects="large", seed=1))
    studies = sorted(responses["study_id"].unique())
    (folder / "data/splits").mkdir(parents=True, exist_ok=True)
    for name, start, end in zip(("train", "val", "test"), (0, *ends), ends, strict=False):
        rows = resolve_scales(responses.filter(pl.col("study_id").is_in(studies[start:end])))
        rows.write_parquet(folder / f"data/splits/{name}.parquet")
        if name == "train":
            (folder / "models/base").mkdir(parents=True, exist_ok=True)
            build_builtin(rows, params, "scenario_first", folder / "models/base")
    return params


def write_models(folder: Path, quantization: str = "nf4") -> Model:
    """Write params.yaml, data/splits/, models/base/ and models/adapter/ under ``folder``."""
    raw = read_yaml(tiny.ROOT / "params.yaml")
    raw["model"] |= {"quantization": quantization}
    raw["model"]["tiny"] |= {**tiny.TINY.model_dump(), "hidden_size": 64, "intermediate_size": 128}
    params = write_inputs(folder, raw, (4, 6, 8))
    lora = LoraConfig(
        r=4, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    torch.manual_seed(4)
    model = get_peft_model(load_base(folder / "models/base", params), lora)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # a new adapter's B is zero, and changes nothing
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(str(folder / "models/adapter"))
    (folder / "models/adapter/README.md").unlink(missing_ok=True)
    load_tokenizer(folder / "models/base").save_pretrained(str(folder / "models/adapter"))
    return params


def predict_table(table: pl.DataFrame, inputs: PredictionInputs) -> tuple[pl.DataFrame, dict[str, Any]]:
    """The predictions of a table and their manifest, in memory: what the stage writes must equal it."""
    tokenizer, prompt = load_tokenizer(inputs.base), inputs.prompt
    data = encode(table, tokenizer, prompt.layout, prompt.format)
    rows, data, excluded = usable_rows(table, data, prompt, inputs.predict)
    scales, tokens = rows["scale"].to_list(), inputs.predict.tokens_per_batch
    found, mass = predict_distributions(inputs.loaded, tokenizer, data, scales, tokens)
    return predictions_table(rows, found.values, found.offsets, mass, excluded)
