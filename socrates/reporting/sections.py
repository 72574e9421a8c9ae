"""The content of the report, one function a section: tables, figures and the few numbers that its text names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import polars as pl

from socrates.core.params import flat
from socrates.evaluation.intervals import FOR_A_RESULT, Estimate, least_p
from socrates.evaluation.metrics import METRICS
from socrates.evaluation.predictors import MODELS, label, ordered
from socrates.reporting import figures
from socrates.reporting.caveats import caveats, comparable
from socrates.reporting.jinja import Table, number
from socrates.reporting.read import Report, Results
from socrates.survey.tables import CELL

HEADLINE = ("wasserstein", "cramer", "drawn.wasserstein", "drawn.accuracy", "crps", "log_likelihood",
            "entropy_ratio", "effects.r")  # fmt: skip
EFFECTS = ("effects.r", "effects.r_disattenuated", "effects.slope", "effects.skill", "effects.respondents",
           "cell_respondents", "effects.captured_gain", "effects.sign_accuracy_sure", "effects.size_ratio")  # fmt: skip
REST = "without_near_duplicates"
SHORT = figures.SHORT | {
    "train_marginal": "training-study average",
    "pooled": "people, conditions merged (oracle)",
    "empirical_best": "perfect predictor, estimated",
}
PROBES = {  # question, and what the log score is gained over
    "another_persona": ("Does the respondent's own persona matter?", "over another's of the same cell"),
    "no_persona": ("", "over an empty persona"),
    "no_scenario": ("Does the text matter?", "over the question without its scenario"),
    "reversed_options":
        ("Are the labels of the options read?", "lost where they are exchanged, answers mapped back"),
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """SVG text, and what it shows in words for whoever does not see it."""

    svg: str
    words: str

    @property
    def uri(self) -> str:
        # percent-encoded, not base64: Git packs it to a quarter
        return "data:image/svg+xml," + quote(" ".join(self.svg.split()), safe=" /:=;,.-+()")


def content(report: Report) -> dict[str, Any]:
    """What the report and the model card are filled with."""
    reacting = [name for name in report.predictors if name in {*report.predictions, "planted"}]
    counted = ("conditions", "questions", "sure_pairs")
    params = [(key, "null" if value is None else str(value)) for key, value in flat(report.params)]
    return {
        "report": report,
        "about": about(report),
        "caveats": caveats(report),
        "comparable": comparable(report),
        "first": first_table(report),
        "headline": _scores(report, report.predictors, HEADLINE),
        "rest": _scores(report, report.predictors, HEADLINE, REST) if REST in report.metrics else None,
        "flagged": (int(report.count("cells_near_duplicate")), int(report.count("cells"))),
        "paper": paper(report),
        "differences": differences(report),
        "cells": cells(report),
        "effects": _scores(report, reacting, EFFECTS),
        "effect_counts": {key: number(int(report.count(f"effects.{key}"))) for key in counted},
        "reliability": report.estimate(report.model, "effects.reliability"),
        "figures": plots(report),
        "gaps": groups(report),
        "left_out": left_out(report),
        "rules": rules(report),
        "params": Table(["parameter", "value"], params),
        "provenance": provenance(report),
    }


def plots(report: Report) -> dict[str, Figure]:
    """The figures that show no text of a question, by name."""
    pit, effects = report.tables["pit"], report.tables["effects"]
    shown = {name: _short(name) for name in (*MODELS, "planted") if name in pit.columns}
    place = figures.curve(pit, shown, "share of answers", "middle", "place in the predicted distribution")
    found = {"headline": headline_figure(report), "studies": studies(report)}
    for name in MODELS:
        if name in effects.columns:
            words = f"predicted against human effect of each condition, {label(name)}"
            found[f"effects-{name}"] = Figure(figures.effects(effects, name), words)
    words = "histogram of the probability integral transform, ten bins; 0.1 in each is right"
    found["pit"] = Figure(place, words)
    if report.training:
        columns = {"loss": "training", "validation_loss": "validation"}
        svg = figures.curve(report.curves, columns, "loss, nats per answer", "step", "optimiser step")
        found["loss"] = Figure(svg, "training and validation loss (nats per answer) over optimiser steps")
    return found


def _short(name: str) -> str:
    return SHORT.get(name, label(name))


def _scores(report: Report, names: Iterable[str], keys: Sequence[str], part: str = "") -> Table:
    """A row for each predictor, a column for each metric; ``part``: of metrics/evaluate.json, that holds them all."""
    head, arrows = ["predictor"], {True: " ↑", False: " ↓", None: ""}
    for metric in (METRICS[key] for key in keys):
        better = arrows[metric.higher_is_better]
        head.append(metric.label + (better if metric.target is None else f" (best at {metric.target:g})"))
    rows = []
    for name in names:
        places = [(part, f"{name}.{key}") if part else (name, key) for key in keys]
        rows.append((label(name), *(report.estimate(*place) for place in places)))
    return Table(head, rows)


def about(report: Report) -> str:
    """One sentence: which model, trained on what, tested on whom."""
    params, training = report.params, report.training
    trained = "as it is, without any training of ours"
    if training:
        seen = read = training.get("rows", 0)
        rows = report.splits.get("splits", {}).get("train", {}).get("rows", read)
        kept, often = rows - training.get("rows_too_long", {}).get("train", 0), ""
        if 0 < kept < read:  # an answer read twice is one answer
            seen, often = kept, f", each read {read / kept:.1f} times on average"
        trained = (
            f"with a LoRA adapter of rank {params['lora']['r']}, trained for "
            f"{number(training.get('steps'))} steps on {number(seen)} answers{often}"
        )
    keys = ("answers", "respondents", "cells", "cells_scored", "studies_scored")
    answers, respondents, cells, scored, studies = (number(int(report.count(key))) for key in keys)
    return (
        f"{params['model']['name']} {trained}; {report.raw.get('source')} data, "
        f"{params['sample']['fraction']:.0%} of it; tested on {answers} answers of {respondents} respondents in "
        f"{cells} cells ({scored} of them scored by W) of {studies} test studies."
    )


def paper(report: Results) -> Table:
    """What is published of each split, the paper's own table among it, by split and W."""
    rows: list[dict[str, Any]] = list(report.published)
    source = report.paper.get("source", {})
    for name in ordered(name for name in report.paper if "wasserstein" in report.paper[name]):
        # The paper's lowest W is another quantity than the floor of this page (docs/measurement.md).
        words = "empirical best, by its own resamples" if name == "empirical_best" else label(name)
        words += f" ({source[name]})" if source.get(name) else ""
        found = report.paper[name]
        scored = {"wasserstein": found["wasserstein"], "accuracy": found.get("drawn.accuracy")}
        rows.append({"split": "studies", "model": words, "hand": "first", "source": "Table 2"} | scored)
    order = ("studies", "conditions", "tasks", "participants")
    told = []
    for row in sorted(rows, key=lambda row: (order.index(row["split"]), row.get("wasserstein") or 1.0)):
        w, accuracy, usd = (row.get(key) for key in ("wasserstein", "accuracy", "usd_per_1000"))
        change = f"{row['change']:+.0%}" if "change" in row else ""
        read = f"{row['hand']}-hand", row["source"]
        told.append((row["split"], row["model"], w, change, accuracy, usd, *read))
    head = ["split.by", "predictor", "W", "against its base", "accuracy", "$ per 1,000", "read", "where"]
    return Table(head, told)


