"""Attempts at word problems: one greedy completion of each, and several drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from gsm8k.params import Solve
from gsm8k.problems import ATTEMPTS, prompt_text
from socrates.core.errors import ModelError
from socrates.model.loading import compute_dtype, device, load_model, load_tokenizer
from socrates.model.params import Model
from socrates.model.tokenisation import Ids, end_token, token_ids

ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: without special tokens.
        tokens: how many, the end token included.
        truncated: whether the length limit came before the end token.
    """

    text: str
    tokens: int
    truncated: bool


class Solver:
    """A model that writes completions of prompts.

    Args:
        base: the base model's folder.
        trained: the folder of what was trained, an adapter or a whole model; None: the base model itself.
    """

    def __init__(self, base: Path, trained: Path | None, params: Model) -> None:
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(base)
        self.model = load_trained(base, trained, params).eval()
        self._end = end_token(self.tokenizer)
        ends = self.model.generation_config.eos_token_id  # a hub model may declare several
        self._ends = sorted(
            {self._end, *(ends if isinstance(ends, list) else [ends] if ends is not None else [])}
        )

    def prompt(self, question: str) -> Ids:
        """Token ids of the prompt that asks for a solution."""
        return token_ids(self.tokenizer, [prompt_text(self.tokenizer, question)])[0]

    @torch.inference_mode()
    def complete(self, prompts: list[Ids], limit: int, temperature: float | None) -> list[Completion]:
        """One completion of each prompt of at most ``limit`` tokens, all generated together.

        ``temperature`` None takes the likeliest token each time; else the global random state of torch
        decides.
        """
        width = max(map(len, prompts))
        inputs = np.full((len(prompts), width), self._end, dtype=np.int64)
        mask = np.zeros_like(inputs)
        for row, prompt in enumerate(prompts):
            inputs[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        drawn: dict[str, Any] = {"do_sample": False}
        if temperature is not None:
            drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        config = GenerationConfig(
            max_new_tokens=limit, eos_token_id=self._ends, pad_token_id=self._end, **drawn
        )
        ids = self.model.generate(
            input_ids=torch.from_numpy(inputs).to(self.model.device),
            attention_mask=torch.from_numpy(mask).to(self.model.device),
            generation_config=config,
        )
        return [self._read(row) for row in ids[:, width:].tolist()]

    def _read(self, ids: list[int]) -> Completion:
        length = next((place for place, token in enumerate(ids) if token in self._ends), None)
        kept = ids if length is None else ids[:length]
        tokens = len(ids) if length is None else length + 1
        return Completion(str(self.tokenizer.decode(kept, skip_special_tokens=True)), tokens, length is None)


def load_trained(base: Path, trained: Path | None, params: Model) -> PreTrainedModel | PeftModel:
    """The base model, or what was trained from it: an adapter on it, or a whole model of its own.

    Raises:
        ModelError: the folder holds neither.
    """
    if trained is None or (trained / ADAPTER).exists():
        return load_model(base, trained, params)
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(trained),
            dtype=compute_dtype(),
            device_map={"": device()},
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{trained}: holds no trained model; run dvc repro gsm8k/dvc.yaml ({str(error)[:100]})"
        ) from None


def attempts(
    problems: pl.DataFrame,
    solver: Solver,
    name: str,
    params: Solve,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> pl.DataFrame:
    """Every attempt of one model at a problems table, as ``maths.problems.ATTEMPTS``.

    Prompts of similar length are generated together, and equal params draw equal completions on one machine.
    """
    torch.manual_seed(params.seed)
    prompts = [solver.prompt(question) for question in problems["question"]]
    ids = problems["problem_id"].to_list()
    by_length = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    rows: list[tuple[Any, ...]] = []
    for decoding, sample, chunk in progress(list(_chunks(by_length, params))):
        temperature = None if decoding == "greedy" else params.temperature
        done = solver.complete([prompts[row] for row in chunk], params.max_completion_length, temperature)
        rows += [
            (ids[row], name, decoding, number, one.text, one.tokens, one.truncated)
            for row, number, one in zip(chunk, sample, done, strict=True)
        ]
    return pl.DataFrame(rows, schema=ATTEMPTS, orient="row").sort("model", "decoding", "problem_id", "sample")


def _chunks(order: list[int], params: Solve) -> Iterator[tuple[str, list[int], list[int]]]:
    """(decoding, sample number of each, problem of each) of what is generated together."""
    for decoding, samples in (("greedy", 1), ("sampled", params.samples)):
        jobs = [(sample, row) for row in order for sample in range(samples)]
        for start in range(0, len(jobs), params.batch):
            part = jobs[start : start + params.batch]
            yield decoding, [sample for sample, _ in part], [row for _, row in part]
