"""What a reader must know before the headline: reasons why these data cannot carry it, in words."""

from __future__ import annotations

from socrates.evaluation.intervals import FOR_A_RESULT
from socrates.evaluation.predictors import label
from socrates.reporting.read import Report

# Below 20 studies a difference as large as the paper's is found less than four times in five (the table of
# docs/measurement.md, "Differences of two predictors").
FEW_STUDIES = 20
# The paper's 40 studies have 798 cells. Below 50 a handful of odd questions decides the mean.
FEW_CELLS = 50
# A sample of 30 from a five-point scale that is answered evenly lies W = 0.065 from its source on average.
FEW_RESPONDENTS = 30
FEW_VALID = 0.9
MANY_LOST = 0.1
SMALL_MODEL = 100_000_000  # parameters


def caveats(report: Report) -> list[str]:
    """One sentence or two per reason; empty where the headline can stand."""
    return [*_data(report), *_sizes(report), *_training(report), *_comparisons(report), *_answers(report)]


def comparable(report: Report) -> bool:
    """Whether the studies are those of the paper's table: its data, its unseen studies, all rows."""
    sample = report.params.get("sample", {})
    return bool(
        report.raw.get("source") == "hub"
        and report.splits.get("split", {}).get("method") == "official"
        and sample.get("fraction") == 1.0
        and sample.get("max_per_cell") is None
    )


def _data(report: Report) -> list[str]:
    texts = []
    if report.synthetic:
        texts.append(
            "The data are synthetic. The respondents were made by a program, so that no figure here says "
            "anything about people; the page shows that the pipeline and its measurement work."
        )
    if not comparable(report):
        texts.append(
            "The studies or their people are not the ones of the paper's table. Its figures show the order of "
            "magnitude; being below or above them is no result."
        )
    size = report.base.get("parameters")
    if size and size < SMALL_MODEL:
        texts.append(
            f"The base model is a small one made here ({size:,} parameters) that has read nothing but the "
            "training studies' prompts and short texts made with the world. It stands in for a language model."
        )
    near = report.splits.get("overlap", {}).get("near_duplicate_scenarios", 0)
    if near:
        texts.append(
            f"{near:,} test scenarios are nearly the same as a training scenario (names, numbers and small rewordings "
            "aside; data/splits/near_duplicates.csv). The studies are unseen, these texts are not."
        )
    return texts


def _sizes(report: Report) -> list[str]:
    texts = []
    studies, cells = int(report.count("studies_scored")), int(report.count("cells_scored"))
    people = report.count("respondents_per_cell_median")
    if studies < FOR_A_RESULT:
        texts.append(
            f"{studies} test {'study carries' if studies == 1 else 'studies carry'} no result: with fewer than "
            f"{FOR_A_RESULT} no difference between predictors can be told from chance. This run shows that the data "
            "are read and predicted; it says nothing about how well."
        )
    elif studies < FEW_STUDIES:
        texts.append(
            f"Only {studies} test studies were scored. The intervals allow for that by being wide: with fewer than "
            f"{FEW_STUDIES} studies, a difference as large as the paper's (0.205 against 0.151) is often missed, and "
            "one odd study moves the mean."
        )
    if cells < FEW_CELLS:
        texts.append(
            f"Only {cells} cells were scored; under {FEW_CELLS}, a few odd questions decide the mean."
        )
    if people < FEW_RESPONDENTS:
        floor = report.estimate("empirical_best").value
        least = f" Even a perfect predictor would have W = {floor:.3f} here." if floor is not None else ""
        texts.append(
            f"Half of the cells have {people:g} respondents or fewer (under {FEW_RESPONDENTS}): the human "
            f"distributions are blurred by chance.{least}"
        )
    total = report.count("cells")
    if total and (total - cells) / total > MANY_LOST:
        texts.append(f"{total - cells:,.0f} of {total:,} cells could not be scored; see what was left out.")
    for model, manifest in sorted(report.predictions.items()):
        lost = sum(manifest.get("excluded", {}).values())
        if lost > MANY_LOST * (lost + manifest.get("rows", 0)):
            texts.append(f"{lost:,} test answers got no prediction from {model}; see what was left out.")
    return texts


def _training(report: Report) -> list[str]:
    chosen = report.predictions.get("adapter_calibrated", {})
    model, average = (chosen.get(f"validation_log_score_{of}") for of in ("uncorrected", "average"))
    if model is None or average is None or model > average:
        return []
    return [
        "On the validation studies the fine-tuned model is no better than the training-study average (log score "
        f"{model:.3f} against {average:.3f}): its training failed. Train again, with another train.seed or more "
        "steps, before a figure of the test studies is read."
    ]


def _comparisons(report: Report) -> list[str]:
    found = report.estimate(report.model)
    if found.value is None:
        return ["No cell could be scored, so that there is no headline."]
    if not found.bounded:
        return ["The figures have no intervals (evaluate.bootstrap is 0 or there is one study only)."]
    rivals = [
        label(name)
        for name in ("uniform", "train_marginal", "base")
        if report.metrics.get(f"{report.model}_minus_{name}", {}).get("wasserstein_sign", -1) >= 0
    ]
    return (
        [f"The {label(report.model)} is not shown to be closer to people than: {', '.join(rivals)}."]
        if rivals
        else []
    )


def _answers(report: Report) -> list[str]:
    texts = []
    effects = report.estimate(report.model, "effects.r")
    if effects.value is None:
        texts.append(
            "Effects of conditions could not be compared, or the model does not react to conditions."
        )
    elif effects.bounded and effects.low <= 0:  # type: ignore[operator]
        texts.append(
            "The model's differences between conditions do not track those of people credibly (the interval of "
            "their correlation reaches zero or below). It is of no use for comparing conditions."
        )
    valid = report.estimate(report.model, "format_validity").value
    if valid is not None and valid < FEW_VALID:
        texts.append(
            f"The {label(report.model)} puts only {valid:.0%} of its probability on answers that the question allows; "
            "its distributions are those of that part."
        )
    return texts
