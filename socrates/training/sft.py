"""Supervised fine-tuning of an NF4 QLoRA adapter with TRL and DeepSpeed.

QLoRA: Dettmers et al. 2023, arXiv 2305.14314. The loss is the cross-entropy of the answer's tokens
and the end token, nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import SFTConfig, SFTTrainer

from socrates.model.encoding import Encoded
from socrates.model.loading import compute_dtype
from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.runs.callbacks import Durable
from socrates.runs.launch import PATIENCE
from socrates.runs.params import Run
from socrates.runs.session import Records, Safety
from socrates.training.collator import SharedCollator, plain_dataset, shared_dataset
from socrates.training.config import deepspeed_config, lora_config, train_in_float32
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import Batches


class Trainer(Durable, SFTTrainer):
    """TRL's trainer, reading rows in the order of the plan, with checkpoints that are whole."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


def arguments(train: Train, run: Run, deepspeed: Deepspeed, cut: Batches) -> SFTConfig:
    """The trainer's arguments; making them lets the processes find each other.

    In the shared form an item of the dataset is a whole micro batch.
    """
    gpu = torch.cuda.is_available()
    items = 1 if train.share_scenario else cut.micro
    return SFTConfig(
        output_dir=".scratch",  # set once the run's folder is known
        deepspeed=deepspeed_config(deepspeed),
        use_cpu=not gpu,
        ddp_timeout=int(PATIENCE.total_seconds()),  # the first process may be waiting for the backup
        bf16=gpu,
        per_device_train_batch_size=items,
        per_device_eval_batch_size=items,
        gradient_accumulation_steps=cut.accumulation,
        max_steps=cut.steps,
        optim="adamw_torch",
        learning_rate=train.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=train.warmup_ratio,  # below 1 it is read as a ratio
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        gradient_checkpointing=train.gradient_checkpointing,
        logging_strategy="steps",
        logging_steps=run.log_steps,
        logging_first_step=True,
        eval_strategy="steps",
        eval_steps=train.eval_steps,
        eval_on_start=True,  # the base model's loss, to compare with; off when resuming
        logging_nan_inf_filter=False,  # a NaN is to be seen
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=run.save_steps,
        seed=train.seed,
        data_seed=train.seed,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        packing=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        include_num_input_tokens_seen="no",
    )


def trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Encoded,
    order: NDArray[np.int64],
    held_out: NDArray[np.int64],
    train: Train,
    lora: Lora,
    cut: Batches,
    args: SFTConfig,
    safety: Safety,
) -> Trainer:
    """A trainer ready to run: quantised base, new adapter, rows in their order.

    Args:
        order: rows of ``data`` to train on, ``[steps * global batch]``.
        held_out: rows of ``data`` for the validation loss.
        cut: from :func:`socrates.training.schedule.batches`.
        args: from :func:`arguments`.
    """
    args.output_dir = str(safety.folder)
    args.eval_on_start = safety.resume is None
    if train.share_scenario:
        use_prefix_sharing(model)
        datasets = shared_dataset(order, cut.micro), shared_dataset(held_out, cut.micro)
    else:
        datasets = plain_dataset(data, order), plain_dataset(data, held_out)
    result = Trainer(
        model=model,
        args=args,
        train_dataset=datasets[0],
        eval_dataset=datasets[1],
        data_collator=SharedCollator(data) if train.share_scenario else None,
        processing_class=tokenizer,
        peft_config=lora_config(lora),
        callbacks=[Records(safety.log)] if safety.log is not None else [],
    )
    result.remove_callback(PrinterCallback)
    result.durability = safety.durability
    if compute_dtype() == torch.float32:
        train_in_float32(model)
    return result
