"""The report as a self-contained HTML page and as Markdown, from the same content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import polars as pl
from jinja2 import Environment

from socrates.core.params import flat
from socrates.evaluation.metrics import METRICS
from socrates.evaluation.predictors import MODELS, PREDICTORS, comparisons
from socrates.reporting import figures
from socrates.reporting.cautions import cautions, comparable
from socrates.reporting.jinja import environment
from socrates.reporting.read import Estimate, Report, Scores
from socrates.survey.tables import CELL

HEADLINE = ("wasserstein", "drawn.wasserstein", "stated.wasserstein", "drawn.accuracy", "effects.r")
STUDIES_PER_FIGURE = 40  # so that a figure fits on a printed page
SHORT = {"train_marginal": "training-study average", "pooled": "pooled people (oracle)"}
PAPER_MODELS = {
    "qwen_14b_dpo": "Qwen 14B, DPO",
    "llama_8b": "Llama 8B, base",
    "llama_8b_sft": "Llama 8B, fine-tuned",
    "gpt_4o": "GPT-4o",
    "gpt_4o_five_shot": "GPT-4o, five examples",
}
# The paper's lowest W is another quantity than the floor of this page (docs/measurement.md).
PAPER_NAMES = {**PREDICTORS, "empirical_best": "empirical best, by its own resamples"}
RULES = {
    "range": "a range in the text",
    "step": "a range with a step in the text",
    "labels": "labelled options in the text",
    "list": "a list of options in the text",
    "anchors": "labelled ends in the text",
    "question": "a range in the question before the instruction",
    "one_sided": "one end in the text",
    "observed": "the range of the test answers themselves",
    "grid": "thinned to a grid",
}


@dataclass(frozen=True)
class Picture:
    """A figure: SVG text, and what it shows in words for whoever does not see it."""

    svg: str
    words: str

    @property
    def uri(self) -> str:
        # percent-encoded, not base64: Git packs it to a quarter
        return "data:image/svg+xml," + quote(" ".join(self.svg.split()), safe=" /:=;,.-+()")


@dataclass(frozen=True)
class Cell:
    """A cell whose distributions are shown; ``used`` is the range of people's answers, the unit of W."""

    name: str
    place: str
    adapter: float
    base: float | None
    respondents: int
    scale: str
    used: str
    text: str
    wordings: int
    picture: Picture


def render_html(report: Report) -> str:
    """The page: no script, no request, every figure within."""
    return _render("report.html.j2", report, html=True)


def render_markdown(report: Report) -> str:
    """The same in Markdown, without figures, hardware and seconds: equal for equal results."""
    return _render("report.md.j2", report, html=False)


def _render(template: str, report: Report, html: bool) -> str:
    return templates(html).get_template(template).render(content(report))


def templates(html: bool, package: str = "socrates.reporting") -> Environment:
    """The templates of a package and of this one, with the filters that they use."""
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "interval": interval,
        "md": markdown_cell,
        "quote": markdown_quote,
    }
    return environment(package, html, filters)


