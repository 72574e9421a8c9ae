"""The built-in base model of surveys: it has read, it knows the answer format, and nothing about people.

What it reads are the texts that the source wrote beside the responses, if any, and the prompts. Every
response it sees is redrawn uniformly from its question's scale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from socrates.model.answer_trie import option_ids
from socrates.model.encoding import Encoded, encode
from socrates.model.loading import limit_threads
from socrates.model.params import Model, Tiny
from socrates.model.prefix_sharing import pack, suffix_offsets, use_prefix_sharing
from socrates.model.tokenisation import Ids, end_token, token_ids
from socrates.survey.prompts import Layout, persona_expression, template
from socrates.survey.scales import scale
from socrates.tiny_model.build import Progress, make_tokenizer, new_model, save_builtin, train_new
from socrates.tiny_model.knowledge import shares_known

EMPTY: Ids = np.zeros(0, dtype=np.int32)
READING_BATCH = 96  # texts per step
TEXT_TOKENS = 512  # of a step's prompts that carry loss; with a large vocabulary each is dear


@dataclass(frozen=True)
class Reading:
    """What the model reads besides prompts, and what it should know afterwards.

    Attributes:
        texts: one document each.
        quiz: ``socrates.data.synthetic.corpus.QUIZ``; may be empty.
    """

    texts: Sequence[str] = ()
    quiz: pl.DataFrame = field(default_factory=pl.DataFrame)


def build_builtin(
    table: pl.DataFrame,
    reading: Reading,
    params: Model,
    layout: Layout,
    folder: Path,
    progress: Progress = iter,
) -> str:
    """Make the built-in model from the training responses (``SCALED_RESPONSES``) and save it in ``folder``.

    The folder gets tokenizer, weights (safetensors) and ``manifest.json``. Returns one line about it.
    """
    redrawn = uniform_answers(table, params.tiny.seed)
    tokenizer = make_tokenizer(params, [*_texts(redrawn, layout), *reading.texts], superwords=True)
    data = encode(redrawn, tokenizer, layout)
    options = {notation: option_ids(tokenizer, notation) for notation in redrawn["scale"].unique()}
    model = new_model(params.tiny, tokenizer)
    limit_threads(model)
    of_row = [options[notation] for notation in redrawn["scale"]]
    documents = document_ids(tokenizer, reading.texts)
    losses = pretrain(model, data, of_row, documents, params.tiny, progress)
    knows = shares_known(model, tokenizer, reading.quiz, table["study_id"])
    told = "".join(f", knows {share:.3f} of {kind} facts" for kind, share in knows.items())
    return save_builtin(model, tokenizer, losses, folder, {"knows": knows} if knows else {}) + told


def document_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Ids]:
    """Ids of each text to read, with the end token."""
    end = np.full(1, end_token(tokenizer), dtype=np.int32)
    return [np.concatenate([ids, end]) for ids in token_ids(tokenizer, texts)]


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
    texts, words = table.select("stimuli", persona_expression()), template(layout)
    return [
        *map(words.scenario_part, texts["stimuli"].unique(maintain_order=True)),
        *map(words.persona_part, texts["persona"].unique(maintain_order=True)),
    ]


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    options_of_row: Sequence[list[Ids]],
    documents: Sequence[Ids],
    tiny: Tiny,
    progress: Progress = iter,
) -> list[float]:
    """Teach a new model to read and the answer format, and return the loss of each step.

    A step has ``READING_BATCH`` documents and ``tiny.pretrain_batch`` rows. Answers carry loss, all
    tokens of the documents, and a sample of the prompts' tokens. Rows of a step are respondents of a few
    scenarios, so that each scenario is computed once.

    Args:
        data: rows from :func:`uniform_answers`.
        options_of_row: from :func:`socrates.model.answer_trie.option_ids`.
        documents: from :func:`document_ids`; may be none.
    """
    rng = np.random.default_rng(tiny.seed)
    by_scenario: dict[int, list[int]] = {}
    for row in range(len(data)):
        by_scenario.setdefault(int(data.scenario_of_row[row]), []).append(row)
    scenarios = sorted(by_scenario)
    read = shuffled_batches(documents, READING_BATCH, rng)
    per_step = min(max(tiny.pretrain_batch // 2, 1), len(scenarios))

    def step_loss() -> torch.Tensor:
        chosen = rng.choice(scenarios, per_step, replace=False)
        rows = [int(row) for scenario in chosen for row in rng.choice(by_scenario[int(scenario)], 2)]
        inputs, targets, is_answer = _step_inputs(data, rows, next(read), rng)
        logits = model(**inputs, use_cache=False).logits[0]
        answers = [(options_of_row[row], data.answer_ids(row)) for row in rows]
        expected = torch.cat([answer_targets(*answer, logits.shape[-1]) for answer in answers])
        # Answers are few among the tokens; weighed apart, the format is learned as fast as the text.
        text_loss = F.cross_entropy(logits[~is_answer], targets[~is_answer])
        return F.cross_entropy(logits[is_answer], expected) + text_loss

    use_prefix_sharing(model)
    return train_new(model, step_loss, tiny, progress)


def shuffled_batches(documents: Sequence[Ids], size: int, rng: np.random.Generator) -> Iterator[list[Ids]]:
    """``size`` documents at a time, all of them once before any is read again; nothing where there are none."""
    while True:
        order = rng.permutation(len(documents))
        for start in range(0, max(len(order) - size, 0) + 1, size):
            yield [documents[i] for i in order[start : start + size]]


def _step_inputs(
    data: Encoded, rows: list[int], documents: list[Ids], rng: np.random.Generator
) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor]:
    """Packed inputs of rows and documents, the tokens to predict ``[K]``, and which of them are answers ``[K]``.

    To be predicted are all answer tokens, all of the documents and a random :data:`TEXT_TOKENS` of the prompts'.
    The first token of a prefix or suffix never is: after a prefix, several suffixes begin. A document is a
    suffix of nothing.
    """
    prefixes, prefix_index = data.distinct_prefixes(rows)
    prefixes = [*prefixes, EMPTY]
    prefix_index = [*prefix_index, *[len(prefixes) - 1] * len(documents)]
    suffixes = [np.concatenate([data.suffix_ids(row), data.answer_ids(row)]) for row in rows]
    prompts_end = sum(map(len, prefixes)) + sum(map(len, suffixes))
    suffixes += documents
    packed = np.concatenate([*prefixes, *suffixes]).astype(np.int64)
    is_answer = np.zeros(len(packed), dtype=bool)
    for row, start in zip(rows, suffix_offsets(prefixes, suffixes), strict=False):
        first = start + len(data.suffix_ids(row))
        is_answer[first : first + len(data.answer_ids(row))] = True
    is_text = ~is_answer
    is_text[np.cumsum([0, *(len(ids) for ids in [*prefixes, *suffixes[:-1]])])] = False
    candidates = np.flatnonzero(is_text[:prompts_end])
    is_text[rng.permutation(candidates)[TEXT_TOKENS:]] = False
    positions = np.flatnonzero(is_answer | is_text)
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
