"""What an experiment leaves behind: three CSV tables and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from socrates.app.answers import binned
from socrates.app.experiment import ALPHA, Effect, ExperimentResult
from socrates.app.parse import short
from socrates.core import files
from socrates.reporting.jinja import environment


def distribution_table(result: ExperimentResult) -> pl.DataFrame:
    """A row per condition, outcome and option: its share of respondents."""
    return pl.DataFrame(
        [
            (arm.condition, arm.outcome, arm.answer.scale.notation, option, float(share))
            for arm in result.arms
            for option, share in zip(arm.answer.scale.options, arm.answer.probabilities, strict=True)
        ],
        ["condition", "outcome", "scale", "option", "probability"],
        orient="row",
    )


def effect_row(effect: Effect) -> dict[str, Any]:
    """An effect as plain values, in points of the scale."""
    return {
        "outcome": effect.outcome,
        "condition": effect.condition,
        "group": effect.group,
        "personas": effect.personas,
        **{name: round(value, 6) for name, value in effect.points.items()},
        "effect_share_of_scale": round(effect.effect, 6),
        "power": round(effect.power, 4),
        "assurance": round(effect.assurance, 4),
        "respondents_per_condition_for_power_80": effect.needed,
    }


def write(result: ExperimentResult, folder: Path) -> list[Path]:
    """Write experiment.html, effects.csv, distributions.csv and, if asked for, subgroups.csv; returns the paths."""
    tables = {
        "effects": pl.DataFrame(map(effect_row, result.effects)),
        "distributions": distribution_table(result),
    }
    if result.subgroups:
        tables["subgroups"] = pl.DataFrame(map(effect_row, result.subgroups))
    for name, table in tables.items():
        files.write_table(folder / f"{name}.csv", table)
    page = folder / "experiment.html"
    files.write_text(page, render(result))
    return [page, *(folder / f"{name}.csv" for name in tables)]


def summary(result: ExperimentResult) -> dict[str, Any]:
    """All of a result as values that JSON can hold."""
    known = result.calibration
    return {
        "title": result.design.title,
        "model": result.model,
        "population": {
            "source": result.people.source,
            "personas": len(result.people.personas),
            "effective": round(result.people.effective_size, 1),
        },
        "calibration": {
            "slope": round(known.slope, 4),
            "slope_se": round(known.slope_se, 4),
            "residual": round(known.residual, 4),
            "studies": known.studies,
            "contrasts": known.contrasts,
            "contrasts_covered": round(known.covered, 4),
        },
        "cells": [
            {
                "condition": arm.condition,
                "outcome": arm.outcome,
                "mean": round(arm.answer.expected, 4),
                "sd": round(arm.deviation * arm.span, 4),
                **{key: value for key, value in arm.answer.summary().items() if key != "expected"},
            }
            for arm in result.arms
        ],
        "effects": [effect_row(effect) for effect in result.effects],
        "subgroups": [effect_row(effect) for effect in result.subgroups],
        "warnings": result.warnings,
        "notes": result.notes,
    }


def render(result: ExperimentResult) -> str:
    """The page: no script, no request, every drawing within."""
    filters: dict[str, Any] = {
        "signed": signed,
        "percent": percent,
        "plain": plain,
        "scale": short,
        "binned": binned,
    }
    page = environment("socrates.app", html=True, filters=filters).get_template("experiment.html.j2")
    ends = [abs(end) for effect in (*result.effects, *result.subgroups) for end in (effect.low, effect.high)]
    return page.render(
        result=result,
        design=result.design,
        alpha=ALPHA,
        arms={(arm.outcome, arm.condition): arm for arm in result.arms},
        everyone={(effect.outcome, effect.condition): effect for effect in result.effects},
        highest={
            outcome.name: max(
                binned(arm.answer)[1].max() for arm in result.arms if arm.outcome == outcome.name
            )
            for outcome in result.design.outcomes
        },
        reach=max([0.01, *ends]),
    )


def plain(value: float) -> str:
    """Three significant digits and no exponent, with a true minus sign."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}".replace("-", "−")


def signed(value: float) -> str:
    """The same with its sign."""
    return ("+" if value > 0 else "") + plain(value)


def percent(value: float) -> str:
    """A share as a whole percentage that is never 0 % or 100 % by rounding: a chance is never either."""
    return "> 99 %" if value >= 0.995 else "< 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"
