"""What an experiment leaves behind: three CSV tables and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from socrates.app.answers import Answer, binned
from socrates.app.experiment import ALPHA, Cell, Effect, Result
from socrates.app.parse import short
from socrates.core import files
from socrates.reporting.jinja import environment

BARS, HEIGHT = 220, 70  # pixels of a drawing of one distribution
FOREST = 220  # pixels of an interval's drawing


def distribution_table(result: Result) -> pl.DataFrame:
    """A row per condition, outcome and option: its share of respondents."""
    return pl.DataFrame(
        [
            (cell.condition, cell.outcome, cell.scale.notation, option, float(share))
            for cell in result.cells
            for option, share in zip(cell.scale.options, cell.probabilities, strict=True)
        ],
        ["condition", "outcome", "scale", "option", "probability"],
        orient="row",
    )


def effect_table(result: Result, subgroups: bool) -> pl.DataFrame:
    """A row per treatment and outcome (and subgroup), all effects in points of the outcome's scale."""
    return pl.DataFrame([effect_row(found) for found in (result.subgroups if subgroups else result.effects)])


def effect_row(found: Effect) -> dict[str, Any]:
    """An effect as plain values, in points of the scale."""
    points = {
        name: round(getattr(found, name) * found.span, 6)
        for name in ("predicted", "effect", "low", "high", "study_low", "study_high")
    }
    return {
        "outcome": found.outcome,
        "condition": found.condition,
        "group": found.group,
        "personas": found.personas,
        **points,
        "effect_share_of_scale": round(found.effect, 6),
        "power": round(found.power, 4),
        "assurance": round(found.assurance, 4),
        "respondents_per_condition_for_power_80": found.needed,
    }


def write(result: Result, folder: Path) -> list[Path]:
    """Write experiment.html, effects.csv, distributions.csv and, if asked for, subgroups.csv; returns the paths."""
    tables = {
        "effects": effect_table(result, subgroups=False),
        "distributions": distribution_table(result),
    }
    if result.subgroups:
        tables["subgroups"] = effect_table(result, subgroups=True)
    for name, table in tables.items():
        files.write_table(folder / f"{name}.csv", table)
    page = folder / "experiment.html"
    files.write_text(page, render(result))
    return [page, *(folder / f"{name}.csv" for name in tables)]


def summary(result: Result) -> dict[str, Any]:
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
                "condition": cell.condition,
                "outcome": cell.outcome,
                "mean": round(cell.mean, 4),
                "sd": round(cell.deviation * cell.span, 4),
                **{key: value for key, value in _answer(cell).summary().items() if key != "expected"},
            }
            for cell in result.cells
        ],
        "effects": [effect_row(found) for found in result.effects],
        "subgroups": [effect_row(found) for found in result.subgroups],
        "warnings": result.warnings,
        "notes": result.notes,
    }


def render(result: Result) -> str:
    """The page: no script, no request, every drawing within."""
    filters: dict[str, Callable[..., Any]] = {
        "signed": signed,
        "percent": percent,
        "plain": plain,
        "scale": short,
    }
    page = environment("socrates.app", html=True, filters=filters).get_template("experiment.html.j2")
    everyone = {(found.outcome, found.condition): found for found in result.effects}
    reach = max([0.01, *(abs(end) for e in (*result.effects, *result.subgroups) for end in (e.low, e.high))])
    highest = {
        outcome.name: max(
            float(binned(_answer(c))[1].max()) for c in result.cells if c.outcome == outcome.name
        )
        for outcome in result.design.outcomes
    }
    return page.render(
        result=result,
        design=result.design,
        per_arm=result.design.respondents / len(result.design.conditions),
        alpha=ALPHA,
        cells={(cell.outcome, cell.condition): cell for cell in result.cells},
        bars={(c.outcome, c.condition): bars(c, highest[c.outcome]) for c in result.cells},
        everyone=everyone,
        width=BARS,
        height=HEIGHT,
        forest=FOREST,
        place=lambda value: round(FOREST / 2 * (1 + value / reach), 1),
        reach=reach,
    )


def bars(cell: Cell, highest: float) -> list[dict[str, Any]]:
    """The drawing of a distribution: place, size and words of each bar; one scale of height per outcome."""
    labels, shares = binned(_answer(cell))
    room = BARS / len(labels)
    every = -(-len(labels) // 7)
    return [
        {
            "x": round(index * room + room * 0.1, 1),
            "width": round(room * 0.8, 1),
            "height": round(float(share) / highest * (HEIGHT - 4), 1),
            "label": label.split("–")[0] if index % every == 0 else "",
            "words": f"{label}: {share:.1%}",
        }
        for index, (label, share) in enumerate(zip(labels, shares, strict=True))
    ]


def _answer(cell: Cell) -> Answer:
    return Answer(cell.scale, cell.probabilities, cell.format_validity)


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
