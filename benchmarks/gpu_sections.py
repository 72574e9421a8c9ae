"""What ``benchmarks.gpu`` measures: each section is a function that returns the lines of its table."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import psutil
import torch
from peft import get_peft_model
from transformers import Qwen2ForCausalLM

from benchmarks.plans import Plan, random_model
from benchmarks.prediction_speed import prediction
from benchmarks.timing import Line, clock, clocked, here, interleaved, line, ratio
from benchmarks.training_speed import against_trl, stir
from benchmarks.workload import rows, tokenizer, twin
from gsm8k.params import TRAIN
from gsm8k.problem_sources import parse, read_records
from gsm8k.warm_start import CHAT_TEMPLATE
from socrates.core import params
from socrates.core.files import sha256, write_json, write_table
from socrates.model.prefix_sharing import use_prefix_sharing
from socrates.runs.launch import launch
from socrates.runs.log import read_lines
from socrates.runs.session import training_session
from socrates.survey.tables import DEMOGRAPHICS, SCALED_RESPONSES
from socrates.tiny_model.build import save_builtin
from socrates.tools.estimate import MEASURED, Measured
from socrates.tools.merge import TOLERANCE, merge
from socrates.tools.preset import preview
from socrates.training import batch_size, finetune
from socrates.training.collator import Rows
from socrates.training.config import TrainParams, TrainPaths, lora_config
from socrates.training.params import Lora
from socrates.training.schedule import BatchPlan, plan_batches
from socrates.training.sft import AdapterTrainer, arguments

STEPS = 10  # of the pipeline's own training
LAYERS = 48  # of what is merged: as many as 14 billion parameters have


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A working folder for what a section writes, which goes with it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.update(SOCRATES_SCRATCH=f"{folder}/scratch", SOCRATES_PROCESSES="1")
        yield Path(folder)


def doctor(plan: Plan, rounds: int) -> list[Line]:
    """The doctor's checks of a machine, for the preset that the next section trains."""
    from socrates.tools import doctor

    sections, gpus = preview(plan.preset), doctor.gpus()
    memory = psutil.virtual_memory().available
    checks = [
        doctor.check("device", doctor.device, Path(), sections, gpus, 1),
        doctor.check("kernels", doctor.kernels, gpus),
        doctor.check("host memory", doctor.host_memory, sections, 1, memory),
    ]
    if not gpus:
        doctor.four_bit_product("cpu")
    return [line(check.name, check.text, check.do, theirs=(check.status, "")) for check in checks]