def number(value: Any, digits: int = 3) -> str:
    """A figure with a true minus sign; an en dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 10):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: Estimate) -> str:
    """The ends of an interval; empty where there is none."""
    return f"{number(estimate.low)} to {number(estimate.high)}" if estimate.bounded else ""


def markdown_cell(value: Any) -> str:
    """Text that cannot break out of a Markdown table."""
    return " ".join(str(value).split()).replace("<", "&lt;").replace("|", "\\|")


def markdown_quote(text: str) -> str:
    """Text as a Markdown quotation."""
    return "\n".join(f"> {markdown_cell(line)}".rstrip() for line in text.splitlines())


def content(report: Report) -> dict[str, Any]:
    """What both templates are filled with."""
    studies = _studies(report)
    present = [name for name in PREDICTORS if name in report.metrics]
    return {
        "report": report,
        "about": _about(report),
        "cautions": cautions(report),
        "comparable": comparable(report),
        "predictors": PREDICTORS,
        "present": present,
        "registry": METRICS,
        "headline_keys": HEADLINE,
        "headline": [(name, [report.estimate(name, key) for key in HEADLINE]) for name in present],
        "headline_picture": headline_picture(report),
        "paper": _paper(report),
        "differences": _differences(report),
        "studies": studies,
        "study_pictures": [
            Picture(
                figures.forest(part),
                f"W of {len(part)} studies with intervals; the table below has the figures",
            )
            for part in _parts(studies)
        ],
        "cells": _cells(report),
        "effects": [
            (name, {key: report.estimate(name, f"effects.{key}") for key in EFFECTS}) for name in MODELS
        ],
        "effect_keys": EFFECTS,
        "effect_counts": {key: int(report.count(f"effects.{key}")) for key in EFFECT_COUNTS},
        "effect_pictures": [
            Picture(
                figures.effects(report.tables["effects"], name),
                f"predicted against human effect of each condition, {PREDICTORS[name]}",
            )
            for name in MODELS
            if name in report.tables["effects"].columns
        ],
        "reliability": Picture(
            figures.reliability(report.tables["reliability"], MODELS),
            "share of right answers against confidence, fine-tuned and base model",
        ),
        "gaps": _gaps(report),
        "gap_keys": GAPS,
        "group_pictures": [
            Picture(
                figures.groups(report.tables["groups"], attribute),
                f"accuracy by {attribute.replace('_', ' ')}, fine-tuned and base model",
            )
            for attribute in report.tables["groups"]["attribute"].unique(maintain_order=True)
        ],
        "curves": _curves(report),
        "rejected": _rejected(report),
        "rules": _rules(report),
        "seed": dict(report.tables["seed_convention"].select("predictor", "seed_wasserstein").iter_rows()),
        "metrics": _metrics(report, present),
        "params": {name: dict(flat(part)) for name, part in report.params.items() if isinstance(part, dict)},
        "provenance": _provenance(report),
    }


EFFECT_COUNTS = ("conditions", "questions", "credible_pairs")
EFFECTS = ("r", "slope", "residual_sd", "sign_accuracy", "size_ratio", "p")
GAPS = tuple(f"{model}.{key}" for key in ("accuracy_gap", "wasserstein_gap") for model in ("base", "adapter"))


def _about(report: Report) -> str:
    params, count = report.params, report.count
    model, lora, sample = params.get("model", {}), params.get("lora", {}), params.get("sample", {})
    return (
        f"{model.get('name')} with a LoRA adapter of rank {lora.get('r')}, trained for "
        f"{number(report.training.get('steps'))} steps on {_trained_on(report)}; "
        f"{report.raw.get('source')} data, {sample.get('fraction'):.0%} of it; tested on "
        f"{number(int(count('answers')))} answers of {number(int(count('respondents')))} respondents in "
        f"{number(int(count('cells_scored')))} cells of {number(int(count('studies_scored')))} studies that "
        "training never saw."
    )


def _trained_on(report: Report) -> str:
    """The training answers, and how often each was read on average: an answer read twice is one answer."""
    read = report.training.get("rows", 0)
    rows = report.splits.get("splits", {}).get("train", {}).get("rows", read)
    kept = rows - report.training.get("rows_too_long", {}).get("train", 0)
    if not kept or read <= kept:
        return f"{number(read)} answers"
    return f"{number(kept)} answers, each read {read / kept:.1f} times on average"


def _paper(report: Report) -> list[tuple[str, Any, Any]]:
    """(label, W, accuracy) of what the paper reports, best first."""
    rows = [
        (f"{PAPER_NAMES[name]}{f' ({who})' if who else ''}", found)
        for name in PREDICTORS
        if (found := report.paper.get(name))
        for who in [report.paper.get("source", {}).get(name, "")]
    ]
    reported = report.paper.get("reported", {})
    rows += [
        (
            label,
            {
                key.removeprefix(f"{name}."): value
                for key, value in reported.items()
                if key.startswith(f"{name}.")
            },
        )
        for name, label in PAPER_MODELS.items()
    ]
    figures_of = [(label, row.get("wasserstein"), row.get("drawn.accuracy")) for label, row in rows]
    return sorted((row for row in figures_of if row[1] is not None), key=lambda row: row[1])


def headline_picture(scores: Scores) -> Picture:
    """W of the run's predictors and of the paper's."""
    present = [name for name in PREDICTORS if name in scores.metrics]
    run = [(name, SHORT.get(name, PREDICTORS[name]), scores.estimate(name)) for name in present]
    paper = [
        (label, Estimate(scores.paper[name].get("wasserstein")))
        for name, label in (
            ("adapter", "fine-tuned"),
            ("base", "base"),
            ("uniform", "uniform"),
            ("empirical_best", "empirical best"),
        )
        if name in scores.paper
    ]
    words = "; ".join(f"{label} {number(found.value)}" for _, label, found in run)
    return Picture(figures.headline(run, paper), f"W with 95 % intervals: {words}")


def _differences(report: Report) -> list[tuple[str, Estimate, Any, str]]:
    """(who against whom, difference in W, p, what it means)."""
    rows = []
    for first, second in comparisons(MODELS):
        part = f"{first}_minus_{second}"
        found = report.metrics.get(part)
        if found is None or found.get("wasserstein") is None:
            continue
        sign = found.get("wasserstein_sign", 0)
        closer = {-1: first, 1: second}.get(sign)
        names = {name: SHORT.get(name, PREDICTORS[name]) for name in (first, second)}
        words = (
            f"{names[closer]} is closer to people"
            if closer
            else "not established: the interval contains zero"
        )
        rows.append(
            (f"{names[first]} − {names[second]}", report.estimate(part), found.get("wasserstein_p"), words)
        )
    return rows


def _studies(report: Report) -> list[tuple[str, dict[str, Estimate]]]:
    """Studies from the best to the worst W of the fine-tuned model."""
    found: dict[str, dict[str, Estimate]] = {}
    columns = ["study_id", "predictor", "wasserstein", "wasserstein_low", "wasserstein_high"]
    for study, predictor, *values in report.tables["studies"].select(columns).iter_rows():
        found.setdefault(study, {})[predictor] = Estimate(*values)

    def rank(study: str) -> tuple[bool, float, str]:
        w = found[study].get("adapter", Estimate()).value
        return w is None, w or 0.0, study

    return [(study, found[study]) for study in sorted(found, key=rank)]


def _parts(studies: list[Any]) -> list[list[Any]]:
    return [studies[i : i + STUDIES_PER_FIGURE] for i in range(0, len(studies), STUDIES_PER_FIGURE)]


def _cells(report: Report) -> list[Cell]:
    """The cells of distributions.csv from best to worst, with what they asked."""
    scores = report.tables["cell_scores"].select(*CELL, "predictor", "wasserstein").drop_nulls()
    adapter = scores.filter(pl.col("predictor") == "adapter").sort("wasserstein", *CELL)
    base = scores.filter(pl.col("predictor") == "base").select(*CELL, base="wasserstein")
    shares = report.tables["distributions"]
    shown = (
        adapter.with_row_index("rank")
        .join(shares.select(CELL).unique(), on=CELL)
        .join(base, on=CELL, how="left")
        .join(
            report.tables["cells"].select(*CELL, "scale", "respondents", "human_low", "human_high"),
            on=CELL,
            how="left",
        )
        .join(report.questions, on=CELL, how="left")
        .sort("rank")
    )
    cells = []
    for row in shown.iter_rows(named=True):
        of = shares.join(pl.DataFrame([{key: row[key] for key in CELL}]), on=CELL).sort("option")
        sides = {
            name: of.filter(pl.col("predictor") == name)["probability"].to_list()
            for name in ("human", "base", "adapter")
        }
        options = of.filter(pl.col("predictor") == "human")["option"].to_list()
        name = f"study {row['study_id']}, condition {row['condition_num']}, task {row['task_num']}"
        cells.append(
            Cell(
                name=name,
                place=_place(row["rank"], adapter.height),
                adapter=row["wasserstein"],
                base=row["base"],
                respondents=row["respondents"],
                scale=row["scale"],
                used=f"{row['human_low']:,.0f} to {row['human_high']:,.0f}",
                text=row["text"] or "(the text of this cell is not in the test split)",
                wordings=row["wordings"] or 0,
                picture=Picture(
                    figures.distribution(options, {key: side for key, side in sides.items() if side}),
                    f"distribution of answers in {name}: people, base and fine-tuned model",
                ),
            )
        )
    return cells


def _place(rank: int, total: int) -> str:
    if rank == 0:
        return f"best of {total:,}"
    if rank == total - 1:
        return f"worst of {total:,}"
    # numpy's rint, which chose the cells, rounds a middle between two ranks to the even one
    return (
        f"median, {rank + 1:,} of {total:,}"
        if rank == round((total - 1) / 2)
        else f"{rank + 1:,} of {total:,}"
    )


def _gaps(report: Report) -> list[dict[str, Any]]:
    """One row per attribute: the largest gap between its groups, base and fine-tuned, with intervals."""
    gaps = report.tables["group_gaps"]
    rows = []
    for attribute in gaps["attribute"].unique(maintain_order=True):
        row: dict[str, Any] = {"attribute": attribute.replace("_", " ")}
        for model in MODELS:
            of = gaps.filter((pl.col("attribute") == attribute) & (pl.col("predictor") == model))
            for key in ("accuracy_gap", "wasserstein_gap"):
                ends = (key, f"{key}_low", f"{key}_high")
                row[f"{model}.{key}"] = Estimate(*of.select(ends).row(0)) if of.height else Estimate()
        rows.append(row)
    return rows


def _curves(report: Report) -> list[Picture]:
    wanted = [
        ({"loss": "training", "validation_loss": "validation"}, "loss, nats per answer token"),
        ({"answer_token_accuracy": "answer tokens right"}, "share of answer tokens"),
    ]
    pictures = []
    for columns, ylabel in wanted:
        known = {
            column: label
            for column, label in columns.items()
            if column in report.curves.columns and report.curves[column].drop_nulls().len()
        }
        if known:
            words = f"{', '.join(known.values())} ({ylabel}) over optimiser steps"
            pictures.append(Picture(figures.curve(report.curves, known, ylabel), words))
    return pictures


def _rejected(report: Report) -> list[tuple[str, str, int]]:
    """(stage, reason, number) of everything that was left out, zeros included: they say that it was looked for."""
    counts = report.metrics.get("counts", {})
    overlap = report.splits.get("overlap", {})
    rows = [("download", "rows read", report.raw.get("rows_read", 0))]
    rows += [
        ("download", f"{reason} (rows)", n) for reason, n in sorted(report.raw.get("rejected", {}).items())
    ]
    rows += [("download", "rows kept", report.raw.get("kept", {}).get("rows", 0))]
    rows += [
        ("split", f"{key.replace('_', ' ')} between train and test", overlap[key])
        for key in ("shared_studies", "near_duplicate_scenarios", "near_duplicate_cells")
        if key in overlap
    ]
    rows += [
        ("train", f"{part} rows longer than prompt.max_length", number)
        for part, number in sorted(report.training.get("rows_too_long", {}).items())
    ]
    rows += [
        (f"predict, {model}", f"{reason} (answers)", number)
        for model in MODELS
        for reason, number in sorted(report.predictions[model].get("excluded", {}).items())
    ]
    evaluated = {
        "cells_excluded.too_small": "cells with fewer respondents than evaluate.min_cell_size",
        "cells_excluded.constant": "cells where all people agree (no human range)",
        "cells_mixed_scale": "cells whose respondents saw different scales (kept, on the union)",
        "answers_moved_to_grid": "answers moved to the nearest option of a thinned scale",
        "cells_without_train_scale": "cells whose scale length is not in training (train_marginal is uniform there)",
    }
    return rows + [("evaluate", words, counts[key]) for key, words in evaluated.items() if key in counts]


def _rules(report: Report) -> list[tuple[str, int, float]]:
    """(how the scale was found, answers, share)."""
    rules = report.predictions["adapter"].get("scale_rules", {})
    total = sum(rules.values())
    found = sorted(rules.items(), key=lambda item: (-item[1], item[0]))
    return [(", ".join(RULES.get(part, part) for part in rule.split("+")), n, n / total) for rule, n in found]


def _metrics(report: Report, present: list[str]) -> list[tuple[str, Any, list[Estimate]]]:
    """(key, registry entry, estimate per predictor) of every metric that any predictor has."""
    rows = [(key, entry, [report.estimate(name, key) for name in present]) for key, entry in METRICS.items()]
    return [row for row in rows if any(found.value is not None for found in row[2])]


def _provenance(report: Report) -> list[tuple[str, str]]:
    """What made the result: revisions and versions, which are equal wherever it is made again."""
    raw, base, params = report.raw, report.base, report.params
    if report.synthetic:
        world = ", ".join(f"{key} {value}" for key, value in raw.get("world", {}).items())
        data = f"synthetic world ({world})"
    elif raw.get("source") == "hub":
        data = f"{params['data']['repo']} at {params['data']['revision']}"
    else:
        data = f"{raw.get('source')}: {params.get('data', {}).get('path')}"
    if base.get("kind") == "hub":
        model = f"{base.get('name')} at {base.get('revision')}"
    else:
        model = f"{params['model']['name']}, {number(base.get('parameters'))} parameters"
    return [
        ("data", data),
        ("base model", model),
        ("base model's fingerprint", str(report.training.get("base"))),
        ("trainable parameters", number(report.training.get("trainable_parameters"))),
        ("training tokens", number(report.training.get("tokens"))),
        *((name, str(version)) for name, version in sorted(report.training.get("versions", {}).items())),
    ]