def headline_figure(results: Results) -> Figure:
    """W of the run's predictors and, hollow below them, of the paper's."""
    run = [(_short(name), {name: results.estimate(name)}) for name in results.predictors]
    shown = {
        "adapter": "fine-tuned",
        "base": "base",
        "uniform": "uniform",
        "empirical_best": "empirical best",
    }
    published = [
        (f"paper: {words}", {"paper": Estimate(results.paper[name].get("wasserstein"))})
        for name, words in shown.items()
        if name in results.paper
    ]
    words = "; ".join(f"{text} {number(w.value)}" for text, points in run for w in points.values())
    svg = figures.forest([*run, ("", {}), *published], plain=True)
    return Figure(svg, f"W with 95 % intervals: {words}")


def verdict(found: Estimate, margin: float, better: str, worse: str) -> str:
    """What an interval says: practically equal within ``margin`` of 0, else ``better`` below 0, ``worse`` above it."""
    if found.low is None or found.high is None:
        return "no result: too few studies"
    if -margin < found.low and found.high < margin:
        return f"practically equal (within ±{margin:g})"
    return {-1: better, 1: worse}.get(found.sign, "not established: the interval contains zero")


def _answer(report: Report, words: str) -> str:
    few = report.count("studies_scored") < FOR_A_RESULT
    return f"no result: fewer than {FOR_A_RESULT} studies" if few else words


