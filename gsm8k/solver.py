"""Attempts at word problems: one greedy completion of each, and several drawn ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import GenerationConfig

from gsm8k.params import Solve
from gsm8k.problems import COMPLETIONS, prompt_text
from socrates.model.loading import load_base, load_model, load_tokenizer
from socrates.model.params import Model
from socrates.model.tokenisation import Ids, end_token, token_ids


class Completion(NamedTuple):
    """What a model wrote."""

    text: str  # without special tokens
    tokens: int  # the end token included
    truncated: bool  # the length limit came before the end token


class Solver:
    """A model that writes completions of prompts.

    Args:
        base: the base model's folder.
        trained: the folder of what was trained, an adapter or a whole model; None: the base model itself.

    Raises:
        ModelError: the folder holds neither.
    """

    def __init__(self, base: Path, trained: Path | None, params: Model) -> None:
        self.tokenizer = load_tokenizer(base)
        whole = trained is not None and not (trained / "adapter_config.json").exists()
        model = load_base(trained, params) if trained and whole else load_model(base, trained, params)
        self.model = model.eval()
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
        rows = [torch.tensor(prompt, dtype=torch.int64) for prompt in prompts]
        inputs = pad_sequence(rows, True, self._end, "left")
        mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, "left")
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature is not None:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        ids = self.model.generate(
            input_ids=inputs.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            generation_config=GenerationConfig(
                max_new_tokens=limit,
                eos_token_id=self._ends,
                pad_token_id=self._end,
                repetition_penalty=1.0,  # what is not given here would be the hub model's own
                **sampling,
            ),
        )
        return [self._read(row) for row in ids[:, inputs.shape[1] :].tolist()]

    def _read(self, ids: list[int]) -> Completion:
        length = next((position for position, token in enumerate(ids) if token in self._ends), len(ids))
        text = str(self.tokenizer.decode(ids[:length], skip_special_tokens=True))
        return Completion(text, min(length + 1, len(ids)), length == len(ids))


def attempt_all(problems: pl.DataFrame, solver: Solver, name: str, params: Solve) -> pl.DataFrame:
    """Every attempt of the model ``name`` at a problems table (:data:`gsm8k.problems.COMPLETIONS`).

    Prompts of similar length are generated together, and equal params draw equal completions on one machine.
    """
    torch.manual_seed(params.seed)
    prompts = [solver.prompt_ids(question) for question in problems["question"]]
    ids = problems["problem_id"].to_list()
    by_length = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
    attempts: list[tuple[Any, ...]] = []
    batches: list[tuple[str, list[tuple[int, int]]]] = []
    for decoding, samples in (("greedy", 1), ("sampled", params.samples)):
        jobs = [(row, sample) for row in by_length for sample in range(samples)]
        batches += [
            (decoding, jobs[start : start + params.batch]) for start in range(0, len(jobs), params.batch)
        ]
    for decoding, batch in tqdm(batches, desc=f"solve {name}", unit="batch"):
        temperature = params.temperature if decoding == "sampled" else None
        asked = [prompts[row] for row, _ in batch]
        completions = solver.complete(asked, params.max_completion_length, temperature)
        attempts += [
            (ids[row], name, decoding, n, *text) for (row, n), text in zip(batch, completions, strict=True)
        ]
    table = pl.DataFrame(attempts, schema=COMPLETIONS, orient="row")
    return table.sort("model", "decoding", "problem_id", "sample")
