"""Attempts at word problems: one greedy completion of each, and several drawn ones."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import trange
from transformers import GenerationConfig

from gsm8k.params import Solve
from gsm8k.problems import COMPLETIONS, prompt_text
from socrates.model.loading import load_base, load_model, load_tokenizer
from socrates.model.params import Model
from socrates.model.tokenisation import Ids, end_token, token_ids

Completion = tuple[str, int, bool]  # text, tokens, truncated: as in ``gsm8k.problems.COMPLETIONS``


class Solver:
    """A base model, or what was trained from it, an adapter or a whole model, that writes completions of prompts."""

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

        Without a temperature it has the likeliest token each time; with one torch's global random state decides.
        """
        rows = [torch.tensor(prompt, dtype=torch.int64) for prompt in prompts]
        inputs = pad_sequence(rows, True, self._end, "left")
        mask = pad_sequence([torch.ones_like(row) for row in rows], True, 0, "left")
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        config = GenerationConfig(
            max_new_tokens=limit,
            eos_token_id=self._ends,
            pad_token_id=self._end,
            repetition_penalty=1.0,  # what is not given here would be the hub model's own
            **({"do_sample": False} if temperature is None else drawn),
        )
        asked = {"input_ids": inputs.to(self.model.device), "attention_mask": mask.to(self.model.device)}
        ids = self.model.generate(**asked, generation_config=config)
        completions: list[Completion] = []
        for row in ids[:, inputs.shape[1] :].tolist():
            length = next((place for place, token in enumerate(row) if token in self._ends), len(row))
            text = str(self.tokenizer.decode(row[:length], skip_special_tokens=True))
            completions.append((text, min(length + 1, len(row)), length == len(row)))
        return completions


def attempt_all(problems: pl.DataFrame, solver: Solver, name: str, params: Solve) -> pl.DataFrame:
    """Every attempt of the model ``name`` at a problems table (:data:`gsm8k.problems.COMPLETIONS`).

    Prompts of similar length are generated together, and equal params draw equal completions on one machine.
    """
    torch.manual_seed(params.seed)
    prompts = [solver.prompt_ids(question) for question in problems["question"]]
    by_length = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    attempts: list[tuple[Any, ...]] = []
    decodings = {"greedy": (1, None), "sampled": (params.samples, params.temperature)}
    for decoding, (samples, temperature) in decodings.items():
        jobs = [(row, sample) for row in by_length for sample in range(samples)]
        for start in trange(0, len(jobs), params.batch, desc=f"solve {name}, {decoding}", unit="batch"):
            batch = jobs[start : start + params.batch]
            asked = [prompts[row] for row, _ in batch]
            completions = solver.complete(asked, params.max_completion_length, temperature)
            for (row, sample), completion in zip(batch, completions, strict=True):
                attempts.append((problems["problem_id"][row], name, decoding, sample, *completion))
    table = pl.DataFrame(attempts, schema=COMPLETIONS, orient="row")
    return table.sort("model", "decoding", "problem_id", "sample")
