"""Respondents per second whose answers become known: exact distributions against what else one could do.

    python -m benchmarks.prediction_speed scoring [--rounds 5]
    python -m benchmarks.prediction_speed sampling
    python -m benchmarks.prediction_speed seed

A four-layer float32 model and rows of the real lengths, 32 respondents a scenario. ``scoring``: the whole
distribution, against the log-likelihood of every option in a padded row of its own; beside it, prompts
computed once with their cache expanded over the options. ``sampling``: against 20 answers a respondent with
HF's generate. ``seed``: against the seed project's evaluation, greedy, one row at a time, 100 tokens; both on
an NF4 model with an adapter beside it, which is what that project's T4 could hold and what the predict stage has.
Baselines use the fastest of several batch sizes and fewer respondents, where each costs them the same.
Nothing is reported before the numbers agreed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import answering
from benchmarks.answering import TOLERANCE, by_cached_prompt, by_option, exact, fastest, greedy, sampled
from benchmarks.quantised import nf4_model, twin
from benchmarks.timing import clocked, conditions, interleaved, ratio, table
from benchmarks.training import with_adapter
from benchmarks.workload import REAL, Profile, config, cpu_model, one_thread, rows, tokenizer

OURS, OPTIONS, CACHED = "exact, shared", "every option a row", "prompt cached"
DRAWS = 20
SCALES = {"7-point": "1..7", "0-100": "0..100"}


@dataclass(frozen=True)
class Size:
    """How much is computed.

    Attributes:
        scenarios, respondents: of our way; ``respondents`` of each scenario.
        few: respondents of a baseline, by scale.
        batches: sizes a baseline may choose from: rows of a pass, and respondents for ``cached``.
        tokens: of one of our passes.
        greedy_rows, greedy_tokens: of the seed project's evaluation.
        tolerance: of probabilities, relative to a respondent's largest.
        profile: lengths of the prompts.
    """

    scenarios: int = 8
    respondents: int = 32
    few: tuple[int, int] = (32, 4)
    batches: tuple[int, ...] = (16, 64)
    tokens: int = 4096
    greedy_rows: int = 4
    greedy_tokens: int = 100
    tolerance: float = TOLERANCE
    profile: Profile = REAL


Line = list[object]


class Bench:
    """The comparisons on one model; the header of each one's lines is beside it."""

    def __init__(self, model: PreTrainedModel, size: Size, rounds: int, say: Callable[[str], None]) -> None:
        self.words: PreTrainedTokenizerBase = tokenizer()
        self.model = answering.speak_digits(model, self.words)
        self.size, self.rounds, self.say = size, rounds, say

    SCORING = ("scale", OURS, OPTIONS, CACHED, "times every option", "times prompt cached")

    def scoring(self, scale: str) -> Line:
        """Respondents per second of each way, and ratios."""
        size, model = self.size, self.model
        data = rows(size.profile, size.scenarios, size.respondents, SCALES[scale])
        few = range(size.few[list(SCALES).index(scale)])
        device = model.device
        ours = exact(model, self.words, data, SCALES[scale], size.tokens)
        worst = max(
            answering.check_close(ours[few], way, name, size.tolerance)
            for name, way in (
                (OPTIONS, by_option(model, data, few, size.batches[0])),
                (CACHED, by_cached_prompt(model, data, few, len(few))),
            )
        )
        self.say(f"{scale}: probabilities equal to {worst:.1e}")
        rowwise = fastest([lambda b=b: by_option(model, data, few, b) for b in size.batches], device)
        per_person = {
            OURS: _each(
                clocked(lambda: exact(model, self.words, data, SCALES[scale], size.tokens), device), data
            ),
            OPTIONS: _each(clocked(rowwise, device), few),
            CACHED: _each(clocked(lambda: by_cached_prompt(model, data, few, len(few)), device), few),
        }
        seconds = interleaved(per_person, self.rounds)
        speeds = [1 / float(np.median(seconds[name])) for name in per_person]
        return [scale, *speeds, ratio(seconds, OPTIONS, OURS), ratio(seconds, CACHED, OURS)]

    SAMPLING = ("scale", OURS, f"{DRAWS} sampled answers", "times", "error left by sampling (W, on [0, 1])")

    def sampling(self, scale: str) -> Line:
        """Respondents per second of exact distributions and of sampled answers, and the error of the latter."""
        size, model = self.size, self.model
        data = rows(size.profile, size.scenarios, size.respondents, SCALES[scale])
        few = range(min(16, size.few[0]))
        device = model.device
        ours = exact(model, self.words, data, SCALES[scale], size.tokens)
        ways = [
            lambda b=b: sampled(model, self.words, data, few, DRAWS, b)
            for b in sorted({max(rows_at_once // DRAWS, 1) for rows_at_once in (*size.batches, 320)})
        ]
        sigmas = answering.check_frequencies(ours[few], data, ways[-1]())
        self.say(
            f"{scale}: sampled frequencies within {sigmas:.1f} standard errors of the exact probabilities"
        )
        best = fastest(ways, device)
        per_person = {
            OURS: _each(
                clocked(lambda: exact(model, self.words, data, SCALES[scale], size.tokens), device), data
            ),
            "sampled": _each(clocked(best, device), few),
        }
        seconds = interleaved(per_person, self.rounds)
        speeds = [1 / float(np.median(seconds[name])) for name in per_person]
        error = answering.sampling_error(ours, DRAWS, size.respondents, np.random.default_rng(0))
        return [scale, *speeds, ratio(seconds, "sampled", OURS), error]

    SEED = ("seed project's evaluation", "rows per second", "exact, shared, rows per second", "times")

    def seed(self) -> list[Line]:
        """Rows per second of greedy decoding to the limit, and had the model ended its answers; ours beside."""
        size, model = self.size, with_adapter(twin(self.model))
        data = rows(size.profile, size.scenarios, size.respondents, SCALES["7-point"])
        few = range(size.greedy_rows)
        device = model.device
        ours = exact(model, self.words, data, SCALES["7-point"], size.tokens)
        worst = answering.check_close(ours[few], by_option(model, data, few, 8), OPTIONS, size.tolerance)
        self.say(f"seed: probabilities of its rows equal to {worst:.1e}")
        per_row = {
            OURS: _each(
                clocked(lambda: exact(model, self.words, data, SCALES["7-point"], size.tokens), device), data
            ),
            f"{size.greedy_tokens} tokens": _each(
                clocked(lambda: greedy(model, data, few, size.greedy_tokens), device), few
            ),
            "ended after the answer (2 tokens)": _each(
                clocked(lambda: greedy(model, data, few, 2), device), few
            ),
        }
        seconds = interleaved(per_row, self.rounds)
        speed = {name: 1 / float(np.median(taken)) for name, taken in seconds.items()}
        return [
            [name, speed[name], speed[OURS], ratio(seconds, name, OURS)] for name in per_row if name != OURS
        ]


def _each(way: Callable[[], float], people: object) -> Callable[[], float]:
    """Seconds a respondent."""
    return lambda: way() / len(people)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["scoring", "sampling", "seed"])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    started = time.perf_counter()
    with one_thread():
        print(conditions(args.rounds), flush=True)
        # The seed project predicted with a 4-bit model, as the default of this one does.
        cpu = torch.device("cpu")
        model = nf4_model(config(), cpu, torch.float32) if args.what == "seed" else cpu_model()
        bench = Bench(model, Size(), args.rounds, lambda line: print(line, flush=True))
        header, lines = {
            "scoring": lambda: (Bench.SCORING, [bench.scoring(scale) for scale in SCALES]),
            "sampling": lambda: (Bench.SAMPLING, [bench.sampling(scale) for scale in SCALES]),
            "seed": lambda: (Bench.SEED, bench.seed()),
        }[args.what]()
    print("\n" + table(header, lines))
    print(f"\nrespondents per second; {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
