"""The attributes of other libraries that are private or undocumented, and used here all the same;
``tests/model/test_internals.py`` fails with a clear line when an upgrade removes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer


def disable_avx512_repack(model: PreTrainedModel) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on a CPU with AVX512-BF16 at the first evaluation: training cannot
    go on from there, and float32 is what we compute in."""
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def disable_deepspeed_kernels() -> None:
    """Keep DeepSpeed on a CPU from compiling collectives of its own at its first start: a minute, under a lock file
    that a killed process leaves behind and every later start waits for. gloo does the same sums."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}


def save_checkpoint(trainer: Trainer) -> None:
    """Write a checkpoint now, as at ``save_steps``: an evaluation that is stopped has no hook for it."""
    if trainer.model is not None:
        trainer._save_checkpoint(trainer.model, trial=None)
