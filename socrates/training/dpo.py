"""Direct preference optimisation of an adapter with TRL (Rafailov et al. 2023, arXiv 2305.18290), as the paper's: the
prompt's own answer is chosen over a different answer that somebody else of its cell gave. The reference is the base
model: the same weights with the adapter switched off."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from socrates.core.errors import TrainingError
from socrates.model.encoding import Encoded
from socrates.model.jagged import Ints
from socrates.runs.params import Run
from socrates.survey.tables import CELL
from socrates.training.collator import Rows
from socrates.training.config import AdapterCheckpoints, lora_config, step_arguments
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import BatchPlan

BETA = 0.1  # TRL's default; the paper's is not known
NOBODY = -1  # of a row in whose cell all people agreed


def rejected_answers(data: Encoded, data_files: tuple[Path, ...], seed: int) -> Ints:
    """For each row of the encoded tables a row of its cell with another answer, :data:`NOBODY` where there is none;
    each of them is equally likely, so that a common answer is rejected more often than a rare one."""
    tables = [pl.read_parquet(path, columns=CELL).with_columns(file=i) for i, path in enumerate(data_files)]
    table = pl.concat(tables).with_columns(answer=data.answer_of_row).with_row_index("row")
    cell = ["file", *CELL]
    table = table.sort(*cell, "answer", "row").with_row_index("place")
    spans = {"cell": pl.len().over(cell), "same": pl.len().over(*cell, "answer")}
    starts = {"first": pl.col("place").min().over(cell), "own": pl.col("place").min().over(*cell, "answer")}
    table = table.select("row", **spans, **starts)
    rows, size, same, first, own = (column.to_numpy().astype(np.int64) for column in table)
    others = size - same
    drawn = np.random.default_rng([seed, len(rows)]).random(len(rows))
    place = first + (drawn * others).astype(np.int64)
    place += np.where(place >= own, same, 0)  # those with the row's own answer are passed over
    found = np.full(len(rows), NOBODY)
    found[rows[others > 0]] = rows[place[others > 0]]
    return found


def usable_rows(rows: Rows, data_files: tuple[Path, ...], seed: int) -> Rows:
    """The rows that have somebody to differ from, and whom. Raises :class:`TrainingError` where a table has none."""
    rejected = rejected_answers(rows.data, data_files, seed)
    train, validation = (part[rejected[part] != NOBODY] for part in (rows.train, rows.validation))
    for name, part in (("training", train), ("validation", validation)):
        if not len(part):
            raise TrainingError(
                f"train.method dpo: in no {name} cell did two people answer differently; use sft"
            )
    return replace(rows, train=train, validation=validation, rejected=rejected)


def preference_pair(data: Encoded, row: int, rejected: int) -> dict[str, list[int]]:
    """A row's prompt and answer, and the answer of row ``rejected``, for TRL; the tokens are those of prediction."""
    prompt = np.concatenate([data.prefix_ids(row), data.suffix_ids(row)]).tolist()
    chosen, other = data.answer_ids(row).tolist(), data.answer_ids(rejected).tolist()
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": other}


def arguments(train: Train, run: Run, deepspeed: Deepspeed, plan: BatchPlan) -> DPOConfig:
    """The trainer's arguments; making them initialises the process group."""
    return DPOConfig(
        **step_arguments(train, run, deepspeed, plan),
        per_device_train_batch_size=plan.micro_batch_size,
        per_device_eval_batch_size=plan.micro_batch_size,
        beta=BETA,
        max_length=None,  # longer rows are left out before
    )


class PreferenceTrainer(AdapterCheckpoints, DPOTrainer):
    """TRL's trainer of a new adapter on a quantised base model, on pairs in the order of the rows."""

    def __init__(
        self, model: Any, tokenizer: Tokenizer, rows: Rows, plan: BatchPlan, lora: Lora, args: DPOConfig
    ) -> None:
        # TRL would tokenise texts, prompt and answer in one; the rows that it is to read replace this one.
        disable_progress_bars()
        placeholder = Dataset.from_list([{"prompt": "1", "chosen": "2", "rejected": "3"}])
        given = {"train_dataset": placeholder, "eval_dataset": placeholder, "processing_class": tokenizer}
        super().__init__(model, args=args, **given, peft_config=lora_config(lora))
        data, rejected = rows.data, rows.rejected
        assert rejected is not None, "usable_rows gives it"
        padded = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id)
        self.data_collator = lambda items: padded(
            [preference_pair(data, item["row"], int(rejected[item["row"]])) for item in items]
        )
        self.train_dataset = Dataset.from_dict({"row": rows.train})
        self.eval_dataset = Dataset.from_dict({"row": rows.validation})
