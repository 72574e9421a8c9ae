"""Group relative policy optimisation with TRL (Shao et al. 2024, arXiv 2402.03300).

The model answers each prompt several times; an answer is reinforced by how much its reward exceeds the
mean of its group. What is rewarded is the caller's: any functions of prompt rows and completions.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from gsm8k.grpo.params import Grpo
from socrates.core.errors import TrainingError
from socrates.model.params import Model
from socrates.runs.callbacks import Durable
from socrates.runs.launch import PATIENCE
from socrates.runs.log import RunLog
from socrates.runs.params import Run
from socrates.runs.session import Safety
from socrates.training.config import deepspeed_config, lora_config, train_in_float32
from socrates.training.params import Deepspeed, Lora
from socrates.training.schedule import Batches

ROW = "row"  # column of the prompts that names each in an error
BUFFER = "completions_{rank}.safetensors"

Rows = list[dict[str, Any]]  # of the prompts
# What each completion earns by part of the reward, given its prompt's row.
Score = Callable[[Rows, Sequence[str]], Mapping[str, Sequence[float]]]


class Trainer(Durable, GRPOTrainer):
    """TRL's trainer with checkpoints that are whole, completions in reuse included."""

    args: GRPOConfig
    _buffered_inputs: list[dict[str, torch.Tensor]]  # type: ignore[assignment]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """As they stand, without the tokens that some tokenizers put before every text."""
        tokenizer: Any = self.processing_class
        return tokenizer(text=prompts, add_special_tokens=False)["input_ids"], None, {}

    def _tokens_in(self, inputs: Any) -> int:
        """Of the completions that this forward pass learns from; ``inputs`` are the prompts they came from."""
        used = self._buffered_inputs[(self._step - 1) % len(self._buffered_inputs)]
        return int(used["prompt_ids"].numel() + used["completion_ids"].numel())

    def _save_accumulators(self, folder: Path) -> None:
        super()._save_accumulators(folder)
        if self.num_iterations > 1:  # the next step may learn from these once more
            tensors = {
                f"{place}.{name}": value.contiguous().clone()
                for place, batch in enumerate(self._buffered_inputs)
                for name, value in batch.items()
                if isinstance(value, torch.Tensor)
            }
            save_file(tensors, folder / BUFFER.format(rank=self.args.process_index))

    def _load_accumulators(self, folder: Path) -> None:
        super()._load_accumulators(folder)
        # TRL counts its forward passes from 0 in every process; where it stands decides when it generates.
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        if self.state.global_step % self.num_iterations:
            batches: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in load_file(folder / BUFFER.format(rank=self.args.process_index)).items():
                place, name = key.split(".", 1)
                batches.setdefault(int(place), {})[name] = value.to(self.args.device)
            self._buffered_inputs = [batches[place] for place in sorted(batches)]


def curve_names(parts: Sequence[str]) -> dict[str, str]:
    """The curves of a run whose reward has these parts: the trainer's names -> ours."""
    return {
        "step": "step",
        "reward": "reward",
        **{f"rewards/{part}/mean": part for part in parts},
        "reward_std": "reward_deviation",
        "frac_reward_zero_std": "groups_without_difference",
        "kl": "kl",
        "entropy": "entropy",
        "completions/mean_length": "completion_tokens",
        "completions/clipped_ratio": "truncated",
        "clip_ratio/region_mean": "clipped",
        "loss": "loss",
        "grad_norm": "gradient_norm",
        "learning_rate": "learning_rate",
    }


class RewardRecords(TrainerCallback):
    """Writes rewards by part, and what else TRL measures, to the run's log."""

    def __init__(self, log: RunLog) -> None:
        self.log = log

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "reward" in logs:
            self.log.write("reward", step=state.global_step, **logs)


