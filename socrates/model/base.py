"""The base model: a small Qwen2 made here, or a pinned hub revision.

The stage's output is a folder. For the built-in model it holds tokenizer and weights; for a hub
model only ``manifest.json`` with the revision and the hashes of its files, because 28 GB belong in
the hub's cache and not in DVC's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from bitsandbytes.nn import Linear4bit
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from peft import PeftModel
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from socrates.errors import ModelError
from socrates.files import json_text, sha256
from socrates.model.encoding import Encoded, encode, end_token, stems
from socrates.model.shared import IGNORED, pack, shared_attention
from socrates.params.model import Model, Tiny
from socrates.survey.prompts import Layout, persona_expression, persona_part, scenario_part
from socrates.survey.resolution import resolve_scales
from socrates.survey.scales import scale

HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
PAD, END = "<|endoftext|>", "<|im_end|>"  # Qwen's names
CONTEXT = 4096  # positions of the built-in model


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which, as in Qwen's, every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d|\n+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def new_model(tiny: Tiny, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """A randomly initialised Qwen2 of the size in ``tiny``, in float32."""
    torch.manual_seed(tiny.seed)
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=tiny.hidden_size,
        intermediate_size=tiny.intermediate_size,
        num_hidden_layers=tiny.layers,
        num_attention_heads=tiny.heads,
        num_key_value_heads=tiny.kv_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config).float()


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    tiny: Tiny,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[float]:
    """Teach a new model the texts and the answer format, and return the loss of each step.

    ``data`` holds answers drawn uniformly from each scale, so the model learns which answers are
    allowed and nothing about people. All tokens carry loss, except the first of a persona: it
    follows the scenario in several branches at once.

    Rows of a step are respondents of a few scenarios, so that each scenario is computed once.
    """
    rng = np.random.default_rng(tiny.seed)
    by_scenario: dict[int, list[int]] = {}
    for row in range(len(data)):
        by_scenario.setdefault(int(data.scenario_of_row[row]), []).append(row)
    scenarios = sorted(by_scenario)
    per_step = max(tiny.pretrain_batch // 4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=tiny.pretrain_learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, tiny.pretrain_learning_rate, total_steps=tiny.pretrain_steps, pct_start=0.1
    )
    losses: list[float] = []
    model.train()
    with shared_attention(model):
        for _ in progress(range(tiny.pretrain_steps)):
            chosen = rng.choice(scenarios, min(per_step, len(scenarios)), replace=False)
            rows = [int(row) for s in chosen for row in rng.choice(by_scenario[int(s)], 4)]
            inputs, labels = _all_tokens(data, rows)
            logits = model(**inputs, use_cache=False).logits[0]
            loss = F.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    model.eval()
    return losses


def _all_tokens(data: Encoded, rows: list[int]) -> tuple[dict[str, Any], torch.Tensor]:
    """Packed inputs of rows, and labels ``[T]`` of every token but the first of each sequence."""
    shared, of_branch = stems(data, rows)
    branches = [np.concatenate([data.own(row), data.answer(row)]) for row in rows]
    inputs = pack(shared, branches, of_branch)
    labels = inputs["input_ids"][0].clone()
    starts = np.cumsum([0, *(len(ids) for ids in [*shared, *branches])])[:-1]
    labels[torch.from_numpy(starts)] = IGNORED
    return inputs, labels


def uniform_answers(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``table`` with every response redrawn uniformly from its question's scale.

    Rows whose question has no scale are left out.
    """
    rng = np.random.default_rng(seed)
    scaled = resolve_scales(table, table).filter(pl.col("scale").is_not_null())
    responses = np.zeros(len(scaled), dtype=np.int64)
    notations = scaled["scale"].to_numpy()
    for notation in sorted(set(notations)):
        rows = np.flatnonzero(notations == notation)
        responses[rows] = rng.choice(np.asarray(scale(notation).options), len(rows))
    return scaled.select(table.columns).with_columns(response=pl.Series(responses))


