"""The folders of a tiny base model and its adapter, as the pipeline leaves them, for tests that ask it."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from socrates.core.files import sha256, write_json
from socrates.core.params import read_yaml
from socrates.model.encoding import encode, prompt_template
from socrates.model.loading import file_hashes, load_base, load_tokenizer
from socrates.model.params import Model
from socrates.prediction.distributions import predict_distributions
from socrates.survey.prompts import Format
from socrates.survey.scales import scale
from tests import tiny

RANK, ALPHA, TARGETS = 2, 8, ("q_proj", "v_proj", "down_proj")
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>\n{{ message.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
PERSONAS = ["Age: 30; Gender: Female", "Age: 61", "unknown"]


def make(folder: Path) -> None:
    """``models/base``, ``models/adapter`` and ``data/splits/train.parquet`` in ``folder``."""
    base, adapter = folder / "models/base", folder / "models/adapter"
    model = tiny.model()
    model.save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    write_json(base / "manifest.json", {"kind": "builtin", "files": file_hashes(base)})
    adapter.mkdir(parents=True)
    generator = torch.Generator().manual_seed(11)
    weights = {}
    for name, module in model.named_modules():
        if name.endswith(TARGETS):
            for side, shape in {"A": (RANK, module.in_features), "B": (module.out_features, RANK)}.items():
                key = f"base_model.model.{name}.lora_{side}.weight"
                weights[key] = 0.3 * torch.randn(shape, generator=generator)
    save_file(weights, adapter / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "inference_mode": True}
    told |= {"r": RANK, "lora_alpha": ALPHA, "target_modules": TARGETS}
    write_json(adapter / "adapter_config.json", told)
    prompt = {"layout": "scenario_first", "max_length": 512}
    write_json(
        adapter / "training.json", {"base": sha256(base / "manifest.json"), "params": {"prompt": prompt}}
    )
    table = folder / "data/splits/train.parquet"
    table.parent.mkdir(parents=True)
    tiny.rows(12).write_parquet(table)


def questions() -> pl.DataFrame:
    """Every persona asked every scenario of the tiny survey."""
    scales = {1: "1..7", 2: "0..100", 3: "1,2"}
    rows = [(who, text, scales[task]) for who in PERSONAS for task, text in tiny.SCENARIOS.items()]
    return pl.DataFrame(rows, schema=["persona", "stimuli", "scale"], orient="row")


def trie(questions: pl.DataFrame, form: Format) -> list[tuple[np.ndarray, float]]:
    """The exact distribution of each question in a format, and the mass on allowed answers, of ``models/base``."""
    base = Path("models/base")
    data = encode(questions.with_columns(response=0), load_tokenizer(base), "scenario_first", form)
    params = read_yaml(tiny.ROOT / "params.yaml")["model"] | {"quantization": "none"}
    model, scales = load_base(base, Model.model_validate(params)), questions["scale"].to_list()
    shares, mass = predict_distributions(model, load_tokenizer(base), data, scales, 4096)
    return list(zip(shares, mass.tolist(), strict=True))


def teach_to_answer(questions: pl.DataFrame) -> None:
    """Give ``models/base`` a chat template, and the habit of answering with an allowed number."""
    base, rng = Path("models/base"), np.random.default_rng(0)
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    templates = [prompt_template(tokenizer, "scenario_first", form) for form in ("survey", "chat")]
    for step in range(80):
        text, persona, notation = questions.select("stimuli", "persona", "scale").row(step % len(questions))
        answer = str(rng.choice(scale(notation).options)) + tokenizer.eos_token
        prompt = templates[step // len(questions) % 2].prompt(text, persona)
        ids = tokenizer(prompt + answer, return_tensors="pt")["input_ids"]
        labels = ids.where(torch.arange(ids.shape[1]) >= ids.shape[1] - 2, -100)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(base)


def cli(*arguments: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of ``python -m socrates`` run in ``folder``."""
    return [sys.executable, "-m", "socrates", *arguments], {
        "PYTHONPATH": str(tiny.ROOT),
        "OMP_NUM_THREADS": "1",
        "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
        "SOCRATES_SCRATCH": str(folder / ".scratch"),
        "COLUMNS": "200",
    }
