"""The built-in base model of surveys: it has read prompts and the texts that the source wrote beside the responses, and
knows the answer format, but nothing about people: every response it sees is redrawn uniformly from its scale."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from socrates.model.answer_trie import option_ids
from socrates.model.encoding import EMPTY, Encoded, encode
from socrates.model.loading import limit_threads
from socrates.model.params import Model, Tiny
from socrates.model.prefix_sharing import pack, suffix_offsets, use_prefix_sharing
from socrates.model.tokenisation import Ids, ended_ids, token_ids
from socrates.survey.prompts import Layout, persona_expression, template
from socrates.survey.scales import scale
from socrates.tiny_model.build import make_tokenizer, new_model, save_builtin, train_new

READING_BATCH = 96  # texts per step
TEXT_TOKENS = 512  # of a step's prompts that carry loss; with a large vocabulary each is dear


def build_builtin(
    table: pl.DataFrame,
    params: Model,
    layout: Layout,
    folder: Path,
    texts: Sequence[str] = (),
    quiz: pl.DataFrame | None = None,
) -> str:
    """Make the built-in model from the training responses (``SCALED_RESPONSES``) and save it; returns one line about
    it. ``texts`` are what it reads besides prompts, ``quiz`` (``socrates.data.synthetic.corpus.QUIZ``) what it should
    know afterwards."""
    redrawn, words = uniform_answers(table, params.tiny.seed), template(layout)
    parts = redrawn.select("stimuli", persona_expression())
    prompts = [
        *map(words.scenario_part, parts["stimuli"].unique(maintain_order=True)),
        *map(words.persona_part, parts["persona"].unique(maintain_order=True)),
    ]
    tokenizer = make_tokenizer(params, [*prompts, *texts], superwords=True)
    data = encode(redrawn, tokenizer, layout)
    options = {notation: option_ids(tokenizer, notation) for notation in redrawn["scale"].unique()}
    of_row = [options[notation] for notation in redrawn["scale"]]
    model = new_model(params.tiny, tokenizer)
    limit_threads(model)
    losses = pretrain(model, data, of_row, ended_ids(tokenizer, texts), params.tiny)
    if quiz is None or quiz.is_empty():
        return save_builtin(model, tokenizer, losses, folder)
    knows = shares_known(model, tokenizer, quiz, set(table["study_id"]))
    told = "".join(f", knows {share:.3f} of {kind} facts" for kind, share in knows.items())
    return save_builtin(model, tokenizer, losses, folder, knows=knows) + told


def uniform_answers(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``table`` with every response redrawn uniformly from its question's ``scale``; rows without one are left out."""
    rng = np.random.default_rng(seed)
    scaled = table.drop_nulls("scale")
    responses = np.zeros(len(scaled), dtype=np.int64)
    notations = scaled["scale"].to_numpy()
    for notation in sorted(set(notations)):
        rows = np.flatnonzero(notations == notation)
        responses[rows] = rng.choice(np.asarray(scale(notation).options), len(rows))
    return scaled.with_columns(response=pl.Series(responses))


