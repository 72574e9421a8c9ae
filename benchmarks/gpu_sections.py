"""What ``benchmarks.gpu`` measures: each section is a function that returns the lines of its table."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.prediction_speed import OPTIONS, Bench, Size, left_padded, prompts, separate_rows
from benchmarks.quantised import nf4_model, qwen_14b, twin
from benchmarks.timing import clock, clocked, interleaved, ratio
from benchmarks.training import (
    COSINE,
    GROUPED,
    LOSS_TOLERANCE,
    OURS,
    PACKED_FLASH,
    check_equal,
    run_once,
    stir,
    trainers,
)
from benchmarks.workload import PROFILES, Profile, config, rows, tokenizer
from gsm8k.warm_start import CHAT_TEMPLATE
from socrates.core.files import sha256, write_json, write_table
from socrates.runs.launch import launch
from socrates.runs.log import read_lines
from socrates.survey.tables import DEMOGRAPHICS, SCALED_RESPONSES
from socrates.tiny_model.build import save_builtin
from socrates.tools.estimate import MEASURED, Measured
from socrates.training.collator import Rows
from socrates.training.schedule import BatchPlan

Line = list[object]
STEPS = 10  # of the pipeline's own training
LAYERS = 48  # of what is merged: as many as 14 billion parameters have


@dataclass(frozen=True)
class Plan:
    """How much is computed: of full size, or in miniature.

    Attributes:
        model: of training and prediction; small: by its layers; of merging and GRPO, whose weights are written.
        preset: of the params of training.
        micro: rows of a training pass; passes: of a round.
        loss, cosine: tolerances of the training check.
        completions: of a step of GRPO, and their tokens.
    """

    model: Callable[[], Qwen2Config]
    small: Callable[[int], Qwen2Config]
    dtype: torch.dtype
    preset: tuple[str, ...]
    global_batch: int
    profiles: list[Profile]
    micro: int
    passes: int
    loss: float
    cosine: float
    prediction: Size
    completions: tuple[int, int]


def qwen_half_b(layers: int) -> Qwen2Config:
    """The widths of Qwen2.5-0.5B, which has 24 layers."""
    widths = {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    }
    return Qwen2Config(vocab_size=151936, num_hidden_layers=layers, tie_word_embeddings=True, **widths)


FULL = Plan(
    model=qwen_14b,
    small=qwen_half_b,
    dtype=torch.bfloat16,
    preset=("full",),
    global_batch=256,
    profiles=[PROFILES[0], PROFILES[3]],
    micro=32,
    passes=2,
    loss=0.05,
    cosine=0.98,
    prediction=Size(scenarios=2, respondents=32, few=(16, 2), batches=(64,), tokens=16384, tolerance=0.1),
    completions=(64, 200),
)
SHORT = [
    replace(p, shared=p.shared // 8, own=p.own // 8, shared_spread=0, own_spread=2) for p in FULL.profiles
]
TINY = Plan(
    model=lambda: config(layers=2),
    small=lambda layers: config(layers=2),
    dtype=torch.float32,
    preset=(),
    global_batch=8,
    profiles=SHORT,
    micro=4,
    passes=1,
    loss=LOSS_TOLERANCE,
    cosine=COSINE,
    prediction=Size(scenarios=1, respondents=3, few=(2, 1), batches=(8,), tokens=2048, profile=SHORT[0]),
    completions=(8, 8),
)


def here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_model(plan: Plan) -> Qwen2ForCausalLM:
    """The model of training and prediction, on the card."""
    started = clock(here())
    model = nf4_model(plan.model(), here(), plan.dtype if torch.cuda.is_available() else torch.float32)
    print(
        f"{model.num_parameters() / 1e9:.2f} billion parameters, {clock(here()) - started:.0f} s", flush=True
    )
    return model


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for what a section writes, which is the working folder and goes with it."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(SOCRATES_SCRATCH=f"{folder}/scratch", SOCRATES_PROCESSES="1")
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def doctor(plan: Plan, rounds: int) -> list[Line]:
    """The doctor's checks of a machine, for the preset that the next section trains."""
    import psutil

    from socrates.tools import doctor
    from socrates.tools.preset import preview

    sections, gpus = preview(plan.preset), doctor.gpus()
    memory = psutil.virtual_memory().available
    checks = [
        doctor.check("device", doctor.device, Path(), sections, gpus, 1),
        doctor.check("kernels", doctor.kernels, gpus),
        doctor.check("host memory", doctor.host_memory, sections, 1, memory),
    ]
    if not gpus:
        doctor.four_bit_product("cpu")
    return [[check.name, check.status, "", check.text, check.do, "", ""] for check in checks]


