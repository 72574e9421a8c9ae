"""The base model as a folder: a pinned hub revision, a whole model's folder, or the small model of ``model.builtin``.
A hub model's holds only ``manifest.json`` with the revision and the hashes of its files: 28 GB belong in the hub's
cache and not in DVC's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from socrates.core.errors import ModelError
from socrates.core.files import json_text, read_json, sha256
from socrates.core.hub import hub_errors
from socrates.model.internals import disable_avx512_repack
from socrates.model.params import Model

if TYPE_CHECKING:  # these take seconds to import: only where they are used
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CPU_VARIABLE = "SOCRATES_CPU"
SMALL = 2_000_000  # weights
HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


def pin(params: Model, folder: Path) -> str:
    """Write the manifest of a whole model, a folder or fetched at its revision into the hub's cache, to ``folder``."""
    if params.local:
        named, kind, place, source = params.name, "local", "the folder", Path(params.name)
    else:
        named, kind, place = f"{params.name}@{params.revision}", "hub", "the hub cache"
        with hub_errors(named, "model.name and model.revision", ModelError):
            from huggingface_hub import snapshot_download

            source = Path(snapshot_download(params.name, revision=params.revision, allow_patterns=HUB_FILES))
    hashes = file_hashes(source) if source.is_dir() else {}
    if not any(name.endswith(".safetensors") for name in hashes):
        raise ModelError(f"{named}: holds no safetensors weights")
    manifest = {"kind": kind, "name": params.name, "revision": params.revision, "files": hashes}
    (folder / "manifest.json").write_text(json_text(manifest))
    return f"{named}, {len(hashes)} files in {place}"


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def model_source(folder: Path) -> tuple[str, dict[str, Any]]:
    """What to give ``from_pretrained`` for a base folder, or for a model that was saved whole."""
    path = folder / "manifest.json"
    if not path.exists() and (folder / "config.json").exists():
        return str(folder), {}
    manifest = read_json(path, "run dvc repro base", ModelError)
    if manifest["kind"] == "builtin":
        return str(folder), {}
    return manifest["name"], {"revision": manifest["revision"]} if manifest["kind"] == "hub" else {}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a base folder (or of the hub revision its manifest names)."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    name, options = model_source(folder)
    if not options:
        # AutoTokenizer goes by the model's type and would split words as Qwen does, whatever the file says.
        return PreTrainedTokenizerFast.from_pretrained(name)
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)


def load_base(folder: Path, params: Model) -> PreTrainedModel:
    """The base model of a folder, quantised as ``params`` say, on the device that is there."""
    from transformers import BitsAndBytesConfig
    from transformers.integrations import is_deepspeed_zero3_enabled

    dtype = compute_dtype()
    settings: dict[str, Any] = {}
    if params.quantization == "nf4":
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=dtype,
        )
    place = None if is_deepspeed_zero3_enabled() else {"": device()}
    model = load_weights(folder, dtype=dtype, device_map=place, **settings)
    disable_avx512_repack(model)
    limit_threads(model)
    return model


def limit_threads(model: PreTrainedModel) -> None:
    """Compute a small model on one thread, unless ``OMP_NUM_THREADS`` says otherwise: waking a second takes longer than
    it saves (docs/performance.md), and the result has the same bits."""
    if model.num_parameters() < SMALL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Raises :class:`ModelError` where the files of a base turn out to be missing or damaged."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(f"{folder}: the model cannot be loaded ({told}); run dvc repro -f base") from None


def load_weights(folder: Path, **settings: Any) -> PreTrainedModel:
    """The model of a base folder."""
    from transformers import AutoModelForCausalLM

    name, options = model_source(folder)
    with _readable(folder):
        return AutoModelForCausalLM.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, **options, **settings
        )


def skeleton(folder: Path) -> PreTrainedModel:
    """The model of a base folder by its config alone, on the meta device, which holds no numbers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    name, options = model_source(folder)
    with _readable(folder):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def check_targets(folder: Path, targets: Sequence[str]) -> None:
    """Raises :class:`ModelError` where a layer to adapt is none of the base model's; PEFT passes over some silently."""
    linear = (name for name, part in skeleton(folder).named_modules() if isinstance(part, torch.nn.Linear))
    names = {name.rpartition(".")[2] for name in linear}
    if missing := sorted(set(targets) - names):
        raise ModelError(
            f"lora.target_modules: {', '.join(missing)} not in the model; it has {', '.join(sorted(names))}"
        )


def load_model(base: Path, adapter: Path | None, params: Model) -> PreTrainedModel | PeftModel:
    """The base model of a folder, with the adapter of another if one is given, for inference."""
    model = load_base(base, params)
    return with_adapter(model, adapter, base) if adapter else model


def with_adapter(model: PreTrainedModel, adapter: Path, base: Path) -> PeftModel:
    """``model``, that of the folder ``base``, with the layers of an adapter folder beside its own."""
    from peft import PeftModel

    read_json(adapter / "adapter_config.json", "fetch or train the adapter again", ModelError)
    try:
        # In the type that the base computes in, and training had; PEFT would compute the adapter in float32.
        return PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{adapter}: not an adapter of the model in {base} ({str(error)[:200]})") from None


def require_gpu(folder: Path) -> None:
    """Raises :class:`ModelError` where a hub model would be computed on a CPU and nobody has asked for that."""
    name, options = model_source(folder)
    if options and not torch.cuda.is_available() and not os.environ.get(CPU_VARIABLE):
        why = cuda_problem() or "torch finds no GPU"
        raise ModelError(
            f"{name}: {why}; socrates doctor says more ({CPU_VARIABLE}=1 computes it on the CPU)"
        )


def cuda_problem() -> str | None:
    """Why torch cannot use the GPUs that the machine has; None where it can or there are none."""
    count = 0 if torch.cuda.is_available() else torch.cuda.device_count()
    told = f"torch is built for CUDA {torch.version.cuda}, which the driver of {count} GPUs cannot run"
    return told if count else None


def device() -> torch.device:
    """This process's GPU, or the CPU."""
    on_gpu = torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU, where bfloat16 is slower."""
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32