def first_table(report: Report) -> Table:
    """What decides, before anything else: question, answer, and the figure with its share of the achievable."""
    margin = report.params["evaluate"]["equivalence_margin"]
    rows: list[tuple[str, str, str, Estimate, Estimate | None]] = []
    if primary := report.metrics.get("primary", {}).get("baseline"):
        question, of = "Better than what needs no language model?", f"W less that of {_short(primary)}"
        asked = [(question, of, report.estimate(report.primary))]
        if rest := report.metrics.get(REST):
            of = f"the same on the {number(rest['counts.cells_scored'])} cells whose text resembles none of training"
            asked.append(("", of, report.estimate(REST, f"{report.primary}.wasserstein")))
        if (oracle := report.estimate(f"{report.model}_minus_pooled")).value is not None:
            question, of = (
                "Is more known than what all conditions share?",
                f"W less that of {_short('pooled')}",
            )
            asked.append((question, of, oracle))
        for question, of, found in asked:
            words = verdict(found, margin, "yes: closer to people", "no: farther from people")
            rows.append((question, _answer(report, words), of, found, None))
    for name, (question, of) in PROBES.items():
        found, share = (report.estimate("reading", f"{name}.{key}") for key in ("log", "log_share"))
        if found.value is None:
            continue
        words = verdict(found, 0.0, "no: worse with it", "yes")
        if name == "reversed_options" and found.bounded:  # who reads labels loses nothing
            words = "no, or not wholly" if found.sign > 0 else "no loss is shown"
        known = share if share.value else None
        rows.append((question, _answer(report, words), f"log score {of}, nats", found, known))
    return Table(["question", "answer", "figure", "value (95 % interval)", "share of the achievable"], rows)


def p_value(p: float | None, least: float) -> str:
    """A p-value, as a bound where it is the least that the test can give."""
    return number(p) if p is None or p > least * 1.001 else f"≤\u00a0{least:.2g}"


def differences(report: Report) -> Table:
    """Who against whom, difference in W, p, what it means."""
    rows = []
    margin, draws = (report.params["evaluate"][key] for key in ("equivalence_margin", "bootstrap"))
    least = least_p(int(report.count("studies_scored")), draws)
    for part, metrics in sorted(report.metrics.items(), key=lambda item: item[0] != report.primary):
        first, minus, second = part.partition("_minus_")
        if not minus or metrics.get("wasserstein") is None:
            continue
        one, other = _short(first), _short(second)
        if part == report.primary:  # which baseline is best was decided on the validation studies
            other = f"best baseline ({_short(report.metrics.get('primary', {}).get('baseline', ''))})"
        found = report.estimate(part)
        words = verdict(found, margin, f"{one} is closer to people", f"{other} is closer to people")
        p = p_value(metrics.get("wasserstein_p"), least)
        rows.append((f"{one} − {other}", found, p, _answer(report, words)))
    return Table(["pair", "difference in W, paired by cell", "p", "reading"], rows)


