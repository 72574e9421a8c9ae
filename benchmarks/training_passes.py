"""What a step of the paid presets computes, and what a pass costs the host: python -m benchmarks.training_passes

Tokens and passes: on rows of a JSONL file in the Alpaca form (``--rows``) with a model's tokenizer (``--tokenizer``).
``one-percent`` trains on those rows; for ``full`` each scenario gets as many respondents as the dataset has. Before is
how the presets were until their passes were packed, aligned and sized by trial.

Host: processor seconds of forward and backward through 48 layers of tiny widths in NF4 with an adapter on every matrix,
on one thread: almost all of it is Python and the starting of kernels, which a GPU host pays too. ``--layers`` makes a
miniature.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from peft import get_peft_model
from transformers import AutoTokenizer

from benchmarks.quantised import nf4_model
from benchmarks.timing import arguments, clocked, conditions, interleaved, table
from benchmarks.workload import REAL, config, rows
from socrates.core.params import load
from socrates.model.encoding import Encoded, encode_tables
from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.training.batch_size import CHECKPOINTED, checkpoint, forward_backward
from socrates.training.collator import Rows, by_pass, pass_tokens
from socrates.training.config import lora_config
from socrates.training.params import Lora
from socrates.training.schedule import make_schedule

STEP = 256  # rows of an optimiser step in both presets
RESPONDENTS = 484  # of a scenario, in the dataset's training rows
SIZES = {"one-percent": (4, 16, 64, 256), "full": (32, 64, 256)}  # rows of a pass


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--layers", type=int, default=48)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(conditions(args.rounds), flush=True)
    header = ["checkpointing", "processor seconds of a pass"]
    print("\n" + table(header, host(args.layers, args.rounds)), flush=True)
    if args.rows:
        header = ["preset", "rows of a pass", "form", "passes of a step", "tokens of a step"]
        print("\n" + table(header, tokens(args.rows, args.tokenizer)))


def host(layers: int, rounds: int) -> list[list[object]]:
    """Checkpointing, and seconds of a pass of four short rows."""
    shape = config(layers)
    shape.hidden_size = shape.intermediate_size = 64
    model = nf4_model(shape, torch.device("cpu"), torch.float32)
    use_prefix_sharing(model)
    model.enable_input_require_grads()
    made = get_peft_model(model, lora_config(load(Lora))).train()
    data = rows(replace(REAL, shared=4, own=4, shared_spread=0, own_spread=0), 2, 2, "1..7")

    def way(every: int) -> Callable[[], float]:
        def one_pass() -> None:
            checkpoint(made, every)
            forward_backward(made, data, np.arange(4))

        return clocked(one_pass, torch.device("cpu"))

    seconds = interleaved({name: way(every) for every, name in CHECKPOINTED.items()}, rounds)
    return [[name, float(np.median(taken))] for name, taken in seconds.items()]


def tokens(path: Path, tokenizer: Path) -> list[list[object]]:
    """Preset, rows of a pass, form, and passes and tokens of an optimiser step."""
    texts = [json.loads(line)["input"].split("\n\nScenario: ", 1) for line in path.open(encoding="utf-8")]
    personas = [persona.removeprefix("Demographics: ") for persona, _ in texts]
    columns = {"persona": personas, "stimuli": [text for _, text in texts]}
    answers = pl.DataFrame(columns | {"response": [1] * len(texts)})
    words = AutoTokenizer.from_pretrained(tokenizer)
    alone = encode_tables([answers], words, "persona_first")
    order = make_schedule(np.arange(len(alone)), alone.scenario_of_row, len(alone) // STEP * STEP, 1, 42)
    longest = alone.lengths()[order].reshape(-1, 4).max(axis=1)
    lines: list[list[object]] = [
        ["one-percent", 4, "padded (before)", STEP // 4, 4 * float(longest.mean()) * STEP / 4]
    ]
    lines += [of_step("one-percent", alone, order, size, "packed") for size in SIZES["one-percent"]]
    data = encode_tables([answers], words, "scenario_first")
    shared, own = data.prefix_lengths(), data.lengths() - data.prefix_lengths()
    print(f"\n{len(data):,} rows: a scenario {shared.mean():.1f} tokens (sd {shared.std():.1f}), ", end="")
    print(f"the rest of a row {own.mean():.1f} (sd {own.std():.1f})")
    together = crowded(data)
    count = 200 * STEP
    order = make_schedule(np.arange(len(together)), together.scenario_of_row, count, 16, 42)
    lines.append(of_step("full", together, order, 32, "packed (before)"))
    for size in SIZES["full"]:
        lines.append(
            of_step("full", together, by_pass(Rows(together, order, order), STEP, size), size, "aligned")
        )
    return lines


def of_step(preset: str, data: Encoded, order: np.ndarray, size: int, form: str) -> list[object]:
    """A line of :func:`tokens`."""
    return [preset, size, form, STEP // size, float(pass_tokens(data, order, size).mean()) * STEP / size]


def crowded(data: Encoded) -> Encoded:
    """A scenario of the length of each row's, with :data:`RESPONDENTS` of the personas."""
    scenario = np.repeat(np.arange(len(data)), RESPONDENTS)
    drawn = data.persona_of_row[np.random.default_rng(0).integers(len(data), size=len(scenario))]
    texts = data.scenarios.take(data.scenario_of_row)
    return Encoded(data.layout, texts, data.personas, data.answers, scenario, drawn, 0 * drawn)


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - started:.0f} s in all")
