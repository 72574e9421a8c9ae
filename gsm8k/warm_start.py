"""The built-in base model for word problems: a small Qwen2 that knows the format and is sometimes right.

It is fine-tuned for a short while on worked solutions, some of them wrong or without the format, which leaves GRPO
both successes and failures to compare.
"""

from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from gsm8k.answer_format import TAGS, format_completion
from gsm8k.params import Warmup
from gsm8k.problems import prompt_text
from socrates.model.params import Model
from socrates.model.tokenisation import end_token, token_ids
from socrates.tiny_model.build import END, make_tokenizer, new_model, save_builtin, train_new

GUESS = "a guess"
IGNORED = -100  # the label of tokens that carry no loss
# A turn is its text, and the model's own ends with the end token. The instruction is left out: it is the
# same in every prompt, and reading it would be most of a small model's work.
CHAT_TEMPLATE = (
    "{% for message in messages if message.role != 'system' %}{{ message.content }}"
    "{{ '" + END + "' if message.role == 'assistant' else '\n' }}{% endfor %}"
)


def noisy_solutions(problems: pl.DataFrame, noise: Warmup, rng: np.random.Generator) -> list[str]:
    """The response to each problem that the model is trained on. A guess is another problem's answer."""
    draws = rng.random(problems.height)
    guesses = rng.permutation(problems["answer"].to_numpy())
    responses = []
    for draw, guess, solution, answer in zip(
        draws, guesses, problems["solution"], problems["answer"], strict=True
    ):
        if draw < noise.guesses:
            responses.append(format_completion(GUESS, guess))
        elif draw < noise.guesses + noise.untagged:
            responses.append(f"{solution}\n{answer}")
        else:
            responses.append(format_completion(solution, answer))
    return responses


def build_warm_started(problems: pl.DataFrame, params: Model, noise: Warmup, folder: Path) -> str:
    """Make the model from a problems table and save it in ``folder``; returns one line about it."""
    rng = np.random.default_rng(params.tiny.seed)
    responses = noisy_solutions(problems, noise, rng)
    tokenizer = make_tokenizer(params, [*TAGS, GUESS, *problems["question"], *problems["solution"]])
    if not params.tokenizer:
        tokenizer.chat_template = CHAT_TEMPLATE
    end = end_token(tokenizer)
    prompts = token_ids(tokenizer, [prompt_text(tokenizer, question) for question in problems["question"]])
    targets = token_ids(tokenizer, responses)
    model = new_model(params.tiny, tokenizer)

    def step_loss() -> torch.Tensor:
        chosen = rng.choice(len(prompts), min(params.tiny.pretrain_batch, len(prompts)), replace=False)
        rows = [torch.from_numpy(np.concatenate([prompts[row], targets[row], [end]])) for row in chosen]
        # Padded on the right: in a causal model nothing that carries loss attends to what follows it.
        labels = pad_sequence(rows, batch_first=True, padding_value=IGNORED)
        inputs = labels.where(labels != IGNORED, end)
        for label, row in zip(labels, chosen, strict=True):
            label[: len(prompts[row])] = IGNORED  # only the response carries loss
        logits = model(input_ids=inputs, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)

    losses = train_new(model, step_loss, params.tiny, "warm up")
    return save_builtin(model, tokenizer, losses, folder)
