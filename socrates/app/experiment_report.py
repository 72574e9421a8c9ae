"""What an experiment leaves behind: CSV tables with a codebook, and one self-contained HTML page."""

import base64
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from socrates.app.answers import binned
from socrates.app.experiment import ExperimentResult
from socrates.app.parse import short
from socrates.app.planning import ALPHA, FEWEST_PER_ARM, POWER, Effect
from socrates.core import files
from socrates.reporting.jinja import templates

CODEBOOK = {
    "effects.csv": {
        "outcome": "name of the outcome in the design",
        "condition": "name of the condition; each is compared with the control",
        "unit": "of all figures but chances and counts: points of the scale, or percentage points who answer so",
        "predicted": "the model's own difference, treatment minus control",
        "effect": "what to expect in people: predicted times the slope of the held-out studies; empty where unknown",
        "low_90, high_90": "ends of its 90 % interval",
        "joint_low_90, joint_high_90": "ends of intervals that hold all effects of the experiment at once in 90 %",
        "power": f"chance that the planned study finds it (two-sided {ALPHA}), averaged over what it may be",
        "respondents_needed": f"in all, for a power of {POWER}; empty where no number gives it",
        "chance_best": "chance that the condition has the best mean of all conditions, the control among them",
        "worth, worth_low_90, worth_high_90": "respondents an arm whose study would be as close, with 90 % interval",
    },
    "distributions.csv": {
        "condition, outcome, scale": "as in the design",
        "option": "an answer",
        "probability": "share of the population that gives it, by the model",
    },
}


def effect_row(effect: Effect) -> dict[str, Any]:
    row = asdict(effect) | {"unit": effect.unit.name}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}


def write(result: ExperimentResult, folder: Path) -> list[Path]:
    """Write experiment.html, effects.csv, distributions.csv and codebook.csv; returns the paths."""
    shares = [
        (arm.condition, arm.outcome, arm.answer.scale.notation, option, float(share))
        for arm in result.arms
        for option, share in zip(arm.answer.scale.options, arm.answer.probabilities, strict=True)
    ]
    codebook = [
        (file, column, text)
        for file, columns in CODEBOOK.items()
        for names, text in columns.items()
        for column in names.split(", ")
    ]
    columns = ["condition", "outcome", "scale", "option", "probability"]
    tables = {
        "effects.csv": pl.DataFrame(map(effect_row, result.effects), infer_schema_length=None),
        "distributions.csv": pl.DataFrame(shares, columns, orient="row"),
        "codebook.csv": pl.DataFrame(codebook, ["file", "column", "meaning"], orient="row"),
    }
    for name, table in tables.items():
        files.write_table(folder / name, table)
    files.write_text(folder / "experiment.html", render(result))
    return [folder / name for name in ("experiment.html", *tables)]


def summary(result: ExperimentResult) -> dict[str, Any]:
    people, error = result.people, result.known
    told: dict[str, Any] | str = result.unknown
    if error:
        told = {name: round(error.mean(getattr(error, name)), 4) for name in ("slope", "tau", "sigma", "rho")}
        told |= {"studies": error.studies, "contrasts": error.contrasts}
        told |= {"self_check": round(error.covered, 4), "skill": [round(value, 4) for value in error.skill]}
    cells = []
    for arm in result.arms:
        cell = {"condition": arm.condition, "outcome": arm.outcome, "unit": arm.unit.name}
        cells.append({**cell, "mean": round(arm.unit.mean(arm.mean), 4), **arm.answer.summary()})
    size = {"personas": len(people.personas), "effective": round(people.effective_size, 1)}
    return {
        "title": result.design.title,
        "model": result.model,
        "answer": answer(result),
        "population": {"source": people.source, **size},
        "error": told,
        "cells": cells,
        "effects": list(map(effect_row, result.effects)),
        "choices": [asdict(choice) for choice in result.choices],
        "warnings": result.warnings,
        "notes": result.notes,
    }


def answer(result: ExperimentResult) -> list[str]:
    """The design's question answered, a sentence for each outcome."""
    sentences = []
    for outcome in result.design.outcomes:
        of = [effect for effect in result.effects if effect.outcome == outcome.name]
        unit = of[0].unit.name
        if result.known is None:
            told = ", ".join(f"{signed(e.predicted)} under “{e.condition}”" for e in of)
            unknown = "how wrong that is, is not known"
            sentences.append(f"{outcome.name}: the model itself says {told} ({unit}); {unknown}.")
            continue
        clear = [e for e in of if e.clear]
        parts = [f"“{e.condition}” moves it by {signed(e.effect or 0)} ({interval(e)})" for e in clear]
        either = [f"“{e.condition}” ({interval(e)})" for e in of if not e.clear]
        parts += [f"{' and '.join(either)} may move it either way"] if either else []
        sentences.append(f"{outcome.name} ({unit}): {'; '.join(parts)}.")
    return sentences


def interval(effect: Effect, name: str = "") -> str:
    """The ends of an interval of an effect: the single one, or ``joint_``."""
    return " to ".join(signed(getattr(effect, f"{name}{end}_90")) for end in ("low", "high"))


def render(result: ExperimentResult) -> str:
    """The page: no request, every drawing within, one script that sorts tables and that its hash alone allows."""
    functions = (signed, percent, plain, short, binned, interval, count)
    filters: dict[str, Any] = {function.__name__: function for function in functions}
    pages = templates(html=True, package="socrates.app", filters=filters)
    script = pages.get_template("sort.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    ends = [end / e.unit.factor for e in result.effects for end in (e.low_90, e.high_90) if end is not None]
    return pages.get_template("experiment.html.j2").render(
        result=result,
        design=result.design,
        answer=answer(result),
        alpha=ALPHA,
        fewest=FEWEST_PER_ARM,
        wanted=POWER,
        reach=max([0.01, *map(abs, ends)]),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        arms={(arm.outcome, arm.condition): arm for arm in result.arms},
        choices={choice.outcome: choice for choice in result.choices},
    )


def plain(value: float) -> str:
    """Three significant digits and no exponent, with a true minus sign."""
    size = abs(value)
    return f"{value:z.{0 if size >= 100 else 1 if size >= 10 else 2}f}".replace("-", "−")


def signed(value: float) -> str:
    return ("+" if value > 0 else "") + plain(value)


def count(value: float) -> str:
    return "over 10,000" if value > 10_000 else f"{value:,.0f}" if value >= 1 else "less than 1"


def percent(value: float) -> str:
    """A share as a whole percentage that is never 0 % or 100 % by rounding: a chance is never either."""
    return "> 99 %" if value >= 0.995 else "< 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"