def build_builtin(
    table: pl.DataFrame,
    params: Model,
    layout: Layout,
    folder: Path,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> str:
    """Make the built-in model from a table of training responses and save it in ``folder``.

    The folder gets tokenizer, weights (safetensors) and ``manifest.json``. Returns one line about it.
    """
    data_table = uniform_answers(table, params.tiny.seed)
    if params.tokenizer:
        tokenizer = AutoTokenizer.from_pretrained(params.tokenizer, trust_remote_code=False)
    else:
        tokenizer = train_tokenizer(_texts(data_table, layout), params.tiny.vocab_size)
    end_token(tokenizer)
    data = encode(data_table, tokenizer, layout)
    model = new_model(params.tiny, tokenizer)
    losses = pretrain(model, data, params.tiny, progress)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = {
        "kind": "builtin",
        "parameters": model.num_parameters(),
        "pretrain_loss": {"first": losses[0], "last": losses[-1]},
        "files": file_hashes(folder),
    }
    (folder / "manifest.json").write_text(json_text(manifest))
    return (
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens, "
        f"pre-training loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps"
    )


def _texts(table: pl.DataFrame, layout: Layout) -> list[str]:
    """Distinct pieces of the prompts of a table, for the tokenizer to learn from."""
    pieces = table.select("stimuli", persona_expression())
    return [
        *(scenario_part(text, layout) for text in pieces["stimuli"].unique(maintain_order=True)),
        *(persona_part(text, layout) for text in pieces["persona"].unique(maintain_order=True)),
    ]


def pin_hub(params: Model, folder: Path) -> str:
    """Fetch a hub model at its revision into the hub's cache and write its manifest to ``folder``.

    Raises:
        ModelError: the hub cannot be reached and the cache lacks the revision, or the revision has
            no safetensors.
    """
    try:
        cache = Path(snapshot_download(params.name, revision=params.revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{params.name}@{params.revision}: could not be fetched ({type(error).__name__}); "
            "check the network and the name, or fill the hub cache and set HF_HUB_OFFLINE=1"
        ) from None
    hashes = file_hashes(cache)
    if not any(name.endswith(".safetensors") for name in hashes):
        raise ModelError(f"{params.name}@{params.revision}: holds no safetensors weights")
    manifest = {"kind": "hub", "name": params.name, "revision": params.revision, "files": hashes}
    (folder / "manifest.json").write_text(json_text(manifest))
    return f"{params.name}@{params.revision}, {len(hashes)} files in the hub cache"


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a base folder (or of the hub revision its manifest names)."""
    name, options = _where(folder)
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)


def load_base(folder: Path, params: Model) -> PreTrainedModel:
    """The base model of a folder, quantised as ``params`` say, on the device that is there.

    Compute is bfloat16 on a GPU and float32 on a CPU, where bfloat16 is slower.
    """
    name, options = _where(folder)
    dtype = compute_dtype()
    if params.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=params.double_quantization,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        name,
        dtype=dtype,
        device_map={"": device()},
        trust_remote_code=False,
        use_safetensors=True,
        **options,
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Where a CPU has AVX512-BF16, bitsandbytes repacks weights for bfloat16 inference at the
            # first evaluation; training cannot go on from there, and float32 is what we compute in.
            module.support_avx512bf16_for_cpu = False
    return model


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """``model`` with the adapter of a folder, for inference.

    Raises:
        ModelError: the folder holds no adapter that fits the model.
    """
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder}: not an adapter of this base model ({str(error)[:200]})") from None


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def _where(folder: Path) -> tuple[str, dict[str, Any]]:
    """What to give ``from_pretrained`` for a base folder."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        raise ModelError(f"{path}: missing or damaged; run dvc repro base") from None
    if manifest["kind"] == "builtin":
        return str(folder), {}
    return manifest["name"], {"revision": manifest["revision"]}
