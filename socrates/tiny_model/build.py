"""The built-in base model: a small Qwen2 that knows the texts and the format, and nothing about people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from socrates.model.params import Model, Tiny
from socrates.model.prefix_sharing import pack, score_only, shared_attention
from socrates.model.tokenisation import Encoded, encode, end_token, stems, token_ids
from socrates.survey.prompts import Layout, answer_part, persona_expression, persona_part, scenario_part
from socrates.survey.scales import scale
from socrates.tiny_model.pretrain import Progress, optimise, save_builtin

PAD, END = "<|endoftext|>", "<|im_end|>"  # Qwen's names
CONTEXT = 4096  # positions
TEXT_TOKENS = 512  # of a step's prompts that carry loss; with a large vocabulary each is dear
INITIAL_STD = 0.06  # of the weights: a narrow model learns little from the usual 0.02 in few steps


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
        initializer_range=INITIAL_STD,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config).float()


# What has been answered so far, in tokens -> how many options of the scale go on with each token.
Continuations = dict[tuple[int, ...], Counter[int]]


def continuations(tokenizer: PreTrainedTokenizerBase, notations: Iterable[str]) -> dict[str, Continuations]:
    """The continuations of answers on each of the scales."""
    found: dict[str, Continuations] = {}
    for notation in sorted(set(notations)):
        begun: Continuations = defaultdict(Counter)
        for option in token_ids(tokenizer, [answer_part(option) for option in scale(notation).options]):
            ids = [*option.tolist(), end_token(tokenizer)]
            for place, token in enumerate(ids):
                begun[tuple(ids[:place])][token] += 1
        found[notation] = dict(begun)
    return found


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    answers: list[Continuations],
    tiny: Tiny,
    progress: Progress = iter,
) -> list[float]:
    """Teach a new model the texts and the answer format, and return the loss of each step.

    ``data`` holds answers drawn uniformly from each scale, so the model learns which answers are
    allowed and nothing about people. Answers carry loss, and a sample of the texts' tokens. The loss
    of an answer's token is the mean over the options that begin as the drawn one does: in expectation
    the loss of the drawn token, without the noise of the draw.

    Rows of a step are respondents of a few scenarios, so that each scenario is computed once.

    Args:
        answers: of each row's scale, from :func:`continuations`.
    """
    rng = np.random.default_rng(tiny.seed)
    by_scenario: dict[int, list[int]] = {}
    for row in range(len(data)):
        by_scenario.setdefault(int(data.scenario_of_row[row]), []).append(row)
    scenarios = sorted(by_scenario)
    per_step = max(tiny.pretrain_batch // 2, 1)

    def step_loss() -> torch.Tensor:
        chosen = rng.choice(scenarios, min(per_step, len(scenarios)), replace=False)
        rows = [int(row) for s in chosen for row in rng.choice(by_scenario[int(s)], 2)]
        inputs, targets, is_answer = _scored(data, rows, rng)
        logits = model(**inputs, use_cache=False).logits[0]
        expected = torch.zeros(int(is_answer.sum()), logits.shape[-1])
        begun = (
            (row, ids[:place]) for row in rows for ids in [data.answer(row)] for place in range(len(ids))
        )
        for place, (row, ids) in enumerate(begun):
            following = answers[row][tuple(ids.tolist())]
            expected[place, list(following)] = torch.tensor(list(following.values())) / following.total()
        # Answers are few among the tokens; weighed apart, the format is learned as fast as the text.
        text = F.cross_entropy(logits[~is_answer], targets[~is_answer])
        return F.cross_entropy(logits[is_answer], expected) + text

    with shared_attention(model):
        return optimise(model, step_loss, tiny, progress)


def _scored(
    data: Encoded, rows: list[int], rng: np.random.Generator
) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    """Packed inputs of rows, the tokens to predict ``[K]``, and which of them are answers ``[K]``.

    All answer tokens are to be predicted, and a random TEXT_TOKENS of the prompts' tokens. The first
    token of a sequence never is: where it follows a stem, it does so in several branches.
    """
    shared, of_branch = stems(data, rows)
    branches = [np.concatenate([data.own(row), data.answer(row)]) for row in rows]
    inputs = pack(shared, branches, of_branch)
    ends = np.cumsum([len(ids) for ids in [*shared, *branches]])
    text = np.ones(ends[-1], dtype=bool)
    text[np.concatenate([[0], ends[:-1]])] = False
    answers = np.zeros_like(text)
    for row, end in zip(rows, ends[len(shared) :], strict=True):
        answers[end - len(data.answer(row)) : end] = True
    candidates = np.flatnonzero(text & ~answers)
    chosen = rng.choice(candidates, min(TEXT_TOKENS, len(candidates)), replace=False)
    positions = np.sort(np.concatenate([np.flatnonzero(answers), chosen]))
    score_only(inputs, positions - 1)
    return inputs, inputs["input_ids"][0, positions], torch.from_numpy(answers[positions])


def uniform_answers(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``table`` with every response redrawn uniformly from its question's ``scale``.

    Rows whose question has no scale are left out.
    """
    rng = np.random.default_rng(seed)
    scaled = table.drop_nulls("scale")
    responses = np.zeros(len(scaled), dtype=np.int64)
    notations = scaled["scale"].to_numpy()
    for notation in sorted(set(notations)):
        rows = np.flatnonzero(notations == notation)
        responses[rows] = rng.choice(np.asarray(scale(notation).options), len(rows))
    return scaled.with_columns(response=pl.Series(responses))


def build_builtin(
    table: pl.DataFrame,
    params: Model,
    layout: Layout,
    folder: Path,
    progress: Progress = iter,
) -> str:
    """Make the built-in model from the training responses (``SCALED_RESPONSES``) and save it in ``folder``.

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
    allowed = continuations(tokenizer, data_table["scale"])
    answers = [allowed[notation] for notation in data_table["scale"]]
    losses = pretrain(model, data, answers, params.tiny, progress)
    return save_builtin(model, tokenizer, losses, folder)


def _texts(table: pl.DataFrame, layout: Layout) -> list[str]:
    """Distinct pieces of the prompts of a table, for the tokenizer to learn from."""
    pieces = table.select("stimuli", persona_expression())
    return [
        *(scenario_part(text, layout) for text in pieces["stimuli"].unique(maintain_order=True)),
        *(persona_part(text, layout) for text in pieces["persona"].unique(maintain_order=True)),
    ]
