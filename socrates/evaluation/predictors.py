"""The predictors' names: what a reader calls them, in which order they stand, which are compared."""

from collections.abc import Iterable
from pathlib import Path

MODELS = ("adapter", "base")
PREDICTORS = {
    "adapter": "fine-tuned model",
    "base": "base model",
    "adapter_calibrated": "fine-tuned model, calibrated",
    "base_calibrated": "base model, calibrated",
    "base_fewshot": "base model, with examples",
    "uniform": "uniform guess",
    "words_demographics": "trees on words and demographics",
    "words": "trees on words",
    "demographics": "trees on demographics",
    "nearest": "most similar training questions",
    "train_marginal": "training-study average for the scale length",
    "pooled": "people, conditions merged (oracle)",
    "empirical_best": "a perfect predictor at these cell sizes, estimated",
    "planted": "the planted truth, by respondent",
}
PROBES = "probes"  # the folder of data/predictions/ that holds no predictors
# With the fine-tuned model, beside every predictor that is read.
COMPARED = ("uniform", "train_marginal", "pooled")
PRIMARY = "best_baseline"  # the opponent that decides, fixed before any test study is scored


def label(name: str) -> str:
    """What a reader calls a predictor; any other folder of data/predictions/ goes by its own name."""
    return PREDICTORS.get(name, name.replace("_", " "))


def ordered(names: Iterable[str]) -> list[str]:
    """The models first, then other folders of predictions by name, then baselines and floors."""
    known = {name: i for i, name in enumerate(PREDICTORS)}
    return sorted(names, key=lambda name: (known.get(name, len(MODELS) - 0.5), name))


def predicted(folder: Path) -> list[str]:
    """The folders of data/predictions/; ``base`` always, since nothing is said without it."""
    return ordered({"base", *(path.name for path in folder.glob("[!.]*/") if path.name != PROBES)})
