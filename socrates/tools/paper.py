"""What the paper did, value by value, and where a run's own value is looked up: the table that ``audit`` reads.
Its published figures, under the keys of metrics/evaluate.json, as a Git revision: ``socrates paper-baseline``.

Kolluri, Wu, Park, Bernstein (2025), "Finetuning LLMs for Human Behavior Prediction in Social Science
Experiments", EMNLP 2025 main 1530, arXiv 2509.05830. Section numbers were not noted when the paper was read.
"""

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from socrates.core.errors import DataError
from socrates.core.files import json_text, read_json
from socrates.model.params import BUILTIN

FIGURES, TAG = Path("metrics/paper.json"), "paper-baseline"
SOURCE = "arXiv 2509.05830, EMNLP 2025 main 1530"
SETUP, INFERENCE = "training set-up of the paper", "inference set-up of the paper"
UNSEEN = "Table 2, unseen studies"
SPLIT_FILE = "metadata/participant_mapping.json of the dataset"
OWN = "this project's own check"
OF_THESE = "made with params.yaml"
PEOPLE = 30  # respondents: a sample of 30 lies about W = 0.065 from its own source
# What each stage says that it did, and with which parameters.
RECORDS = {
    "raw": Path("data/raw/manifest.json"),
    "sample": Path("data/sample/manifest.json"),
    "splits": Path("data/splits/manifest.json"),
    "base": Path("models/base/manifest.json"),
    "training": Path("models/adapter/training.json"),
    "metrics": Path("metrics/evaluate.json"),
}
DATA, NAME, TINY = "params.data.source", "params.model.name", BUILTIN

Reason = tuple[str, Any, str]  # a path, its value or a test of it (bool: there is one), why it differs then


@dataclass(frozen=True)
class Item:
    """A value of the paper, or of this project's own checks. ``{path}`` in a text is replaced by the value there."""

    item: str
    paper: str | float | None
    source: str  # where it was read
    here: str  # dotted path of the run's value in params, raw, splits, training, metrics or derived
    # Why it may differ, the first that holds; where none does, the run's value is wrong.
    reasons: tuple[Reason, ...] = ()
    tolerance: float = 0.0  # largest difference that counts as the same
    interval: bool = False  # whether ``here``_low and ``here``_high are given: between them is the same
    # Values, by path, without which a comparison means nothing; ``otherwise`` says so.
    only_for: Mapping[str, Any] = field(default_factory=dict)
    otherwise: str = ""
    note: str = ""  # why the two are different quantities, whatever their values


def below(bound: float) -> Callable[[float | None], bool]:
    return lambda value: value is not None and value < bound


# fmt: off
OTHER_DATA = (
    (DATA, "synthetic",
     "data.source is synthetic: a made world shows that the machinery works, and is nobody's answers"),
    (DATA, "local", "data.source is local: {params.data.path}"),
)
OTHER_STUDIES = (
    (DATA, "synthetic", "data.source is synthetic: {params.data.synthetic.studies} made studies"),
    (DATA, "local", "data.source is local: the studies of {params.data.path}"),
    ("params.split.method", "seeded",
     "split.method is seeded: 170 train, 20 validation and 20 test studies of 210, drawn here"),
)
ADAPTER = ("params.lora.r", bool,
           "QLoRA by design: an adapter of {params.lora.r} ranks on frozen weights fits one rented GPU")
# The paper's studies, people and cells: its results are compared on them alone.
PAPER_STUDIES = {
    DATA: "hub",
    "params.split.method": "official",
    "params.sample.fraction": 1.0,
    "params.sample.max_per_cell": None,
    "params.evaluate.min_cell_size": below(7),  # more leaves out cells that nobody is known to have left out
}
OTHERWISE = "other studies, people or cells than those of Table 2 ({})".format(
    ", ".join(f"{path.removeprefix('params.')} {{{path}}}" for path in PAPER_STUDIES)
)
TABLE_2 = partial(Item, only_for=PAPER_STUDIES, otherwise=OTHERWISE)

