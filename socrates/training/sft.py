"""Supervised fine-tuning of an NF4 QLoRA adapter (Dettmers et al. 2023, arXiv 2305.14314) with TRL and DeepSpeed. The
loss is the cross-entropy of the answer's tokens and the end token, nothing else."""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl import SFTConfig, SFTTrainer

from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.model.tokenisation import end_token
from socrates.runs.params import Run
from socrates.training.collator import Rows, by_pass, shared_dataset, training_batch
from socrates.training.config import AdapterCheckpoints, lora_config, step_arguments
from socrates.training.params import Deepspeed, Lora, Train
from socrates.training.schedule import BatchPlan

# Times the rows of a training pass are in a pass of evaluation. It keeps no activations, and what a layer computes on
# the way peaks below a training pass whose layers are all checkpointed, at most (8 times: above it).
EVALUATED = 4


def arguments(train: Train, run: Run, deepspeed: Deepspeed, plan: BatchPlan) -> SFTConfig:
    """The trainer's arguments; making them initialises the process group."""
    return SFTConfig(
        **step_arguments(train, run, deepspeed, plan),
        per_device_train_batch_size=1,  # an item of the dataset is a whole pass
        per_device_eval_batch_size=1,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )


class AdapterTrainer(AdapterCheckpoints, SFTTrainer):
    """TRL's trainer of a new adapter on a quantised base model, on rows in their order, with a loss per answer: answers
    of a scale count alike, however many tokens they have."""

    def __init__(
        self, model: Any, tokenizer: Tokenizer, rows: Rows, plan: BatchPlan, lora: Lora, args: SFTConfig
    ) -> None:
        use_prefix_sharing(model)
        size, count = plan.micro_batch_size, len(rows.validation)
        self.global_batch = size * plan.grad_accum_steps * args.world_size
        self.answer_end = end_token(tokenizer)
        # Since the last log, of each pass: answer tokens, their entropy, how many were the likeliest, all tokens.
        self.passes: list[torch.Tensor] = []
        self.tokens = 0  # trained on, over all processes
        passes = -(-count // min(EVALUATED * size, -(-count // args.world_size)))
        evaluated = -(-count // passes)  # equal passes: the trainer's loss is their mean
        super().__init__(
            model=model,
            args=args,
            train_dataset=shared_dataset(by_pass(rows, self.global_batch, size), size),
            eval_dataset=shared_dataset(rows.validation, evaluated),
            data_collator=lambda items: training_batch(rows.data, items[0]["rows"]),
            processing_class=tokenizer,
            peft_config=lora_config(lora),
        )

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The cross-entropy of a pass, summed, by the answers of the step (of the pass in evaluation). TRL's exchanges
        five numbers with all processes at each pass and waits for them; here :meth:`log` does so."""
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        size = torch.tensor(inputs["input_ids"].numel(), device=outputs.log_probs.device)
        counted = (outputs.label_mask, outputs.entropy.detach(), outputs.is_top1, size)
        self.passes.append(torch.stack([one.sum().double() for one in counted]))
        loss = -outputs.log_probs.sum()
        if not model.training:
            return loss / (inputs["labels"] == self.answer_end).sum()
        return loss / self.global_batch * self.accelerator.num_processes  # whose gradients are averaged

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log with what was counted of the passes since the last time."""
        if self.passes:
            sums = self.accelerator.reduce(torch.stack(self.passes).sum(dim=0))
            self.passes.clear()
            model: Any = self.model
            before = "" if model.training else "eval_"
            shares = (sums[1:3].float() / sums[0].float()).tolist()
            logs |= dict(zip((f"{before}entropy", f"{before}mean_token_accuracy"), shares, strict=True))
            self.tokens += int(sums[3]) * model.training
            logs["num_tokens"] = self.tokens
        super().log(logs, start_time)
