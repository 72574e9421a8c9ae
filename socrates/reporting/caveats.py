"""What a reader must know before the headline: reasons why these data cannot carry it, in words."""

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
    reasons = _of_data(report) | _of_sizes(report) | _of_findings(report)
    return [text for text, applies in reasons.items() if applies]


def comparable(report: Report) -> bool:
    """Whether the studies are those of the paper's table: its data, its unseen studies, all rows."""
    sample = report.params.get("sample", {})
    return bool(
        report.raw.get("source") == "hub"
        and report.splits.get("split", {}).get("method") == "official"
        and sample.get("fraction") == 1.0
        and sample.get("max_per_cell") is None
    )


def _of_data(report: Report) -> dict[str, bool]:
    """Each reason, and whether it applies."""
    size = report.base.get("parameters") or SMALL_MODEL
    near, small = report.splits.get("overlap", {}).get("near_duplicate_scenarios", 0), size < SMALL_MODEL
    return {
        "The data are synthetic. The respondents were made by a program, so that no figure here says "
        "anything about people; the page shows that the pipeline and its measurement work.": report.synthetic,
        "The studies or their people are not the ones of the paper's table. Its figures show the order of "
        "magnitude; being below or above them is no result.": not comparable(report),
        f"The base model is a small one made here ({size:,} parameters) that has read nothing but the "
        "training studies' prompts and short texts made with the world. It stands in for a language model.": small,
        f"{near:,} test scenarios are nearly the same as a training scenario (names, numbers and small rewordings "
        "aside; data/splits/near_duplicates.csv). The studies are unseen, these texts are not.": near > 0,
    }


def _of_sizes(report: Report) -> dict[str, bool]:
    studies, cells = int(report.count("studies_scored")), int(report.count("cells_scored"))
    total, people = report.count("cells"), report.count("respondents_per_cell_median")
    left_out, few = total - cells, cells < FEW_CELLS
    many = left_out / max(total, 1) > MANY_LOST
    floor = report.estimate("empirical_best").value
    least = f" Even a perfect predictor would have W = {floor:.3f} here." if floor is not None else ""
    reasons = {
        f"{studies} test {'study carries' if studies == 1 else 'studies carry'} no result: with fewer than "
        f"{FOR_A_RESULT} no difference between predictors can be told from chance. This run shows that the data "
        "are read and predicted; it says nothing about how well.": studies < FOR_A_RESULT,
        f"Only {studies} test studies were scored. The intervals allow for that by being wide: with fewer than "
        f"{FEW_STUDIES} studies, a difference as large as the paper's (0.205 against 0.151) is often missed, and "
        "one odd study moves the mean.": FOR_A_RESULT <= studies < FEW_STUDIES,
        f"Only {cells} cells were scored; under {FEW_CELLS}, a few odd questions decide the mean.": few,
        f"Half of the cells have {people:g} respondents or fewer (under {FEW_RESPONDENTS}): the human "
        f"distributions are blurred by chance.{least}": people < FEW_RESPONDENTS,
        f"{left_out:,.0f} of {total:,} cells could not be scored; see what was left out.": many,
    }
    for model, manifest in sorted(report.predictions.items()):
        lost = sum(manifest.get("excluded", {}).values())
        text = f"{lost:,} test answers got no prediction from {model}; see what was left out."
        reasons[text] = lost > MANY_LOST * (lost + manifest.get("rows", 0))
    return reasons


def _of_findings(report: Report) -> dict[str, bool]:
    model, found = report.model, report.estimate(report.model)
    chosen = report.predictions.get("adapter_calibrated", {})
    trained, average = (chosen.get(f"validation_log_score_{of}") or 0.0 for of in ("uncorrected", "average"))
    failed = trained <= average < 0  # a log score is below 0: 0 stands for one that is not known
    signs = {
        name: report.metrics.get(f"{model}_minus_{name}", {}).get("wasserstein_sign", -1)
        for name in ("uniform", "train_marginal", "base")
    }
    rivals = [label(name) for name, sign in signs.items() if sign >= 0]
    effects, valid = report.estimate(model, "effects.r"), report.estimate(model, "format_validity").value
    allowed = 1.0 if valid is None else valid
    unscored, still = found.value is None, effects.value is None
    unsure = not still and effects.bounded and effects.sign <= 0
    return {
        "On the validation studies the fine-tuned model is no better than the training-study average (log score "
        f"{trained:.3f} against {average:.3f}): its training failed. Train again, with another train.seed or more "
        "steps, before a figure of the test studies is read.": failed,
        "No cell could be scored, so that there is no headline.": unscored,
        "The figures have no intervals (evaluate.bootstrap is 0 or there is one study only).": not (
            unscored or found.bounded
        ),
        f"The {label(model)} is not shown to be closer to people than: {', '.join(rivals)}.": bool(
            rivals and found.bounded and not unscored
        ),
        "Effects of conditions could not be compared, or the model does not react to conditions.": still,
        "The model's differences between conditions do not track those of people credibly (the interval of "
        "their correlation reaches zero or below). It is of no use for comparing conditions.": unsure,
        f"The {label(model)} puts only {allowed:.0%} of its probability on answers that the question allows; "
        "its distributions are those of that part.": allowed < FEW_VALID,
    }