def by_part(names: Iterable[str], score: Score) -> list[Callable[..., list[float | None]]]:
    """The named parts of a reward as TRL calls them, which stop the run at a value that is not finite.

    TRL wants a function for each, and calls one after another with the same list of completions: they are
    scored once. It leaves a NaN out of the sum, so that a broken reward would pass for a small one.

    Raises:
        TrainingError: when called, at such a value, with the name of the prompt's row.
    """
    last: tuple[list[str] | None, Rows, Mapping[str, Sequence[float]]] = (None, [], {})

    def scored(
        completions: list[str], columns: Mapping[str, Any]
    ) -> tuple[Rows, Mapping[str, Sequence[float]]]:
        nonlocal last
        if completions is not last[0]:
            rows = [
                {key: values[place] for key, values in columns.items() if isinstance(values, list)}
                for place in range(len(completions))
            ]
            last = completions, rows, score(rows, completions)
        return last[1:]

    def part(name: str) -> Callable[..., list[float | None]]:
        def call(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
            rows, earned = scored(completions, columns)
            for row, value in zip(rows, earned[name], strict=True):
                if not math.isfinite(value):
                    raise TrainingError(f"reward {name} of {row[ROW]} is {value}: mend the reward function")
            return [float(value) for value in earned[name]]

        call.__name__ = name
        return call

    return [part(name) for name in names]


def arguments(grpo: Grpo, run: Run, model: Model, deepspeed: Deepspeed, cut: Batches) -> GRPOConfig:
    """The trainer's arguments; making them lets the processes find each other.

    Every optimiser step learns from one batch of completions, or ``grpo.updates`` steps do in a row.

    Raises:
        TrainingError: vLLM is asked for and is not installed, or there is no GPU for it.
    """
    gpu = torch.cuda.is_available()
    vllm = grpo.generator == "vllm"
    if vllm and not (gpu and importlib.util.find_spec("vllm")):
        raise TrainingError("grpo.generator: vllm needs a GPU and the vllm package; set it to transformers")
    return GRPOConfig(
        output_dir=".scratch",  # set once the run's folder is known
        deepspeed=deepspeed_config(deepspeed) if deepspeed.zero_stage else None,
        use_cpu=not gpu,
        ddp_timeout=int(PATIENCE.total_seconds()),  # the first process may be waiting for the backup
        bf16=gpu and grpo.bf16,
        per_device_train_batch_size=cut.micro,
        gradient_accumulation_steps=cut.accumulation,
        steps_per_generation=cut.accumulation,
        num_generations=grpo.generations,
        num_iterations=grpo.updates,
        max_completion_length=grpo.max_completion_length,
        temperature=grpo.temperature,
        use_vllm=vllm,
        vllm_mode="colocate",
        beta=grpo.kl,
        epsilon=grpo.clip,
        loss_type="grpo",
        scale_rewards="group" if grpo.normalise else "none",
        shuffle_dataset=False,  # the rows come in their order
        max_steps=cut.steps,
        optim="adamw_torch",
        learning_rate=grpo.learning_rate,
        lr_scheduler_type=grpo.schedule,
        warmup_steps=grpo.warmup_ratio,  # below 1 it is read as a ratio
        adam_beta1=grpo.adam_beta1,
        adam_beta2=grpo.adam_beta2,
        weight_decay=grpo.weight_decay,
        max_grad_norm=grpo.max_grad_norm,
        gradient_checkpointing=False,
        logging_strategy="steps",
        logging_steps=run.log_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a NaN is to be seen
        eval_strategy="no",
        save_strategy="steps",
        save_steps=run.save_steps,
        seed=grpo.seed,
        data_seed=grpo.seed,
        remove_unused_columns=False,
        # The reference model of the divergence is loaded by TRL itself, at the revision that is trained.
        model_init_kwargs={"revision": model.revision} if model.revision and grpo.kl else None,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
    )


def trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Rows,
    rewards: list[Callable[..., list[float | None]]],
    grpo: Grpo,
    lora: Lora,
    args: GRPOConfig,
    safety: Safety,
) -> Trainer:
    """A trainer ready to run.

    Args:
        prompts: rows with their text under ``prompt``, a name under :data:`ROW` and whatever the rewards
            read, in the order in which they are answered.
        rewards: from :func:`by_part`.
        args: from :func:`arguments`.
    """
    args.output_dir = str(safety.folder)
    tokenizer.padding_side = "left"
    result = Trainer(
        model=model,
        args=args,
        reward_funcs=list(rewards),
        train_dataset=Dataset.from_list(prompts),
        processing_class=tokenizer,
        peft_config=lora_config(lora) if grpo.lora else None,
        callbacks=[RewardRecords(safety.log)] if safety.log is not None else [],
    )
    result.remove_callback(PrinterCallback)
    result.durability = safety.durability
    if not (torch.cuda.is_available() and grpo.lora):
        train_in_float32(model)  # a step of 5e-6 is below what bfloat16 weights can hold
    return result
