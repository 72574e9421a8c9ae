"""Where a model runs when it is asked, and in which number format: chosen by what is there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from socrates.core.errors import ModelError
from socrates.model.folding import adapter_config, fold, foldable
from socrates.model.loading import device, keep_unpacked, load_tokenizer, where, with_adapter
from socrates.model.plain import PlainQwen2, PlainTokenizer, readable

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["bfloat16", "nf4", "int8", "float32"]
# Bytes a weight takes, with the scales of quantised ones.
BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "int8": 1.1, "nf4": 0.6}
PREFERRED: dict[str, tuple[Precision, ...]] = {"cuda": ("bfloat16", "nf4"), "cpu": ("float32", "int8")}
HEADROOM = 1.25  # of the weights, for activations and the load itself


@dataclass(frozen=True)
class Place:
    """A device and the number format of the weights there; ``str`` of it is what a person reads."""

    device: torch.device
    precision: Precision

    def __str__(self) -> str:
        if self.device.type == "cpu":
            return f"{self.precision} on the CPU"
        return f"{self.precision} on {torch.cuda.get_device_name(self.device)}"


def choose(parameters: int, asked: str = "auto") -> Place:
    """The device that is there, and the first of its formats whose weights fit its free memory.

    Args:
        parameters: weights of the model.
        asked: a format to use whatever the memory, or ``auto``.

    Raises:
        ModelError: the format is unknown, or not even the smallest fits.
    """
    here = device()
    if asked != "auto":
        if asked not in get_args(Precision):
            raise ModelError(f"precision {asked!r}: expected auto, {', '.join(get_args(Precision))}")
        return Place(here, asked)  # type: ignore[arg-type]
    free = free_bytes(here)
    for precision in PREFERRED[here.type]:
        if parameters * BYTES[precision] * HEADROOM <= free:
            return Place(here, precision)
    raise ModelError(
        f"{parameters / 1e9:.1f} billion weights need {parameters * BYTES[precision] * HEADROOM / 2**30:.1f} GiB "
        f"in {precision}; {free / 2**30:.1f} GiB are free on {here}: free some, or use a smaller model"
    )


def free_bytes(on: torch.device) -> int:
    """Free memory of a GPU, or what Linux holds available for a new program, bytes."""
    if on.type == "cuda":
        return torch.cuda.mem_get_info(on)[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**62


def count_parameters(name: str, options: dict[str, Any]) -> int:
    """Weights of a model by its config alone: its matrices on the meta device, which holds no numbers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(math.prod(parameter.shape) for parameter in model.parameters())


def load_for_use(
    base: Path, adapter: Path | None, asked: str = "auto"
) -> tuple[PreTrainedModel | PeftModel | PlainQwen2, Place]:
    """A model for answering, with the place chosen for it.

    A plain LoRA adapter is folded into float32 weights; beside others it keeps its own layers, as in
    training: half a step of bfloat16 is more than an adapter of few steps changes most weights by.

    Args:
        base: a base folder, or a model that was saved whole.
        asked: see :func:`choose`.

    Raises:
        ModelError: a folder is not what it should be, or the memory is too small.
    """
    if asked in ("auto", "float32") and device().type == "cpu" and readable(base):
        plain = PlainQwen2(base)
        if adapter is None or foldable(adapter_config(adapter)):
            if adapter is not None:
                fold(plain, adapter)
            return plain.eval(), Place(device(), "float32")
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    name, options = where(base)
    try:
        place = choose(count_parameters(name, options), asked)
        if place.precision == "nf4":
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16 if place.device.type == "cuda" else torch.float32,
            )
        elif place.precision == "int8":
            options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        wide = place.precision == "float32" or (place.device.type == "cpu" and place.precision != "bfloat16")
        model = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=torch.float32 if wide else torch.bfloat16,
            device_map=None if place.device.type == "cpu" else {"": place.device},
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        ).eval()
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ModelError(f"{base}: the model cannot be loaded ({detail})") from None
    if place.precision == "nf4":
        keep_unpacked(model)
    if adapter is None:
        return model, place
    if place.precision == "float32" and foldable(adapter_config(adapter)):
        fold(model, adapter)
        return model, place
    return with_adapter(model, adapter, base), place


def tokenizer_for_use(base: Path) -> PreTrainedTokenizerBase | PlainTokenizer:
    """The tokenizer of a base folder, by the shortest way."""
    return PlainTokenizer(base) if readable(base) else load_tokenizer(base)
