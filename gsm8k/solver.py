"""Attempts at word problems: one greedy completion of each, and several sampled ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from gsm8k.params import Solve
from gsm8k.problems import ATTEMPTS, prompt_text
from socrates.core.errors import ModelError
from socrates.model.loading import compute_dtype, device, load_model, load_tokenizer
from socrates.model.params import Model
from socrates.model.tokenisation import Ids, end_token, token_ids


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
        self.tokenizer = load_tokenizer(base)
        self.model = load_trained(base, trained, params).eval()
        self._end = end_token(self.tokenizer)
        declared = self.model.generation_config.eos_token_id  # a hub model may declare several
        self._ends = sorted({self._end, *np.atleast_1d([] if declared is None else declared).tolist()})

    def prompt_ids(self, question: str) -> Ids:
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
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature is not None:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        ids = self.model.generate(
            input_ids=torch.from_numpy(inputs).to(self.model.device),
            attention_mask=torch.from_numpy(mask).to(self.model.device),
            generation_config=GenerationConfig(
                max_new_tokens=limit, eos_token_id=self._ends, pad_token_id=self._end, **sampling
            ),
        )
        return [self._read(row) for row in ids[:, width:].tolist()]

    def _read(self, ids: list[int]) -> Completion:
        length = next((position for position, token in enumerate(ids) if token in self._ends), len(ids))
        text = str(self.tokenizer.decode(ids[:length], skip_special_tokens=True))
        return Completion(text, min(length + 1, len(ids)), length == len(ids))


def load_trained(base: Path, trained: Path | None, params: Model) -> PreTrainedModel | PeftModel:
    """The base model, or what was trained from it: an adapter on it, or a whole model of its own.

    Raises:
        ModelError: the folder holds neither.
    """
    if trained is None or (trained / "adapter_config.json").exists():
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


def attempt_all(
    problems: pl.DataFrame,
    solver: Solver,
    name: str,
    params: Solve,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> pl.DataFrame:
    """Every attempt of the model ``name`` at a problems table (:data:`gsm8k.problems.ATTEMPTS`).

    Prompts of similar length are generated together, and equal params draw equal completions on one machine.
    """
    torch.manual_seed(params.seed)
    prompts = [solver.prompt_ids(question) for question in problems["question"]]
    ids = problems["problem_id"].to_list()
    by_length = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    attempts: list[tuple[Any, ...]] = []
    for decoding, batch in progress(list(_batches(by_length, params))):
        temperature = None if decoding == "greedy" else params.temperature
        completions = solver.complete(
            [prompts[row] for row, _ in batch], params.max_completion_length, temperature
        )
        attempts += [
            (ids[row], name, decoding, sample, completion.text, completion.tokens, completion.truncated)
            for (row, sample), completion in zip(batch, completions, strict=True)
        ]
    table = pl.DataFrame(attempts, schema=ATTEMPTS, orient="row")
    return table.sort("model", "decoding", "problem_id", "sample")


def _batches(order: list[int], params: Solve) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Decoding, and the (row of the problem, sample number) of what is generated together."""
    for decoding, samples in (("greedy", 1), ("sampled", params.samples)):
        jobs = [(row, sample) for row in order for sample in range(samples)]
        for start in range(0, len(jobs), params.batch):
            yield decoding, jobs[start : start + params.batch]
