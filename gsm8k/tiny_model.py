"""The built-in base model for word problems: a small Qwen2 that knows the format and is sometimes right.

It is taught for a short while by worked solutions and, among them, by bad manners: guesses, and answers
without the format. Like a large model fresh from its reading it then has several ways to respond, of
which a reward can choose: without any success it has nothing to reinforce, with only successes nothing
to compare.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F

from gsm8k import answers
from gsm8k.params import Warmup
from gsm8k.problems import prompt_text, reference
from socrates.model.params import Model
from socrates.model.tokenisation import Ids, end_token, token_ids
from socrates.tiny_model.build import END, Progress, make_tokenizer, new_model, save_builtin, train_new

GUESS = "a guess"
IGNORED = -100  # the label of tokens that carry no loss
# A turn is its text, and the model's own ends with the end token. The instruction is left out: it is the
# same in every prompt, and reading it would be most of a small model's work.
CHAT = (
    "{% for message in messages if message.role != 'system' %}{{ message.content }}"
    "{{ '" + END + "' if message.role == 'assistant' else '\n' }}{% endfor %}"
)


def examples(problems: pl.DataFrame, warmup: Warmup, rng: np.random.Generator) -> list[str]:
    """What the model is shown as the response to each problem: well-formed and right, but for the shares
    of ``warmup``. A guess is another problem's answer, so that its number looks like one."""
    manner = rng.random(problems.height)
    guesses = rng.permutation(problems["answer"].to_numpy())
    shown = []
    for draw, guess, (solution, answer) in zip(
        manner, guesses, problems.select("solution", "answer").iter_rows(), strict=True
    ):
        if draw < warmup.guesses:
            shown.append(answers.wrap(GUESS, guess))
        elif draw < warmup.guesses + warmup.untagged:
            shown.append(f"{solution}\n{answer}")
        else:
            shown.append(reference(solution, answer))
    return shown


def build_warmed(
    problems: pl.DataFrame, params: Model, warmup: Warmup, folder: Path, progress: Progress = iter
) -> str:
    """Make the model from a problems table (``maths.problems.PROBLEMS``), save it in ``folder``, and return
    one line about it."""
    questions = problems["question"].to_list()
    rng = np.random.default_rng(params.tiny.seed)
    shown = examples(problems, warmup, rng)
    tokenizer = make_tokenizer(params, [*answers.TAGS, GUESS, *questions, *problems["solution"]])
    if not params.tokenizer:
        tokenizer.chat_template = CHAT
    end = end_token(tokenizer)
    prompts = token_ids(tokenizer, [prompt_text(tokenizer, question) for question in questions])
    targets = [np.append(ids, np.int32(end)) for ids in token_ids(tokenizer, shown)]
    model = new_model(params.tiny, tokenizer)

    def step_loss() -> torch.Tensor:
        rows = rng.choice(len(prompts), min(params.tiny.pretrain_batch, len(prompts)), replace=False)
        inputs, labels = padded([prompts[row] for row in rows], [targets[row] for row in rows], end)
        logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)

    losses = train_new(model, step_loss, params.tiny, progress)
    return save_builtin(model, tokenizer, losses, folder)


def padded(prompts: list[Ids], targets: list[Ids], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels ``[rows, longest]``, padded on the right; only the targets carry loss.

    No mask is needed: in a causal model nothing that carries loss sees what follows it.
    """
    lengths = [len(prompt) + len(target) for prompt, target in zip(prompts, targets, strict=True)]
    inputs = np.full((len(prompts), max(lengths)), padding, dtype=np.int64)
    labels = np.full_like(inputs, IGNORED)
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        inputs[row, : lengths[row]] = np.concatenate([prompt, target])
        labels[row, len(prompt) : lengths[row]] = target
    return torch.from_numpy(inputs), torch.from_numpy(labels)
