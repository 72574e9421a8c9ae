"""The report on word problems, as a self-contained page and as Markdown, from the same content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gsm8k import answers
from socrates.reporting import figures
from socrates.reporting.page import Picture, number, templates
from socrates.reporting.read import Estimate

DECODINGS = {"greedy": "Greedy: the likeliest token each time", "sampled": "Drawn completions"}
RATES = {
    "exact": "exact answer",
    "strict_format": "strict format",
    "soft_format": "soft format",
    "truncated": "cut off at the length limit",
    "tokens": "tokens of a completion",
}
CURVES = (
    ({"reward": "reward"}, "mean reward of a completion"),
    (
        {"correctness": "right answer", "integer": "integer", "strict_format": "strict format"},
        "reward by part",
    ),
    ({"entropy": "entropy", "kl": "divergence from the base model"}, "nats per token"),
    ({"completion_tokens": "tokens of a completion"}, "tokens"),
)


def render(
    metrics: Mapping[str, Any],
    curves: pl.DataFrame,
    attempts: pl.DataFrame,
    problems: pl.DataFrame,
    transcripts: int,
    training: Mapping[str, Any],
) -> tuple[str, str]:
    """The page (HTML) and the Markdown.

    Args:
        metrics: from ``evaluation.maths.summary``.
        curves: from the training, one row per logged step.
        attempts, problems: of ``maths.problems``.
        transcripts: how many problems to show.
        training: the record of the training.
    """
    grpo, source = training["params"]["grpo"], training["params"]["model"]["name"]
    content = {
        "about": (
            f"{source}, {training['steps']} steps of GRPO on {grpo['global_batch'] // grpo['generations']} problems "
            f"a step with {grpo['generations']} completions each; {training['prompts_too_long']} of the training "
            "problems were left out for their length."
        ),
        "headline": [_headline(name, metrics[name]) for name in DECODINGS if name in metrics],
        "tables": [
            (words, metrics[name]["problems"], _rows(metrics[name]))
            for name, words in DECODINGS.items()
            if name in metrics
        ],
        "curves": [_picture(curves, columns, label) for columns, label in CURVES],
        "transcripts": _transcripts(attempts, problems, transcripts),
        "provenance": [
            ("base model's fingerprint", training["base"]),
            ("trainable parameters", number(training["trainable_parameters"])),
            *sorted(training["versions"].items()),
        ],
    }
    html, markdown = (
        templates(html, "gsm8k").get_template(name).render(content)
        for html, name in ((True, "report.html.j2"), (False, "report.md.j2"))
    )
    return html, markdown


def _headline(decoding: str, found: Mapping[str, Any]) -> str:
    base, trained, gain = (found[name]["exact"] for name in ("base", "trained", "difference"))
    if gain["low"] > 0:
        verdict = "training helped"
    elif gain["high"] < 0:
        verdict = "training did harm"
    else:
        verdict = "no difference is established: the interval contains zero"
    return (
        f"{decoding}: {number(base['value'])} right before, {number(trained['value'])} after "
        f"(difference {number(gain['value'])}, {number(gain['low'])} to {number(gain['high'])}): {verdict}."
    )


def _rows(found: Mapping[str, Any]) -> list[tuple[str, list[Estimate]]]:
    sides = ("base", "trained", "difference")
    return [
        (RATES.get(rate, rate), [Estimate(**found[side][rate]) for side in sides]) for rate in found["base"]
    ]


def _picture(curves: pl.DataFrame, columns: Mapping[str, str], label: str) -> Picture:
    known = {
        column: words
        for column, words in columns.items()
        if column in curves.columns and curves[column].drop_nulls().len()
    }
    return Picture(figures.curve(curves, known, label), f"{', '.join(known.values())} over optimiser steps")


def _transcripts(attempts: pl.DataFrame, problems: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    greedy = attempts.filter(pl.col("decoding") == "greedy")
    tried = problems.filter(pl.col("problem_id").is_in(greedy["problem_id"].unique().to_list()))
    places = np.unique(np.linspace(0, tried.height - 1, min(count, tried.height)).round().astype(int))
    shown = []
    for row in tried[places.tolist()].iter_rows(named=True):
        of = greedy.filter(pl.col("problem_id") == row["problem_id"]).sort("model")
        shown.append(
            {
                "question": row["question"],
                "answer": row["answer"],
                "completions": [
                    (model, text, answers.is_correct(text, row["answer"]))
                    for model, text in of.select("model", "completion").iter_rows()
                ],
            }
        )
    return shown