def studies(report: Report) -> Figure:
    """W of each study, from the best to the worst of the model, the model alone with its interval."""
    scores: dict[str, dict[str, Estimate]] = {}
    columns = ["study_id", "predictor", "wasserstein", "wasserstein_low", "wasserstein_high"]
    for study, predictor, w, *ends in report.tables["studies"].select(columns).iter_rows():
        scores.setdefault(study, {})[predictor] = Estimate(w, *(ends if predictor == report.model else []))
    own = {study: points.get(report.model, Estimate()).value for study, points in scores.items()}
    shown = [name for name in ("base", "uniform") if name != report.model] + [report.model]
    rows = [
        (study, {name: scores[study].get(name, Estimate()) for name in shown})
        for study in sorted(scores, key=lambda study: (own[study] is None, own[study] or 0.0, study))
    ]
    svg = figures.forest(rows, legend=shown[::-1])
    return Figure(svg, f"W of {len(rows)} studies with intervals; metrics/tables/studies.csv has the figures")


def cells(report: Report) -> list[dict[str, Any]]:
    """The cells of distributions.csv, with what they asked."""
    scores = report.tables["cell_scores"].select(*CELL, "predictor", "wasserstein").drop_nulls()
    model = scores.filter(predictor=report.model).sort("wasserstein", *CELL)
    people = report.tables["cells"].select(*CELL, "scale", "respondents", "human_low", "human_high")
    shares = report.tables["distributions"].sort("option").partition_by(CELL, as_dict=True)
    shown = (
        model.with_row_index("rank")
        .join(scores.filter(predictor="base").select(*CELL, base="wasserstein"), on=CELL, how="left")
        .join(people, on=CELL, how="left")
        .join(report.questions, on=CELL, how="left")
        .sort("rank")
    )
    keyed = ((tuple(row[key] for key in CELL), row) for row in shown.iter_rows(named=True))
    return [_shown_cell(row, shares[key], model.height) for key, row in keyed if key in shares]


def _shown_cell(row: dict[str, Any], shares: pl.DataFrame, total: int) -> dict[str, Any]:
    """A cell whose distributions are shown; ``about`` names the range of people's answers, the unit of W."""
    rank = f"{row['rank'] + 1:,}"
    if row["rank"] in (0, total - 1):
        rank = "worst" if row["rank"] else "best"
    elif row["rank"] == round((total - 1) / 2):
        # numpy's rint, which chose the cells, rounds a middle between two ranks to the even one
        rank = f"median, {rank}"
    base = "" if row["base"] is None else f" (base {number(row['base'])})"
    name = f"study {row['study_id']}, condition {row['condition_num']}, task {row['task_num']}"
    wordings = f"; the commonest of {row['wordings']} wordings" if (row["wordings"] or 0) > 1 else ""
    sides = {side: shares.filter(predictor=side) for side in ("human", "base", "adapter")}
    known = {side: part["probability"].to_list() for side, part in sides.items() if part.height}
    svg = figures.distribution(sides["human"]["option"].to_list(), known)
    return {
        "wasserstein": row["wasserstein"],
        "title": f"{rank} of {total:,}: W {number(row['wasserstein'])}{base}",
        "about": f"{name}; {row['respondents']} respondents; scale {row['scale']}, of which people used "
        f"{row['human_low']:,.0f} to {row['human_high']:,.0f}{wordings}",
        "text": row["text"] or "(the text of this cell is not in the test split)",
        "figure": Figure(svg, f"distribution of answers in {name}: people, base and fine-tuned model"),
    }