def training(plan: Plan, rounds: int) -> list[Line]:
    """Ten steps by the code of ``stages.train``: the trial of passes, ZeRO as in the preset, a resume in the middle."""
    sections: dict[str, Any] = dict(preview(plan.preset))
    cut = {
        "max_steps": STEPS,
        "eval_steps": STEPS,
        "global_batch": plan.global_batch,
        "eval_rows": plan.micro,
    }
    sections["train"] = train = sections["train"].model_copy(update=cut)
    sections["run"] = sections["run"].model_copy(update={"save_steps": STEPS // 2})
    group, count = min(train.group_size, plan.micro), STEPS * plan.global_batch
    data = rows(plan.profiles[0], (count + plan.micro) // group, group, "1..7")
    order = np.arange(len(data))
    parted = Rows(data, order[:count], order[count:])
    model = random_model(plan)
    with workplace() as folder:
        whole, told = _trained(model, parted, sections, folder)
        for checkpoint in folder.glob(f"scratch/*/*/checkpoint-{STEPS}"):
            shutil.rmtree(checkpoint)
        again, _ = _trained(model, parted, sections, folder, told)
        steps = [event for event in read_lines(folder / "log.jsonl") if event["event"] == "step"][2:STEPS]
    step, tokens = (float(np.median([event[name] for event in steps])) for name in ("seconds", "tokens"))
    if torch.cuda.is_available():  # for socrates estimate, in place of its guess for this card
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        passes, shape = int(told["grad_accum_steps"]), sections["model"]
        how = Measured(torch.cuda.get_device_name(), gib, shape.name, shape.quantization, passes, tokens / passes,
                       told["checkpointed"], step)  # fmt: skip
        write_json(MEASURED, asdict(how))
    named = f"ten steps of {plan.global_batch} rows in passes of {told['micro_batch_size']}"
    return [
        line(f"{named}, ZeRO-{sections['deepspeed'].zero_stage}", step, "s a step"),
        *(line(f"of it {name}", seconds, "s a step") for name, seconds in told["parts"].items()),
        line("tokens", tokens / step, "tokens/s"),
        line("memory, the most", max(event["memory_bytes"] for event in steps) / 2**30, "GiB"),
        line("resumed in the middle", "the same bits" if whole == again else "OTHER BITS"),
    ]


def _trained(
    model: Qwen2ForCausalLM,
    parted: Rows,
    sections: Mapping[str, Any],
    folder: Path,
    found: Mapping[str, Any] | None = None,
) -> tuple[str, dict[str, Any]]:
    """The hash of the adapter of a run that goes on from what lies in ``folder``, and how it was cut and timed.

    Args:
        found: how it is cut, in place of a trial.
    """
    process, train = launch("benchmarks.gpu"), sections["train"]
    assert process is not None
    shaping = TrainParams(*(sections[name] for name in ("model", "lora", "deepspeed", "run")))
    plan = plan_batches(train, len(parted.train), 1)
    taken: dict[str, list[float]] = defaultdict(list)

    def timed(name: str) -> Any:
        plain = getattr(AdapterTrainer, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            started = clock(here())
            result = plain(*args, **kwargs)
            taken[name].append(clock(here()) - started)
            return result

        return mock.patch.object(AdapterTrainer, name, call)

    with contextlib.ExitStack() as stack:
        patches = [
            mock.patch.object(module, "load_base", lambda *_: twin(model))
            for module in (finetune, batch_size)
        ]
        patches += [mock.patch.object(finetune, "load_tokenizer", lambda _: tokenizer())]
        patches += [timed(name) for name in ("compute_loss", "training_step")]
        if found:
            again = BatchPlan(*(found[field.name] for field in fields(BatchPlan)))
            patches += [mock.patch.object(finetune, "find_plan", lambda *_: (again, "as before"))]
        for patch in patches:
            stack.enter_context(patch)
        args = arguments(train, shaping.run, shaping.deepspeed, plan)
        log = folder / "log.jsonl"
        session = stack.enter_context(training_session("benchmark", process, {}, shaping.run, STEPS, log))
        finetune.train_adapter(session, folder, shaping, train, parted, plan, args)
    (cut,) = [event for event in read_lines(log) if event["event"] == "plan"][-1:]
    passes = int(cut["grad_accum_steps"])
    forward, both = (passes * float(np.median(taken[name])) for name in ("compute_loss", "training_step"))
    parts = {"forward": forward, "backward, and DeepSpeed's step": both - forward}
    return sha256(session.last_checkpoint / "adapter_model.safetensors"), {**cut, "parts": parts}


def merging(plan: Plan, rounds: int) -> list[Line]:
    """How far a merged model's answers are from those of base and adapter, at the depth of 14 billion parameters."""
    given, lora = Path("params.yaml").read_bytes(), params.load(Lora)
    with workplace() as folder:
        adapted = get_peft_model(_write_base(plan, LAYERS, folder / "models/base"), lora_config(lora))
        stir(adapted)
        adapted.save_pretrained(str(folder / "models/adapter"), save_embedding_layers=False)
        (folder / "params.yaml").write_bytes(given.replace(b"max_length: 512", b"max_length: 4096"))
        write_table(folder / "data/splits/test.parquet", _responses())
        started = time.perf_counter()
        check = merge(folder, folder / "merged", tolerance=1.0)
        seconds = time.perf_counter() - started
    what, unit = "distance of merged and adapter", "total variation"
    return [
        line(f"{what}, largest", check["largest_distance"], unit),
        line(f"{what}, mean", check["mean_distance"], unit, ("tolerance", TOLERANCE[torch.bfloat16])),
        line(f"merging, {LAYERS} layers", seconds, "s"),
    ]


def _write_base(plan: Plan, layers: int, folder: Path) -> Qwen2ForCausalLM:
    """A random base model as the stages leave one, and that model."""
    torch.manual_seed(0)
    model, words = Qwen2ForCausalLM(plan.small(layers)).to(plan.dtype), tokenizer()
    words.chat_template = CHAT_TEMPLATE
    save_builtin(model, words, [0.0], folder)
    return model


def _responses(count: int = 100) -> pl.DataFrame:
    """Respondents of different ages, each asked one question on one of two scales."""
    scales = [("How warm? Only return an integer from 0 to 100.", "0..100"), ("Agreed? From 1 to 7.", "1..7")]
    records = []
    for i in range(count):
        (text, notation), person = scales[i % 2], dict.fromkeys(DEMOGRAPHICS) | {"age": str(18 + i % 70)}
        records.append(("random", i, i, 1, i % 2, person, text, 5, notation, "benchmark"))
    return pl.DataFrame(records, schema=SCALED_RESPONSES, orient="row")


def grpo(plan: Plan, rounds: int) -> list[Line]:
    """Steps of the second pipeline's training of all weights, at the size of Qwen2.5-0.5B."""
    from gsm8k.grpo import train_grpo

    raw = params.read_yaml(Path("gsm8k/params.yaml"))
    completions, tokens = plan.completions
    raw["problems"]["synthetic"] |= {"train": 64, "test": 1}
    raw["grpo"] |= {"global_batch": completions, "micro_batch": min(completions, 16), "generations": 8}
    raw["grpo"] |= {"max_completion_length": tokens, "max_prompt_length": 2048, "max_steps": 3, "lora": False}
    sections: dict[str, Any] = params.parse(raw, sections=params.GSM8K_SECTIONS)
    problems, _ = parse(read_records(sections["problems"], "train"), "train", 0.0)
    with workplace() as folder:
        _write_base(plan, 24, folder / "base")
        write_table(folder / TRAIN, problems)
        process = launch("benchmarks.gpu")
        assert process is not None
        paths = TrainPaths(*(folder / name for name in ("base", "trained", "curves.csv", "log.jsonl")))
        shaping = TrainParams(*(sections[name] for name in ("model", "lora", "deepspeed", "run")))
        train_grpo(paths, shaping, sections["grpo"], sections["rewards"], process)
        steps = [event for event in read_lines(paths.run_log) if event["event"] == "step"][1:]
    what = f"GRPO, {completions} completions of at most {tokens} tokens"
    return [
        line(what, float(np.median([event["seconds"] for event in steps])), "s a step"),
        line("memory, the most", max(event["memory_bytes"] for event in steps) / 2**30, "GiB"),
    ]


def attentions(plan: Plan, rounds: int) -> list[Line]:
    """Passes of training, each of another shape, with cuDNN's attention switched on, and off as ours has it."""
    data, base = rows(plan.profiles[0], 8 * plan.micro // 4, 4, "1..7"), random_model(plan)
    use_prefix_sharing(base)
    base.enable_input_require_grads()
    model = get_peft_model(base, lora_config(params.load(Lora)), autocast_adapter_dtype=False).train()
    batch_size.checkpoint(model, 1)
    passes = np.arange(8 * plan.micro).reshape(8, -1)

    def way(cudnn: bool) -> Callable[[], float]:
        def work() -> None:
            torch.backends.cuda.enable_cudnn_sdp(cudnn)
            for one in passes:
                batch_size.forward_backward(model, data, one)

        return clocked(work, here())

    ways = {"cuDNN on": way(True), "cuDNN off": way(False)}
    first = {name: run() for name, run in ways.items()}
    known = interleaved(ways, rounds)

    def compared(shape: str, on: float, off: float, times: float) -> Line:
        theirs = ("cuDNN's attention", on / len(passes))
        return line(f"a pass of a {shape} shape", off / len(passes), "s", theirs=theirs, ratio=times)

    return [
        compared("new", *first.values(), first["cuDNN on"] / first["cuDNN off"]),
        compared("known", *(float(np.median(taken)) for taken in known.values()), ratio(known, *ways)),
    ]


SECTIONS: dict[str, Callable[[Plan, int], list[Line]]] = {
    "doctor": doctor,
    "training": training,
    "trl": against_trl,
    "prediction": prediction,
    "merge": merging,
    "grpo": grpo,
    "attentions": attentions,
}
