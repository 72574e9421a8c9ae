"""Supervised fine-tuning of an NF4 QLoRA adapter with TRL and DeepSpeed.

QLoRA: Dettmers et al. 2023, arXiv 2305.14314. The loss is the cross-entropy of the answer's tokens
and the end token, nothing else.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import SFTConfig, SFTTrainer

from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.model.tokenisation import end_token
from socrates.runs.params import Run
from socrates.training.collator import Rows, SharedCollator, by_pass, shared_dataset
from socrates.training.config import AdapterCheckpoints, common_arguments, lora_config, train_in_float32
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import BatchPlan

EVALUATED = 8  # times the rows of a training pass are in a pass of evaluation, which keeps no activations


class AdapterTrainer(AdapterCheckpoints, SFTTrainer):
    """TRL's trainer with a loss per answer: answers of a scale count alike, however many tokens they have.

    Attributes:
        global_batch: rows of an optimiser step.
        answer_end: the id of the token that ends an answer.
    """

    global_batch: int
    answer_end: int

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The cross-entropy of a pass, summed, by the answers of the step (of the pass in evaluation)."""
        # TRL multiplies by the number of processes, whose gradients are averaged.
        of_pass = (inputs["labels"] == self.answer_end).sum() * self.accelerator.num_processes
        answers = torch.tensor(self.global_batch) if model.training else of_pass
        return super().compute_loss(model, inputs, return_outputs, answers)


def sft_config(train: Train, run: Run, deepspeed: Deepspeed, plan: BatchPlan) -> SFTConfig:
    """The trainer's arguments; making them initialises the process group."""
    return SFTConfig(
        **common_arguments(run, deepspeed, plan.checkpointed),
        train_sampling_strategy="sequential",  # the rows come in the order of the schedule
        per_device_train_batch_size=1,  # an item of the dataset is a whole pass
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=plan.grad_accum_steps,
        max_steps=plan.max_steps,
        learning_rate=train.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=train.warmup_ratio,  # below 1 it is read as a ratio
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        eval_strategy="steps",
        eval_steps=train.eval_steps,
        eval_on_start=True,  # the base model's loss, to compare with; TrainingSession turns it off in a resume
        prediction_loss_only=True,
        seed=train.seed,
        data_seed=train.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        packing=False,
    )


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    micro_batch_size: int,
    train: Train,
    lora: Lora,
    args: SFTConfig,
) -> SFTTrainer:
    """A trainer of a new adapter on a quantised base model, on rows in their order."""
    use_prefix_sharing(model)
    evaluated = min(EVALUATED * micro_batch_size, -(-len(rows.validation) // args.world_size))
    trainer = AdapterTrainer(
        model=model,
        args=args,
        train_dataset=shared_dataset(by_pass(rows, train.global_batch, micro_batch_size), micro_batch_size),
        eval_dataset=shared_dataset(rows.validation, evaluated),
        data_collator=SharedCollator(rows.data),
        processing_class=tokenizer,
        peft_config=lora_config(lora),
    )
    trainer.global_batch, trainer.answer_end = train.global_batch, end_token(tokenizer)
    trainer.remove_callback(PrinterCallback)
    train_in_float32(model, args.deepspeed)
    return trainer