PAPER = (
    # the data
    Item("dataset", "socratesft/SocSci210", "dataset card, revision 048481111a4425ed83dc0eacf15f8431f252b21a",
         "params.data.repo", only_for={DATA: "hub"},
         otherwise="data.source is {params.data.source}: the dataset is not read"),
    Item("source of the answers", "hub", "the dataset is published on the Hugging Face hub", DATA, OTHER_DATA),
    Item("answers in the dataset", 2901390, "dataset card", "raw.rows_read", OTHER_DATA),
    Item("studies in the dataset", 210, "dataset card", "raw.kept.studies", OTHER_DATA),
    Item("share of the answers used", 1.0,
         "all seen studies; its saturation result is about a share of a study's participants", "params.sample.fraction",
         (("params.sample.fraction", below(1),
          "sample.fraction is {params.sample.fraction}: a cheaper run on a sample"),)),
    Item("most respondents taken of a cell", None, "all seen studies, all respondents", "params.sample.max_per_cell",
         (("params.sample.max_per_cell", bool,
          "sample.max_per_cell is {params.sample.max_per_cell}: a cheaper run, on smaller cells"),)),
    # the split
    Item("studies in two of train, validation and test", 0, "unseen-study split", "derived.studies_in_two_splits"),
    Item("seen studies (training and validation)", 170, SPLIT_FILE, "derived.seen_studies", OTHER_STUDIES),
    Item("unseen studies (test)", 40, f"{SPLIT_FILE}; Table 2", "splits.splits.test.studies", OTHER_STUDIES),
    # the model
    Item("base model", "Qwen/Qwen2.5-14B-Instruct", f"{SETUP}; Llama-3-8B-Instruct is its second base", NAME,
         ((NAME, TINY, f"model.name is {TINY}: a small Qwen2 made here stands in, so that no GPU or hub is needed"),
          (NAME, lambda name: name.startswith("socratesft/"),
           "model.name is {params.model.name}: the paper's own fine-tuned model, nothing is trained"))),
    Item("trained weights", "all", f"{SETUP} (full fine-tuning with LLaMA-Factory)", "derived.trained", (ADAPTER,)),
    Item("weights while training", "not quantised", f"{SETUP} (full fine-tuning)", "derived.quantization",
         (("params.model.quantization", "nf4",
          "model.quantization is nf4: the frozen base model is kept in 4 bits (QLoRA)"),)),
    Item("LoRA rank", None, "full fine-tuning has no adapter; a rank quoted for the paper elsewhere is not the paper's",
         "params.lora.r", (ADAPTER,)),
    # the training
    Item("passes over the training answers", 1, SETUP, "derived.passes",
         (("params.train.max_steps", bool,
          "train.max_steps is {params.train.max_steps}: a set number of steps and not of passes"),), tolerance=0.01),
    Item("epochs asked for", 1, SETUP, "params.train.epochs",
         ((NAME, TINY, "train.epochs is {params.train.epochs} for the small model made here"),)),
    Item("answers per optimiser step", 256, f"{SETUP} (global batch)", "params.train.global_batch",
         ((NAME, TINY,
          "train.global_batch is {params.train.global_batch}: the small model needs many small steps (docs/log.md)"),
          ("params.sample.fraction", below(1),
           "train.global_batch is {params.train.global_batch}: of a sample 256 leave few steps, and LoRA bears large "
           "batches less well than all weights do (Schulman et al. 2025)"))),
    Item("learning rate", 1e-5, f"{SETUP} (supervised fine-tuning)", "params.train.learning_rate",
         note="a step of the adapter's weights is not a step of all weights: the numbers cannot be compared"),
    Item("warm-up, share of the steps", 0.05, SETUP, "params.train.warmup_ratio"),
    Item("weight decay", 0.1, SETUP, "params.train.weight_decay",
         note="it shrinks the adapter towards no change of the base model, not all weights towards 0"),
    Item("what is learned", "answers; in a second model preferences (DPO)", SETUP, "params.train.method",
         note="train.method dpo is the second; the paper's supervised model was the better one (Table 2)"),
    # the prediction
    Item("temperature of drawn answers", 0.6, INFERENCE, "params.evaluate.temperature"),
    Item("top-p of drawn answers", 0.9, INFERENCE, "params.evaluate.top_p"),
    Item("longest prompt in inference, tokens", 4096, INFERENCE, "params.prompt.max_length",
         (("params.prompt.max_length", below(4096),
          "prompt.max_length is {params.prompt.max_length}; answers to longer prompts are counted, never cut"),)),
    # the results; of a uniform guess, two public reproductions gave a W of 0.1973 and 0.2015
    TABLE_2("W of a uniform guess", 0.203, UNSEEN, "metrics.uniform.drawn.wasserstein", tolerance=0.006),
    TABLE_2("accuracy of a uniform guess", 0.612, UNSEEN, "metrics.uniform.drawn.accuracy", tolerance=0.01),
    TABLE_2("W of the base model", 0.205, f"{UNSEEN}, Qwen2.5-14B-Instruct", "metrics.base.drawn.wasserstein",
            ((NAME, TINY, f"model.name is {TINY}: another base model"),
            (NAME, bool, "another prompt than the paper's, which an untuned model feels most"),), interval=True),
    TABLE_2("W of the fine-tuned model", 0.151, f"{UNSEEN}, Socrates-Qwen-14B SFT", "metrics.adapter.drawn.wasserstein",
            ((NAME, bool,
             "a result and no setting: another way of training (QLoRA) and another prompt came to another W"),),
            interval=True),
    # of this project: whether the records belong together, and are large enough to be measured
    *(Item(str(RECORDS[name]), OF_THESE, OWN, f"derived.{name}") for name in ("raw", "splits", "training")),
    Item("answers of the test split that are neither scored nor excluded", 0, OWN, "derived.unaccounted_answers"),
    Item(f"respondents of a test cell, median; chance blurs fewer than {PEOPLE}", PEOPLE, OWN, "derived.people",
         ((DATA, "synthetic", "the truth is known beside the people"),)),
)
# fmt: on


