"""How many tokens a training computes: counted on the split at hand, or assumed from published counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from socrates.core.params import Section
from socrates.data.params import Data, Sample
from socrates.model.params import Model, Prompt
from socrates.training.params import Train
from socrates.training.schedule import make_schedule, plan_batches

# SocSci210 as published, and the lengths of its 2,780 rows in 20 studies that the seed project passed on,
# counted with Qwen2.5's tokenizer.
ROWS, TRAINING_SHARE = 2_901_390, 170 / 210
PERSONA_FIRST_TOKENS, SCENARIO_TOKENS, OWN_TOKENS, LONGEST = 190.0, 147.0, 44.0, 377
PADDING = {1: 1.0, 2: 1.21, 4: 1.43, 8: 1.63, 16: 1.79}  # tokens with padding over without, by micro batch
PASSES = 4000  # of the order of training that are counted; the rest is taken to be like them


@dataclass(frozen=True)
class Workload:
    """What one run computes, over all processes.

    Attributes:
        steps: optimiser steps.
        rows: answers trained on, repeated ones counted again.
        pass_tokens: mean tokens of a forward pass, padding included.
        longest_pass: of the passes counted, or assumed.
        passes: forward passes.
        evaluation_passes: forward passes without a backward pass, over the whole run.
        micro: rows of a pass.
        basis: where the counts come from, in words.
    """

    steps: int
    rows: int
    pass_tokens: float
    longest_pass: int
    passes: int
    evaluation_passes: int
    micro: int
    basis: tuple[str, ...]

    @property
    def tokens(self) -> float:
        """Tokens with a forward and a backward pass."""
        return self.pass_tokens * self.passes

    @property
    def evaluation_tokens(self) -> float:
        """Tokens with a forward pass only."""
        return self.pass_tokens * self.evaluation_passes


def counted(folder: Path, sections: Mapping[str, Any], processes: int) -> Workload:
    """The workload of the split under ``folder``, with the base model's own tokenizer.

    Call it where :func:`at_hand` says so.
    """
    import polars as pl

    from socrates.core.files import read_table
    from socrates.model.encoding import encode
    from socrates.model.loading import load_tokenizer
    from socrates.survey.tables import RESPONSES

    train, prompt = sections["train"], sections["prompt"]
    tables = [read_table(folder / f"data/splits/{name}.parquet", RESPONSES) for name in ("train", "val")]
    data = encode(pl.concat(tables), load_tokenizer(folder / "models/base"), prompt.layout)
    lengths = data.lengths()
    fits = lengths <= prompt.max_length
    rows = np.flatnonzero(fits[: len(tables[0])])
    plan = plan_batches(train, len(rows), processes)
    group = train.group_size if train.share_scenario else 1
    count = plan.max_steps * train.global_batch
    order = make_schedule(
        rows, data.scenario_of_row, min(count, PASSES * plan.micro_batch_size), group, train.seed
    )
    shared = data.scenarios.lengths if train.share_scenario else None
    tokens = []
    for start in range(0, len(order) - plan.micro_batch_size + 1, plan.micro_batch_size):
        chosen = order[start : start + plan.micro_batch_size]
        if shared is None:
            tokens.append(int(lengths[chosen].max()) * plan.micro_batch_size)
        else:
            stems = data.scenario_of_row[chosen]
            tokens.append(int(lengths[chosen].sum() - shared[stems].sum() + shared[np.unique(stems)].sum()))
    held_out = min(train.eval_rows, int(fits[len(tables[0]) :].sum()))
    return Workload(
        steps=plan.max_steps,
        rows=count,
        pass_tokens=float(np.mean(tokens)),
        longest_pass=max(tokens),
        passes=count // plan.micro_batch_size,
        evaluation_passes=(plan.max_steps // train.eval_steps + 1) * -(-held_out // plan.micro_batch_size),
        micro=plan.micro_batch_size,
        basis=(
            f"tokens counted on data/splits/ with the model's tokenizer: {len(rows):,} rows, "
            f"{lengths[rows].mean():.0f} tokens each, {len(tokens):,} passes looked at",
        ),
    )


def assumed(sections: Mapping[str, Any], processes: int) -> Workload:
    """The workload of SocSci210 by its published counts, where the split is not on this machine."""
    sample, train = sections["sample"], sections["train"]
    rows = round(ROWS * sample.fraction * TRAINING_SHARE)
    plan = plan_batches(train, rows, processes)
    basis = [
        f"{rows:,} training rows: {ROWS:,} published rows x {sample.fraction:g} x 170 of 210 studies, as if "
        "studies were equally large",
    ]
    if train.share_scenario:
        group = min(train.group_size, plan.micro_batch_size)
        tokens = plan.micro_batch_size * (OWN_TOKENS + SCENARIO_TOKENS / group)
        longest = round(2 * tokens)
        basis.append(
            f"{SCENARIO_TOKENS:g} tokens of a scenario, shared by {group} respondents, and {OWN_TOKENS:g} of "
            "each (means of 2,780 real rows); the longest pass twice the mean"
        )
    else:
        padding = np.interp(plan.micro_batch_size, list(PADDING), list(PADDING.values()))
        tokens = plan.micro_batch_size * PERSONA_FIRST_TOKENS * float(padding)
        longest = plan.micro_batch_size * LONGEST
        basis.append(
            f"{PERSONA_FIRST_TOKENS:g} tokens a row, the longest {LONGEST}, {padding:.2f} times that with the "
            f"padding of {plan.micro_batch_size} rows (2,780 real rows)"
        )
    return Workload(
        steps=plan.max_steps,
        rows=plan.max_steps * train.global_batch,
        pass_tokens=tokens,
        longest_pass=longest,
        passes=plan.max_steps * train.global_batch // plan.micro_batch_size,
        evaluation_passes=(plan.max_steps // train.eval_steps + 1)
        * -(-train.eval_rows // plan.micro_batch_size),
        micro=plan.micro_batch_size,
        basis=tuple(basis),
    )


def at_hand(folder: Path, sections: Mapping[str, Section]) -> str | None:
    """Why the split and base model under ``folder`` are not those of the params; None when they are."""
    data, sample, model = sections["data"], sections["sample"], sections["model"]
    assert isinstance(data, Data) and isinstance(sample, Sample) and isinstance(model, Model)
    expected: dict[str, dict[str, Any]] = {
        "data/raw/manifest.json": {"source": data.source},
        "data/sample/manifest.json": {"sample": sample.model_dump()},
        "data/splits/manifest.json": {"split": sections["split"].model_dump()},
        "models/base/manifest.json": {"kind": "builtin"}
        if model.builtin
        else {"name": model.name, "revision": model.revision},
    }
    if data.source == "synthetic":
        expected["data/raw/manifest.json"]["world"] = data.synthetic.model_dump()
    for name, values in expected.items():
        try:
            found = json.loads((folder / name).read_text())
        except (OSError, ValueError):
            return f"{name} is not there"
        if any(found.get(key) != value for key, value in values.items()):
            return f"{name} is of other params"
    assert isinstance(sections["prompt"], Prompt) and isinstance(sections["train"], Train)
    return None