def training(plan: Plan, rounds: int) -> list[Line]:
    """Ten steps by the code of ``stages.train``: the trial of passes, ZeRO as in the preset, a resume in the middle."""
    from socrates.tools.preset import preview

    sections: dict[str, Any] = dict(preview(plan.preset))
    cut = {
        "global_batch": plan.global_batch,
        "max_steps": STEPS,
        "eval_steps": STEPS,
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
        steps = [line for line in read_lines(folder / "log.jsonl") if line["event"] == "step"][2:STEPS]
    if torch.cuda.is_available():
        _keep_for_estimate(sections["model"], told, steps)
    named = f"ten steps of {plan.global_batch} rows in passes of {told['micro_batch_size']}"
    step, tokens = (float(np.median([line[name] for line in steps])) for name in ("seconds", "tokens"))
    measured = {
        f"{named}, ZeRO-{sections['deepspeed'].zero_stage}": (step, "s a step"),
        **{f"of it {name}": (seconds, "s a step") for name, seconds in told["parts"].items()},
        "tokens": (tokens / step, "tokens/s"),
        "memory, the most": (max(line["memory_bytes"] for line in steps) / 2**30, "GiB"),
        "resumed in the middle": ("the same bits" if whole == again else "OTHER BITS", ""),
    }
    return [[what, "", "", value, unit, "", ""] for what, (value, unit) in measured.items()]


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
    from socrates.runs.session import training_session
    from socrates.training import batch_size, finetune
    from socrates.training.config import TrainParams
    from socrates.training.schedule import plan_batches
    from socrates.training.sft import AdapterTrainer, sft_config

    process, train = launch("benchmarks.gpu"), sections["train"]
    assert process is not None
    params = TrainParams(*(sections[name] for name in ("model", "lora", "deepspeed", "run")))
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
        for module in (finetune, batch_size):
            stack.enter_context(mock.patch.object(module, "load_base", lambda *_: twin(model)))
        stack.enter_context(mock.patch.object(finetune, "load_tokenizer", lambda _: tokenizer()))
        for name in ("compute_loss", "training_step"):
            stack.enter_context(timed(name))
        if found:
            again = BatchPlan(*(found[field.name] for field in fields(BatchPlan)))
            stack.enter_context(mock.patch.object(finetune, "find_plan", lambda *_: (again, "as before")))
        args = sft_config(train, params.run, params.deepspeed, plan)
        session = stack.enter_context(
            training_session("benchmark", process, {}, params.run, STEPS, folder / "log.jsonl")
        )
        finetune.train_adapter(session, folder, params, train, parted, plan, args)
    (cut,) = [line for line in read_lines(folder / "log.jsonl") if line["event"] == "plan"][-1:]
    passes = int(cut["grad_accum_steps"])
    forward, both = (passes * float(np.median(taken[name])) for name in ("compute_loss", "training_step"))
    parts = {"forward": forward, "backward, and DeepSpeed's step": both - forward}
    return sha256(session.last_checkpoint / "adapter_model.safetensors"), {**cut, "parts": parts}


def _keep_for_estimate(model: Any, told: Mapping[str, Any], steps: list[dict[str, Any]]) -> None:
    """Write what ``socrates estimate`` uses in place of its guess for this card."""
    passes = int(told["grad_accum_steps"])
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    seconds, tokens = (float(np.median([line[name] for line in steps])) for name in ("seconds", "tokens"))
    how = Measured(torch.cuda.get_device_name(), gib, model.name, model.quantization, passes, tokens / passes,
                   told["checkpointed"], seconds)  # fmt: skip
    write_json(MEASURED, asdict(how))


def against_trl(plan: Plan, rounds: int) -> list[Line]:
    """Rows per second of ours and of TRL's trainer, and the peaks of memory above the model's."""
    model = random_model(plan)
    return [line for profile in plan.profiles for line in _against_trl(model, profile, plan, rounds)]


def _against_trl(model: Qwen2ForCausalLM, profile: Profile, plan: Plan, rounds: int) -> list[Line]:
    """A way of TRL that fails (a kernel that this card lacks) is left out with a line; ours must work."""
    group = min(profile.group, plan.micro)
    shape = replace(profile, group=group)
    data = rows(shape, plan.passes * plan.micro // group, group, "1..7")
    what, aim = f"training, {profile.name}, G {group}", "2.5" if group > 1 else "0.95"
    lines: list[Line] = []
    made, peaks = {}, {}
    for name in (OURS, GROUPED, PACKED_FLASH):
        try:
            one = trainers(model, data, shape, [name], plan.micro, gradient_checkpointing=True)
            together = {OURS: made.get(OURS, one.get(OURS)), **one}
            print(f"{name}: {check_equal(together, data, plan.micro, plan.loss, plan.cosine)}", flush=True)
            made |= one
        except (Exception, SystemExit) as problem:
            if name == OURS:
                raise
            reason = f"not measured: {type(problem).__name__} {problem}".split("\n")[0][:150]
            lines.append([what, name, reason, "", "", "", ""])

    def measured(name: str) -> Callable[[], float]:
        once = run_once(made[name])

        def way() -> float:
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()  # 0 without a GPU
            seconds = once()
            peaks[name] = torch.cuda.max_memory_allocated() - before
            return seconds

        return way

    seconds = interleaved({name: measured(name) for name in made}, rounds)
    speed = {name: len(data) / float(np.median(taken)) for name, taken in seconds.items()}
    for name in list(made)[1:]:
        lines.append([what, name, speed[name], speed[OURS], "rows/s", ratio(seconds, name, OURS), aim])
        if peaks[name]:
            theirs, ours = peaks[name] / 2**30, peaks[OURS] / 2**30
            lines.append([f"peak memory, {what}", name, theirs, ours, "GiB", ours / theirs, "at most 0.6"])
    return lines


def prediction(plan: Plan, rounds: int) -> list[Line]:
    """Respondents per second of exact distributions, against every option scored and against 20 sampled answers."""
    bench = Bench(random_model(plan), plan.prediction, rounds)
    lines: list[Line] = []
    for scale, aim in (("7-point", "3"), ("0-100", "12")):
        _, ours, theirs, times = bench.scoring(scale)
        lines.append([f"scoring, {scale}", OPTIONS, theirs, ours, "respondents/s", times, aim])
    sampled = _sampled(bench)
    lines.append(
        [
            "scoring, 0-100",
            "20 answers by generate",
            sampled,
            ours,
            "respondents/s",
            float(ours) / sampled,
            "15",
        ]
    )  # type: ignore[arg-type]
    return lines


def _sampled(bench: Bench) -> float:
    """Respondents per second of 20 answers of three digits each, by transformers' ``generate``."""
    few = range(bench.size.few[0])
    data, model = rows(bench.size.profile, 1, len(few), "0..100"), separate_rows(bench.model)
    ids, mask = left_padded(prompts(data, few), model.device)
    drawn = {"do_sample": True, "num_return_sequences": 20, "min_new_tokens": 3, "max_new_tokens": 3}

    def generate() -> None:
        model.generate(input_ids=ids, attention_mask=mask, pad_token_id=0, use_cache=True, **drawn)

    generate()
    return len(few) / clocked(generate, model.device)()


def merging(plan: Plan, rounds: int) -> list[Line]:
    """How far a merged model's answers are from those of base and adapter, at the depth of 14 billion parameters."""
    from peft import get_peft_model

    from socrates.core.params import load
    from socrates.tools.merge import TOLERANCE, merge
    from socrates.training.config import lora_config
    from socrates.training.params import Lora

    params, lora = Path("params.yaml").read_bytes(), load(Lora)
    with workplace() as folder:
        adapted = get_peft_model(_write_base(plan, LAYERS, folder / "models/base"), lora_config(lora))
        stir(adapted)
        adapted.save_pretrained(str(folder / "models/adapter"), save_embedding_layers=False)
        (folder / "params.yaml").write_bytes(params.replace(b"max_length: 512", b"max_length: 4096"))
        write_table(folder / "data/splits/test.parquet", _responses())
        started = time.perf_counter()
        check = merge(folder, folder / "merged", tolerance=1.0)
        seconds = time.perf_counter() - started
    aim = f"at most {TOLERANCE[torch.bfloat16]:g}"
    found = {**check["distances"], "mean": check["mean_distance"]}
    lines: list[Line] = [
        [
            f"distance of merged and adapter, {name}",
            "",
            "",
            value,
            "total variation",
            "",
            aim if name == "mean" else "",
        ]
        for name, value in found.items()
    ]
    return [*lines, [f"merging, {LAYERS} layers", "", "", seconds, "s", "", ""]]


def _write_base(plan: Plan, layers: int, folder: Path) -> Qwen2ForCausalLM:
    """A random base model as the stages leave one, and that model."""
    torch.manual_seed(0)
    model, words = Qwen2ForCausalLM(plan.small(layers)).to(plan.dtype), tokenizer()
    words.chat_template = CHAT_TEMPLATE
    save_builtin(model, words, [0.0], folder)
    return model


def _responses(count: int = 100) -> pl.DataFrame:
    """Respondents of different ages, each asked one question on one of two scales."""
    people = [dict.fromkeys(DEMOGRAPHICS) | {"age": str(18 + i % 70)} for i in range(count)]
    scales = [("How warm? Only return an integer from 0 to 100.", "0..100"), ("Agreed? From 1 to 7.", "1..7")]
    records = [
        ("random", i, i, 1, i % 2, person, scales[i % 2][0], 5, scales[i % 2][1], "benchmark")
        for i, person in enumerate(people)
    ]
    return pl.DataFrame(records, schema=SCALED_RESPONSES, orient="row")


def grpo(plan: Plan, rounds: int) -> list[Line]:
    """Steps of the second pipeline's training of all weights, at the size of Qwen2.5-0.5B."""
    from gsm8k.grpo import train_grpo
    from gsm8k.params import TRAIN
    from gsm8k.problem_sources import parse, read_records
    from socrates.core import params
    from socrates.training.config import TrainParams, TrainPaths

    raw = params.read_yaml(Path("gsm8k/params.yaml"))
    completions, tokens = plan.completions
    raw["problems"]["synthetic"] |= {"train": 64, "test": 1}
    raw["grpo"] |= {
        "global_batch": completions,
        "micro_batch": min(completions, 16),
        "generations": 8,
        "lora": False,
    }
    raw["grpo"] |= {"max_completion_length": tokens, "max_prompt_length": 2048, "max_steps": 3}
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
        steps = [line for line in read_lines(paths.run_log) if line["event"] == "step"][1:]
    what = f"GRPO, {completions} completions of at most {tokens} tokens"
    seconds = float(np.median([line["seconds"] for line in steps]))
    memory = max(line["memory_bytes"] for line in steps) / 2**30
    return [[what, "", "", seconds, "s a step", "", ""], ["memory, the most", "", "", memory, "GiB", "", ""]]


def attentions(plan: Plan, rounds: int) -> list[Line]:
    """Passes of training, each of another shape, with cuDNN's attention switched on, and off as ours has it."""
    from peft import get_peft_model

    from socrates.core.params import load
    from socrates.model.prefix_sharing import use_prefix_sharing
    from socrates.training.batch_size import checkpoint, forward_backward
    from socrates.training.config import lora_config
    from socrates.training.params import Lora

    data, base = rows(plan.profiles[0], 8 * plan.micro // 4, 4, "1..7"), random_model(plan)
    use_prefix_sharing(base)
    base.enable_input_require_grads()
    model = get_peft_model(base, lora_config(load(Lora)), autocast_adapter_dtype=False).train()
    checkpoint(model, 1)
    passes = np.arange(8 * plan.micro).reshape(8, -1)

    def way(cudnn: bool) -> Callable[[], float]:
        def work() -> None:
            torch.backends.cuda.enable_cudnn_sdp(cudnn)
            for one in passes:
                forward_backward(model, data, one)

        return clocked(work, here())

    ways = {"cuDNN on": way(True), "cuDNN off": way(False)}
    first = {name: run() for name, run in ways.items()}
    seconds = interleaved(ways, rounds)
    on, off = (float(np.median(seconds[name])) / len(passes) for name in ways)
    return [
        [
            "a pass of a new shape",
            "cuDNN's attention",
            *(first[name] / len(passes) for name in ways),
            "s",
            first["cuDNN on"] / first["cuDNN off"],
            "",
        ],
        ["a pass of a known shape", "cuDNN's attention", on, off, "s", ratio(seconds, *ways), ""],
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