def tag_paper() -> str:
    """Point the tag at a commit that is HEAD with FIGURES and their headline as its metrics; returns the commit.

    By ``git fast-import``: work tree, index and HEAD are not touched. The same HEAD and figures give the same commit.
    """
    from socrates.evaluation.summary import headline  # statistics, which the audit's table does without

    figures = read_json(FIGURES, "run from the folder that holds it, as Git has it")
    if not all(isinstance(value, dict) for value in figures.values()):
        raise DataError(f"{FIGURES}: expected groups of figures such as 'adapter'")
    source = figures.pop("source", {})  # where the figures come from: in the commit's message, no metric
    figures.pop("published", None)  # of other splits and models, under no keys of ours
    prefix = _git("rev-parse", "--show-prefix")
    head, date = _git("show", "--no-patch", "--format=%H %cd", "--date=raw", "HEAD").split(" ", 1)
    message = "\n".join(["The paper's figures as metrics", "", *(f"{key}: {source[key]}" for key in source)])
    stream = f"commit refs/tags/{TAG}\ncommitter {TAG} <{TAG}@invalid> {date}\n{_data(message)}from {head}\n"
    for name, content in (("evaluate", figures), ("headline", headline(figures))):
        stream += f"M 644 inline {prefix}metrics/{name}.json\n{_data(json_text(content))}"
    _git("fast-import", "--force", "--quiet", text=stream)
    return _git("rev-parse", TAG)


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def _git(*words: str, text: str = "") -> str:
    """What ``git`` prints, with ``text`` as its input. Raises :class:`DataError` where it fails."""
    done = subprocess.run(["git", *words], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"git {words[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