def groups(report: Report) -> Table:
    """The gap between the groups of each attribute beside what chance gives."""
    gaps: dict[str, dict[str, Any]] = {}
    columns = ("attribute", "predictor", "accuracy_gap", "chance", "p")
    for attribute, predictor, *values in report.tables["group_gaps"].select(columns).iter_rows():
        gaps.setdefault(attribute.replace("_", " "), {})[predictor] = values
    models = [name for name in MODELS if name in report.predictions]
    rows = [(name, *(value for model in models for value in row[model])) for name, row in gaps.items()]
    head = (column for model in models for column in (f"gap, {SHORT[model]}", "by chance", "p"))
    return Table(["attribute", *head], rows)


def left_out(report: Report) -> Table:
    """Everything that was left out, by stage and reason, zeros included: they say that it was looked for."""
    counts, overlap, raw = report.metrics.get("counts", {}), report.splits.get("overlap", {}), report.raw
    evaluated = {
        "cells_excluded.too_small": "cells with fewer respondents than evaluate.min_cell_size",
        "cells_excluded.constant": "cells where all people agree (no human range)",
        "cells_mixed_scale": "cells whose respondents saw different scales (kept, on the union)",
        "answers_moved_to_grid": "answers moved to the nearest option of a thinned scale",
        "cells_without_train_scale": "cells whose scale length is not in training (train_marginal is uniform there)",
    }
    shared = ("shared_studies", "near_duplicate_scenarios", "near_duplicate_cells")
    between = {key.replace("_", " "): overlap[key] for key in shared if key in overlap}
    too_long = sorted(report.training.get("rows_too_long", {}).items())
    rows = [("download", "rows read", raw.get("rows_read", 0))]
    rows += [("download", f"{reason} (rows)", n) for reason, n in sorted(raw.get("rejected", {}).items())]
    rows += [("download", "rows kept", raw.get("kept", {}).get("rows", 0))]
    rows += [("split", f"{what} between train and test", n) for what, n in between.items()]
    rows += [("train", f"{part} rows longer than prompt.max_length", n) for part, n in too_long]
    for name, manifest in report.predictions.items():
        excluded = sorted(manifest.get("excluded", {}).items())
        rows += [(f"predict, {name}", f"{reason} (answers)", n) for reason, n in excluded]
    rows += [("evaluate", words, counts[key]) for key, words in evaluated.items() if key in counts]
    return Table(["stage", "what", "number"], rows)


def rules(report: Report) -> Table:
    """How the allowed answers were found (``ParsedScale.rule``), of how many answers."""
    counted = report.predictions[report.model].get("scale_rules", {})
    rows = [(rule.replace("+", ", "), n) for rule, n in counted.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    return Table(["how the allowed answers were found", "answers"], rows)


def provenance(report: Report) -> Table:
    """What made the result: revisions and versions, which are equal wherever it is made again."""
    raw, base, params, training = report.raw, report.base, report.params, report.training
    data = f"{raw.get('source')}: {params['data']['path']}"
    if report.synthetic:
        world = ", ".join(f"{key} {value}" for key, value in raw.get("world", {}).items())
        data = f"synthetic world ({world})"
    elif raw.get("source") == "hub":
        data = f"{params['data']['repo']} at {params['data']['revision']}"
    model = f"{params['model']['name']}, {number(base.get('parameters'))} parameters"
    if base.get("kind") == "hub":
        model = f"{base.get('name')} at {base.get('revision')}"
    rows = [("data", data), ("base model", model)]
    known = base.get("knows", {}).get("held-out")  # of the texts that it has read
    if known is not None:
        rows.append(("facts that it knows of held-out studies' topics", f"{known:.1%}"))
    if training:
        rows += [
            ("base model's fingerprint", training["base"]),
            ("trainable parameters", number(training.get("trainable_parameters"))),
            ("training tokens", number(training.get("tokens"))),
            *sorted(training["versions"].items()),
        ]
    return Table(["what", "which"], rows)
