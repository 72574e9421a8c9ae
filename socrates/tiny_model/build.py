"""A small Qwen2 made from nothing: tokenizer, weights, the loop of its pre-training, and its folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from socrates.core.files import json_text
from socrates.model.loading import file_hashes
from socrates.model.params import Model, Tiny

PAD, END = "<|endoftext|>", "<|im_end|>"  # Qwen's names
CONTEXT = 4096  # positions
INITIAL_STD = 0.06  # of the weights: a narrow model learns little from the usual 0.02 in few steps


def make_tokenizer(params: Model, texts: list[str], superwords: bool = False) -> PreTrainedTokenizerBase:
    """The local tokenizer that ``params`` name, or a new one trained on ``texts``."""
    if params.tokenizer:
        return AutoTokenizer.from_pretrained(params.tokenizer, trust_remote_code=False)
    return train_tokenizer(texts, params.tiny.vocab_size, superwords)


def train_tokenizer(texts: list[str], vocab_size: int, superwords: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which, as in Qwen's, every digit is a token of its own.

    ``superwords`` (Liu et al. 2025, arXiv 2503.13423) also join words that often follow each other within a clause:
    prompts of a third of the tokens are what a model of this size can learn to look back over within minutes. A name
    in quotation marks never joins its neighbours.
    """
    split, alphabet = pre_tokenizers.Split, pre_tokenizers.ByteLevel.alphabet()
    pieces = [split(Regex(r'\d|\n+|"[^"]*"' if superwords else r"\d|\n+"), "isolated")]
    if superwords:
        pieces.append(split(Regex(r"[.;?!,]"), "merged_with_previous"))
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not superwords)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*pieces, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    size: dict[str, Any] = {"vocab_size": vocab_size, "initial_alphabet": sorted(alphabet)}
    trainer = trainers.BpeTrainer(**size, special_tokens=[PAD, END], show_progress=False)
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
        num_key_value_heads=tiny.heads // 2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=INITIAL_STD,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config).float()


def train_new(
    model: PreTrainedModel, step_loss: Callable[[], torch.Tensor], tiny: Tiny, name: str
) -> list[float]:
    """Train a new model, and return the loss of each step; ``step_loss`` gives that of the next, with its graph."""
    rate, steps = tiny.pretrain_learning_rate, tiny.pretrain_steps
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    losses: list[float] = []
    model.train()
    for _ in tqdm(range(steps), desc=name):
        loss = step_loss()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses


def save_builtin(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    losses: list[float],
    folder: Path,
    **about: Any,
) -> str:
    """Save tokenizer, weights (safetensors) and ``manifest.json`` with ``about``; returns one line about the model."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = {
        "kind": "builtin",
        "parameters": model.num_parameters(),
        "pretrain_loss": {"first": losses[0], "last": losses[-1]},
        **about,
        "files": file_hashes(folder),
    }
    (folder / "manifest.json").write_text(json_text(manifest))
    return (
        f"{model.num_parameters():,} parameters, {len(tokenizer):,} tokens, "
        f"pre-training loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps"
    )
