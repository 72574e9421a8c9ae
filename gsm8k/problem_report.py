"""The report on word problems, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import is_correct
from socrates.evaluation.intervals import Estimate
from socrates.reporting.page import templates
from socrates.reporting.sections import number

DECODINGS = {"greedy": "Greedy: the likeliest token each time", "sampled": "Drawn completions"}
RATES = {
    "exact": "exact answer",
    "strict_format": "strict format",
    "soft_format": "soft format",
    "truncated": "cut off at the length limit",
    "tokens": "tokens of a completion",
}


def render(
    metrics: Mapping[str, Any],
    attempts: pl.DataFrame,
    problems: pl.DataFrame,
    transcripts: int,
    training: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        metrics: from :func:`gsm8k.pass_rates.summary`.
        attempts, problems: as in :mod:`gsm8k.problems`.
        transcripts: how many problems to show.
        training: ``training.json``.
    """
    grpo, source = training["params"]["grpo"], training["params"]["model"]["name"]
    shown = {name: metrics[name] for name in DECODINGS if name in metrics}
    content = {
        "about": (
            f"{source}, {training['steps']} steps of GRPO on {grpo['global_batch'] // grpo['generations']} problems "
            f"a step with {grpo['generations']} completions each; {training['prompts_too_long']} of the training "
            "problems were left out for their length."
        ),
        "headline": [_headline(name, rates) for name, rates in shown.items()],
        "tables": [(DECODINGS[name], rates["problems"], _rows(rates)) for name, rates in shown.items()],
        "transcripts": _transcripts(attempts, problems, transcripts),
        "provenance": [
            ("base model's fingerprint", training["base"]),
            ("trainable parameters", number(training["trainable_parameters"])),
            *sorted(training["versions"].items()),
        ],
    }
    return templates(False, "gsm8k").get_template("report.md.j2").render(content)


def _headline(decoding: str, rates: Mapping[str, Any]) -> str:
    base, trained, gain = (rates[side]["exact"] for side in ("base", "trained", "difference"))
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


def _rows(rates: Mapping[str, Any]) -> list[tuple[str, list[Estimate]]]:
    sides = ("base", "trained", "difference")
    return [
        (RATES.get(rate, rate), [Estimate(**rates[side][rate]) for side in sides]) for rate in rates["base"]
    ]


def _transcripts(attempts: pl.DataFrame, problems: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    """Greedy completions of ``count`` problems, evenly spaced."""
    greedy = attempts.filter(decoding="greedy").sort("model")
    tried = problems.join(greedy, on="problem_id", how="semi")
    rows = np.unique(np.linspace(0, tried.height - 1, min(count, tried.height)).round().astype(int))
    return [
        {
            "question": question,
            "answer": answer,
            "completions": [
                (model, text, is_correct(text, answer))
                for model, text in greedy.filter(problem_id=problem).select("model", "completion").iter_rows()
            ],
        }
        for problem, question, _, answer in tried[rows.tolist()].iter_rows()
    ]
