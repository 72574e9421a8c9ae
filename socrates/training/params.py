"""``deepspeed``: how state is spread over processes. It must not change the result.
``lora``: the low-rank adapter (Hu et al. 2021, arXiv 2106.09685).
``train``: how the adapter is trained. Devices and process counts are not part of it;
with ``lora.dropout`` above 0 another number of processes draws other dropout, and training.json says how many ran."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationInfo, field_validator, model_validator

from socrates.core.params import Section, Seed


class Deepspeed(Section):
    zero_stage: Literal[0, 1, 2, 3]  # 0: no DeepSpeed, plain data parallel
    offload: bool  # optimiser state (and, at stage 3, weights) in CPU memory


class Lora(Section):
    r: PositiveInt
    alpha: PositiveInt  # null: twice r; the adapter's output is scaled by alpha / r
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Annotated[list[str], Field(min_length=1)]

    @field_validator("alpha", mode="before")
    @classmethod
    def _twice_r(cls, alpha: Any, others: ValidationInfo) -> Any:
        return 2 * others.data.get("r", 1) if alpha is None else alpha


class Train(Section):
    method: Literal["sft", "dpo"]  # supervised, or preferred over another answer (training/dpo.py)
    global_batch: PositiveInt  # rows per optimiser step, whatever the number of processes
    micro_batch: PositiveInt | None  # rows per forward pass of one process; null: found by trying on the GPU
    group_size: PositiveInt  # respondents of one scenario that come together, so that a pass computes it once
    learning_rate: PositiveFloat
    epochs: Annotated[float, Field(gt=0, le=10_000)]
    max_steps: PositiveInt | None  # optimiser steps; null: as many as the epochs give
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_checkpointing: bool | None  # null: found by trying on the GPU, none on a CPU
    eval_steps: PositiveInt
    eval_rows: PositiveInt  # validation rows used for the loss during training
    seed: Seed

    @model_validator(mode="after")
    def _passes(self) -> Self:
        if self.method == "dpo" and None in (self.micro_batch, self.gradient_checkpointing):
            raise ValueError(
                "method dpo needs micro_batch and gradient_checkpointing: only sft tries them out"
            )
        return self
