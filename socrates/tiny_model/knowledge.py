"""What the built-in model knows of what it has read: facts about training studies' parts and held-out ones'."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from socrates.model.prefix_sharing import pack, suffix_offsets
from socrates.model.tokenisation import token_ids


def shares_known(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, quiz: pl.DataFrame, trained: pl.Series
) -> dict[str, float]:
    """The share of a quiz's facts that the model knows, apart for training and held-out studies.

    A fact is known if the phrases that tell it are likelier after its beginning than those that deny it.

    Args:
        model: reads packed rows.
        quiz: ``study_id``, ``beginning``, ``right``, ``wrong``; may be empty.
        trained: names of the training studies.
    """
    if quiz.is_empty():
        return {}
    known = [
        _likelihood(model, tokenizer, beginning, right) > _likelihood(model, tokenizer, beginning, wrong)
        for beginning, right, wrong in quiz.select("beginning", "right", "wrong").iter_rows()
    ]
    is_trained = quiz["study_id"].is_in(trained.unique().implode())
    facts = quiz.select(known=pl.Series(known)).with_columns(is_trained=is_trained)
    shares = dict(facts.group_by("is_trained").agg(pl.col("known").mean()).iter_rows())
    return {name: shares[key] for name, key in (("training", True), ("held-out", False)) if key in shares}


@torch.inference_mode()
def _likelihood(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, beginning: str, phrases: list[str]
) -> float:
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
