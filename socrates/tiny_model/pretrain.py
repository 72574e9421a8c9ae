"""The built-in base model of surveys: it knows the texts and the answer format, and nothing about people.

Every response it sees is redrawn uniformly from its question's scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from socrates.model.answer_trie import option_ids
from socrates.model.encoding import Encoded, encode
from socrates.model.params import Model, Tiny
from socrates.model.prefix_sharing import pack, suffix_offsets, use_prefix_sharing
from socrates.model.tokenisation import Ids
from socrates.survey.prompts import Layout, persona_expression, persona_part, scenario_part
from socrates.survey.scales import scale
from socrates.tiny_model.build import Progress, make_tokenizer, new_model, save_builtin, train_new

TEXT_TOKENS = 512  # of a step's prompts that carry loss; with a large vocabulary each is dear


def build_builtin(
    table: pl.DataFrame, params: Model, layout: Layout, folder: Path, progress: Progress = iter
) -> str:
    """Make the built-in model from the training responses (``SCALED_RESPONSES``) and save it in ``folder``.

    The folder gets tokenizer, weights (safetensors) and ``manifest.json``. Returns one line about it.
    """
    redrawn = uniform_answers(table, params.tiny.seed)
    tokenizer = make_tokenizer(params, _texts(redrawn, layout))
    data = encode(redrawn, tokenizer, layout)
    options = {notation: option_ids(tokenizer, notation) for notation in redrawn["scale"].unique()}
    model = new_model(params.tiny, tokenizer)
    losses = pretrain(
        model, data, [options[notation] for notation in redrawn["scale"]], params.tiny, progress
    )
    return save_builtin(model, tokenizer, losses, folder)


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


def _texts(table: pl.DataFrame, layout: Layout) -> list[str]:
    """Distinct parts of the prompts of a table, for the tokenizer to learn from."""
    texts = table.select("stimuli", persona_expression())
    return [
        *(scenario_part(text, layout) for text in texts["stimuli"].unique(maintain_order=True)),
        *(persona_part(text, layout) for text in texts["persona"].unique(maintain_order=True)),
    ]


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    options_of_row: Sequence[list[Ids]],
    tiny: Tiny,
    progress: Progress = iter,
) -> list[float]:
    """Teach a new model the texts and the answer format, and return the loss of each step.

    Answers carry loss, and a sample of the prompts' tokens. Rows of a step are respondents of a few
    scenarios, so that each scenario is computed once.

    Args:
        data: rows from :func:`uniform_answers`.
        options_of_row: from :func:`socrates.model.answer_trie.option_ids`.
    """
    rng = np.random.default_rng(tiny.seed)
    by_scenario: dict[int, list[int]] = {}
    for row in range(len(data)):
        by_scenario.setdefault(int(data.scenario_of_row[row]), []).append(row)
    scenarios = sorted(by_scenario)
    per_step = min(max(tiny.pretrain_batch // 2, 1), len(scenarios))

    def step_loss() -> torch.Tensor:
        chosen = rng.choice(scenarios, per_step, replace=False)
        rows = [int(row) for scenario in chosen for row in rng.choice(by_scenario[int(scenario)], 2)]
        inputs, targets, is_answer = _step_inputs(data, rows, rng)
        logits = model(**inputs, use_cache=False).logits[0]
        answers = [(options_of_row[row], data.answer_ids(row)) for row in rows]
        expected = torch.cat([answer_targets(*answer, logits.shape[-1]) for answer in answers])
        # Answers are few among the tokens; weighed apart, the format is learned as fast as the text.
        text_loss = F.cross_entropy(logits[~is_answer], targets[~is_answer])
        return F.cross_entropy(logits[is_answer], expected) + text_loss

    use_prefix_sharing(model)
    return train_new(model, step_loss, tiny, progress)


def _step_inputs(
    data: Encoded, rows: list[int], rng: np.random.Generator
) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    """Packed inputs of rows, the tokens to predict ``[K]``, and which of them are answers ``[K]``.

    All answer tokens are to be predicted, and a random :data:`TEXT_TOKENS` of the prompts' tokens. The first
    token of a prefix or suffix never is: after a prefix, several suffixes begin.
    """
    prefixes, prefix_index = data.distinct_prefixes(rows)
    suffixes = [np.concatenate([data.suffix_ids(row), data.answer_ids(row)]) for row in rows]
    packed = np.concatenate([*prefixes, *suffixes]).astype(np.int64)
    starts = suffix_offsets(prefixes, suffixes)
    is_answer = np.zeros(len(packed), dtype=bool)
    for row, start, suffix in zip(rows, starts, suffixes, strict=True):
        is_answer[start + len(data.suffix_ids(row)) : start + len(suffix)] = True
    is_text = ~is_answer
    is_text[np.cumsum([0, *(len(ids) for ids in [*prefixes, *suffixes[:-1]])])] = False
    candidates = np.flatnonzero(is_text)
    sampled = rng.choice(candidates, min(TEXT_TOKENS, len(candidates)), replace=False)
    positions = np.sort(np.concatenate([np.flatnonzero(is_answer), sampled]))
    inputs = pack(prefixes, suffixes, prefix_index, logits_to_keep=positions - 1)
    return inputs, torch.from_numpy(packed[positions]), torch.from_numpy(is_answer[positions])


def answer_targets(options: list[Ids], answer: Ids, vocabulary: int) -> torch.Tensor:
    """What each token of an answer is trained towards, ``[tokens, vocabulary]``.

    The share of each token among the options that begin as the answer does: in expectation the loss of a
    drawn token, without the noise of the draw.

    Args:
        options: token ids of all options of the scale, the end token included; ``answer`` is one of them.
    """
    targets = torch.zeros(len(answer), vocabulary)
    for position, token in enumerate(answer):
        following = Counter(int(ids[position]) for ids in options)
        targets[position, list(following)] = torch.tensor(list(following.values())) / following.total()
        options = [ids for ids in options if ids[position] == token]
    return targets
