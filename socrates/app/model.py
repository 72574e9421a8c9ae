"""Load a model for answering, and ask it: a table of questions in, a distribution over each question's scale out.

Respondents of one scenario share its computation, as in training, so the order of rows does not matter and many rows
at once are much faster than one after another.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import psutil
import torch

from socrates.app.answers import Answer
from socrates.app.model_ref import ModelRef
from socrates.app.parse import QUESTIONS, Persona, Question, quoted
from socrates.core.errors import ModelError
from socrates.model import loading
from socrates.model.encoding import Encoded, encode
from socrates.model.internals import disable_avx512_repack
from socrates.model.loading import device
from socrates.prediction.distributions import Scored, ScoringBatch, ScoringPlan
from socrates.runs.fingerprint import hash_files, hash_sources, run_directory_lock
from socrates.survey.scales import scale

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

Precision = Literal["bfloat16", "nf4", "int8", "float32"]
Asked = Precision | Literal["auto"]
# Bytes a weight takes, with the scales of quantised ones.
BYTES: dict[Precision, float] = {"float32": 4, "bfloat16": 2, "int8": 1.1, "nf4": 0.6}
PREFERRED: dict[str, tuple[Precision, ...]] = {"cuda": ("bfloat16", "nf4"), "cpu": ("float32", "int8")}
HEADROOM = 1.25  # of the weights, for activations and the load itself
# A CPU computes a quarter faster when a pass stays near its caches.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 16384}
Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to be asked: its files, its base's tokenizer, the number format of its weights."""

    ref: ModelRef
    tokenizer: Any
    model: PreTrainedModel | PeftModel
    precision: Precision

    def __str__(self) -> str:
        return f"{self.ref.name}, {self.place}"

    @property
    def place(self) -> str:
        on = self.model.device
        return f"{self.precision} on {'the CPU' if on.type == 'cpu' else torch.cuda.get_device_name(on)}"

    def ask(self, questions: pl.DataFrame, progress: Progress = iter) -> pl.DataFrame:
        """Rows of ``QUESTIONS``, and other columns, with the ``probabilities`` of the scale's options, ascending, given
        that the answer is one of them, and ``allowed_mass``, what the model put on them in all. Raises
        :class:`ModelError` where a row is longer than the model reads; see :meth:`too_long`."""
        plan, batches = self.plan(questions)
        lengths, most = plan.data.lengths(), self.model.config.max_position_embeddings
        if (lengths > most).any():
            row = int(lengths.argmax())
            told = f"{lengths[row]:,} tokens with its persona; the model reads {most:,}"
            raise ModelError(f"scenario {quoted(questions['stimuli'][row])}: {told}: shorten the scenario")
        return with_answers(questions, plan.expand(plan.score(self.model, b) for b in progress(batches)))

    def answer(self, who: Persona, question: Question) -> Answer:
        """The answer of a person to a question. Raises :class:`ModelError` as :meth:`ask` does."""
        row = (who.text, question.stimuli, question.scale.notation)
        return Answer.of_table(self.ask(pl.DataFrame([row], schema=QUESTIONS, orient="row")))[0]

    def too_long(self, questions: pl.DataFrame) -> pl.Series:
        """Whether each row, with the longest answer, is longer than the model reads: booleans."""
        most = self.model.config.max_position_embeddings
        return pl.Series(self.encoded(questions).lengths() > most, dtype=pl.Boolean)

    def encoded(self, questions: pl.DataFrame) -> Encoded:
        high = pl.col("scale").map_elements(lambda notation: scale(notation).high, return_dtype=pl.Int64)
        rows = questions.select("stimuli", "persona", response=high)  # the answer only counts for the length
        return encode(rows, self.tokenizer, self.ref.prompt.layout, self.ref.prompt.format)

    def plan(self, questions: pl.DataFrame) -> tuple[ScoringPlan, list[ScoringBatch]]:
        plan = ScoringPlan(self.tokenizer, self.encoded(questions), questions["scale"].to_list())
        return plan, list(plan.batches(TOKENS_PER_BATCH[self.model.device.type]))