def pretrain(
    model: PreTrainedModel,
    data: Encoded,
    options_of_row: Sequence[list[Ids]],
    documents: Sequence[Ids],
    tiny: Tiny,
) -> list[float]:
    """Teach a new model to read and the answer format, and return the loss of each step: ``READING_BATCH`` documents,
    with their end tokens, and ``tiny.pretrain_batch`` rows of :func:`uniform_answers`, pairs of respondents of a
    scenario. Answers carry loss, all tokens of the documents, and a sample of the prompts' tokens."""
    rng = np.random.default_rng(tiny.seed)
    by_scenario = np.argsort(data.scenario_of_row, kind="stable")
    respondents = np.split(by_scenario, np.cumsum(np.bincount(data.scenario_of_row))[:-1])
    per_step = min(max(tiny.pretrain_batch // 2, 1), len(respondents))
    read = shuffled_batches(documents, READING_BATCH, rng)

    def step_loss() -> torch.Tensor:
        chosen = rng.choice(len(respondents), per_step, replace=False)
        rows = [int(row) for scenario in chosen for row in rng.choice(respondents[scenario], 2)]
        inputs, targets, is_answer = _step_inputs(data, rows, next(read), rng)
        logits = model(**inputs, use_cache=False).logits[0]
        size = logits.shape[-1]
        expected = torch.cat(
            [answer_targets(options_of_row[row], data.answer_ids(row), size) for row in rows]
        )
        # Answers are few among the tokens; weighed apart, the format is learned as fast as the text.
        text_loss = F.cross_entropy(logits[~is_answer], targets[~is_answer])
        return F.cross_entropy(logits[is_answer], expected) + text_loss

    use_prefix_sharing(model)
    return train_new(model, step_loss, tiny, "pretrain")


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

    To be predicted are all answer tokens, all of the documents and a random :data:`TEXT_TOKENS` of the prompts'; the
    first of a prefix or suffix never is: after a prefix, several suffixes begin. A document is a suffix of nothing."""
    shared, prefix_index = data.distinct_prefixes(rows)
    prefixes, prefix_index = [*shared, EMPTY], [*prefix_index, *[len(shared)] * len(documents)]
    parts = [(data.suffix_ids(row), data.answer_ids(row)) for row in rows]
    suffixes = [*map(np.concatenate, parts), *documents]
    sequences = [*prefixes, *suffixes]
    starts = np.cumsum([0, *map(len, sequences)])
    packed = np.concatenate(sequences).astype(np.int64)
    is_answer = np.zeros(len(packed), dtype=bool)
    for (own, answer), start in zip(parts, starts[len(prefixes) :], strict=False):
        is_answer[start + len(own) :][: len(answer)] = True
    is_text = ~is_answer
    is_text[starts[:-1]] = False
    candidates = np.flatnonzero(is_text[: starts[len(prefixes) + len(rows)]])
    is_text[rng.permutation(candidates)[TEXT_TOKENS:]] = False
    positions = np.flatnonzero(is_answer | is_text)
    inputs = pack(prefixes, suffixes, prefix_index, logits_to_keep=positions - 1)
    return inputs, torch.from_numpy(packed[positions]), torch.from_numpy(is_answer[positions])


def answer_targets(options: list[Ids], answer: Ids, vocabulary: int) -> torch.Tensor:
    """What each token of an answer, one of its scale's ``options``, is trained towards, ``[tokens, vocabulary]``: the
    share of each token among the options that begin as the answer does. In expectation it is the loss of a drawn
    token, without the noise of the draw."""
    targets = torch.zeros(len(answer), vocabulary)
    for position, token in enumerate(answer):
        following = Counter(int(ids[position]) for ids in options)
        targets[position, list(following)] = torch.tensor(list(following.values())) / following.total()
        options = [ids for ids in options if ids[position] == token]
    return targets


def shares_known(
    model: PreTrainedModel, tokenizer: Tokenizer, quiz: pl.DataFrame, trained: set[str]
) -> dict[str, float]:
    """The share of a quiz's facts, of the ``trained`` studies and of those held out, that the model knows: the phrases
    that tell it are likelier after its beginning than those that deny it."""
    known: dict[str, list[bool]] = {"training": [], "held-out": []}
    for study, beginning, *phrases in quiz.select("study_id", "beginning", "right", "wrong").iter_rows():
        right, wrong = (_likelihood(model, tokenizer, beginning, ways) for ways in phrases)
        known["training" if study in trained else "held-out"].append(right > wrong)
    return {kind: sum(facts) / len(facts) for kind, facts in known.items() if facts}


@torch.inference_mode()
def _likelihood(model: PreTrainedModel, tokenizer: Tokenizer, beginning: str, phrases: list[str]) -> float:
    """The probability that one of the phrases follows."""
    first, *following = token_ids(tokenizer, [beginning, *phrases])
    prefix, suffixes = first[:-1], [np.concatenate([first[-1:], ids]) for ids in following]
    logits = model(**pack([prefix], suffixes, [0] * len(suffixes)), use_cache=False).logits[0]
    log_probabilities = logits.log_softmax(-1)
    total = 0.0
    for start, ids in zip(suffix_offsets([prefix], suffixes), suffixes, strict=True):
        targets = torch.from_numpy(ids[1:].astype(np.int64))[:, None]
        total += float(log_probabilities[start : start + len(ids) - 1].gather(1, targets).sum().exp())
    return total
