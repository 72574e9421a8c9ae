"""Trainers under comparison: ours with shared scenarios, and TRL's with the settings a user could choose."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, logging
from trl import SFTConfig, SFTTrainer

from benchmarks.attentions import FLEX, VARLEN
from benchmarks.quantised import twin
from benchmarks.timing import clock
from benchmarks.workload import Profile, tokenizer
from socrates.core.params import load
from socrates.model.encoding import Encoded
from socrates.training.collator import Rows, plain_dataset
from socrates.training.config import lora_config, train_in_float32
from socrates.training.params import Lora, Train
from socrates.training.schedule import make_schedule
from socrates.training.sft import build_trainer

OURS = "shared scenarios"
OURS_FLEX = "shared scenarios, FlexAttention"
PADDED, GROUPED, PACKED = "TRL, padded", "TRL, padded, by length", "TRL, padding-free"
PACKED_FLASH = "TRL, padding-free, flash attention"  # torch's own: no package to fetch
ATTENTION = {PACKED_FLASH: VARLEN, OURS_FLEX: FLEX}  # instead of what the trainer chose
# TRL's way -> what is set in its configuration besides what all ways have in common.
TRL_WAYS: dict[str, dict[str, Any]] = {
    PADDED: {},
    GROUPED: {"train_sampling_strategy": "group_by_length"},
    PACKED: {"padding_free": True},
    PACKED_FLASH: {"padding_free": True},
}
# Rows of a padding-free pass where attention is a dense mask over all of them: its cost grows with their square.
DENSE_PACK = 4
# The loss of the small model is about 7: 1e-5 is some ten units in the last place of a float32.
LOSS_TOLERANCE, COSINE = 1e-5, 0.9999


class Stopwatch(TrainerCallback):
    """Seconds from the start of training to the end of its last step."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.started, self.seconds = device, 0.0, 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = clock(self.device)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = clock(self.device) - self.started


def trainers(
    model: PreTrainedModel, data: Encoded, profile: Profile, ways: list[str], micro: int, **settings: Any
) -> dict[str, SFTTrainer]:
    """A trainer for each way, each with a copy of the model and a new adapter, the same in all.

    All train on all rows of ``data``, ``micro`` of them in a forward pass, without checkpoints or
    evaluation. Only the shared way reads them in groups.

    Args:
        settings: for the configuration of every way.
    """
    return {name: make(twin(model), name, data, profile, micro, **settings) for name in ways}


def make(
    model: PreTrainedModel, way: str, data: Encoded, profile: Profile, micro: int, **settings: Any
) -> SFTTrainer:
    """One trainer on ``model`` itself; see :func:`trainers`."""
    logging.set_verbosity_error()
    gpu = torch.cuda.is_available()
    passes = micro // DENSE_PACK if way == PACKED and not gpu else 1
    folder = Path(tempfile.gettempdir()) / "socrates-benchmark"  # named only: nothing is saved
    batch = 1 if way in (OURS, OURS_FLEX) else micro // passes
    args = SFTConfig(
        output_dir=str(folder),
        use_cpu=not gpu,
        bf16=gpu,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=passes,
        max_steps=len(data) // micro,
        learning_rate=1e-4,
        **({"gradient_checkpointing": False} | TRL_WAYS.get(way, {}) | settings),
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )
    model.set_attn_implementation("sdpa")
    torch.manual_seed(1)  # the adapter's first weights
    if way in (OURS, OURS_FLEX):
        order = make_schedule(np.arange(len(data)), data.scenario_of_row, len(data), profile.group, 1)
        train = load(Train).model_copy(update={"share_scenario": True})
        rows = Rows(data, order, order[:micro])
        args.train_sampling_strategy = "sequential"
        made = build_trainer(model, tokenizer(), rows, micro, train, load(Lora), args)
    else:
        made = SFTTrainer(
            model=model,
            args=args,
            train_dataset=plain_dataset(data, np.arange(len(data))),
            processing_class=tokenizer(),
            peft_config=lora_config(load(Lora)),
        )
        made.remove_callback(PrinterCallback)
        if not gpu:  # TRL keeps a QLoRA adapter in bfloat16; ours does not where nothing computes in it
            train_in_float32(model)
    if way in ATTENTION:
        model.set_attn_implementation(ATTENTION[way])
    return made


def with_adapter(model: PreTrainedModel) -> PeftModel:
    """The model with an adapter that changes what it says, for prediction."""
    adapted = get_peft_model(model, lora_config(load(Lora)))
    stir(adapted)
    return adapted.eval()


def run_once(trainer: SFTTrainer) -> Callable[[], float]:
    """A way for ``timing.interleaved``: train over all rows once."""
    watch = Stopwatch(trainer.accelerator.device)
    trainer.add_callback(watch)

    def run() -> float:
        trainer.train()
        return watch.seconds

    return run


def loss_and_gradient(trainer: SFTTrainer, items: list[dict[str, Any]]) -> tuple[float, torch.Tensor]:
    """Loss of a batch as the trainer computes it, dropout off, and the adapter's gradient as one vector."""
    trainer.model.eval()
    batch = trainer._prepare_inputs(trainer.data_collator(items))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    trainable = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    gradient = torch.cat([trainable[name].grad.float().flatten() for name in sorted(trainable)])
    trainer.model.zero_grad()
    trainer.model.train()
    return loss.item(), gradient


def check_equal(
    made: dict[str, SFTTrainer],
    data: Encoded,
    count: int,
    loss_tolerance: float = LOSS_TOLERANCE,
    cosine: float = COSINE,
) -> str:
    """Refuse to go on unless all ways give one loss and one gradient for the first ``count`` rows.

    Returns:
        One line with the largest differences seen.

    Raises:
        SystemExit: with the way that differs.
    """
    for trainer in made.values():
        stir(trainer.model)
    first = range(count)
    results = {}
    for name, trainer in made.items():
        plain = name in TRL_WAYS
        items = list(plain_dataset(data, np.array(first))) if plain else [{"rows": list(first)}]
        results[name] = loss_and_gradient(trainer, items)
    loss, gradient = results[OURS]
    worst_loss, worst_cosine = 0.0, 1.0
    for name, (other_loss, other) in results.items():
        difference = abs(loss - other_loss)
        angle = F.cosine_similarity(gradient.double(), other.double(), dim=0).item()
        if difference > loss_tolerance or angle < cosine:
            raise SystemExit(
                f"not reported: {name} and {OURS} differ by {difference:.2g} in loss, gradient cosine {angle:.6f}"
            )
        worst_loss, worst_cosine = max(worst_loss, difference), min(worst_cosine, angle)
    return f"equivalence: losses within {worst_loss:.1e}, gradient cosine at least {worst_cosine:.7f}"


def stir(model: torch.nn.Module) -> None:
    """Give the adapter's second matrices, zero at first, values: else it says nothing and half of its gradient is 0."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            drawn = torch.randn(parameter.shape, generator=generator) * 0.02
            parameter.data.copy_(drawn.to(parameter.device, parameter.dtype))