def open_model(ref: ModelRef, asked: Asked = "auto") -> OpenModel:
    """Load a model for answering, in the precision asked for (``auto``: by device and free memory). An adapter is
    merged into float32 weights. In other formats it keeps its own layers, as in training: half a step of bfloat16 is
    more than an adapter of few steps changes most weights by. Products of NF4 and int8 weights are float32 on a CPU.
    Raises :class:`ModelError` where the files are damaged, or the memory is too small."""
    from transformers import BitsAndBytesConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # of a kernel that it lacks
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # of what PEFT calls
    precision = choose_precision(loading.skeleton(ref.base).num_parameters()) if asked == "auto" else asked
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(precision, loading.compute_dtype())
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
    quantised: dict[str, Any] = {"int8": {"load_in_8bit": True}, "nf4": {"load_in_4bit": True, **nf4}}
    settings: dict[str, Any] = {"device_map": None if device().type == "cpu" else {"": device()}}
    if precision in quantised:
        settings["quantization_config"] = BitsAndBytesConfig(**quantised[precision])
    model: Any = loading.load_weights(ref.base, dtype=dtype, **settings)
    if precision == "nf4":
        disable_avx512_repack(model)
    if ref.adapter is not None:
        model = loading.with_adapter(model, ref.adapter, ref.base)
        if precision == "float32":
            model = model.merge_and_unload()
    return OpenModel(ref, loading.load_tokenizer(ref.base), model.eval(), precision)


def choose_precision(parameters: int) -> Precision:
    """The device's first number format whose weights fit its free memory. Raises :class:`ModelError` for none."""
    here = device()
    free = free_bytes(here)
    for precision in PREFERRED[here.type]:
        needed = parameters * BYTES[precision] * HEADROOM
        if needed <= free:
            return precision
    need = f"{parameters / 1e9:.1f} billion weights need {needed / 2**30:.1f} GiB in {precision}"
    has = f"{free / 2**30:.1f} GiB are free on {here}"
    raise ModelError(f"{need}; {has}: free some, or use a smaller model")


def free_bytes(on: torch.device) -> int:
    """Free memory of a GPU, or what is available for a new program, bytes."""
    return torch.cuda.mem_get_info(on)[0] if on.type == "cuda" else psutil.virtual_memory().available


def ask_in_shards(model: OpenModel, questions: pl.DataFrame, folders: contextlib.ExitStack) -> pl.DataFrame:
    """:meth:`OpenModel.ask` for many rows, none too long, in shards that outlive a kill. A shard stays in the scratch
    folder until ``folders`` closes without an error, or for the same call made again."""
    from socrates.prediction.shards import compute_shards, cut_shards, read_shard
    from socrates.runs.launch import Process

    ref, key = model.ref, hashlib.sha256(questions.write_json().encode()).hexdigest()
    files = [ref.base / "manifest.json", ref.base / "config.json"]
    files += [ref.adapter / "adapter_model.safetensors"] if ref.adapter else []
    how = {"questions": key, "place": model.place, "prompt": ref.prompt.model_dump()}
    config = how | hash_files(file for file in files if file.exists()) | hash_sources("socrates.app.model")
    folder = folders.enter_context(run_directory_lock("answers", config))
    folders.push(lambda kind, *_: shutil.rmtree(folder) if kind is None else None)
    plan, batches = model.plan(questions)
    shards = cut_shards(batches, len(plan.rows))
    compute_shards(plan, shards, folder, Process(0, 1), lambda: model.model, "predict")
    return with_answers(questions, plan.expand(read_shard(folder, number) for number in range(len(shards))))


def with_answers(questions: pl.DataFrame, scored: Scored) -> pl.DataFrame:
    lists = pl.List(pl.Float32)
    # cast: polars makes an array column of rows of one length, whatever type it is told
    probabilities = pl.Series(list(scored.probabilities), dtype=lists).cast(lists)
    mass = pl.Series(scored.mass, dtype=pl.Float32)
    return questions.with_columns(probabilities=probabilities, allowed_mass=mass)
