"""Predictions of a model behind an OpenAI-compatible endpoint: a vendor's, or a vLLM or llama.cpp server of one's own.

Two ways to ask: ``logprobs`` sends each allowed answer after the prompt to ``/completions`` and reads its probability,
which is exact; ``draws`` lets ``/chat/completions`` answer several times. Every answer is appended to a file as it
comes, so that a killed run asks no answered question again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import SocratesError
from socrates.survey.prompts import answer_part, persona_expression, prompt
from socrates.survey.scales import Scale, scale
from socrates.tools.external import test_rows, write_folder

KEY = "SOCRATES_ENDPOINT_KEY"  # the environment variable that holds the key; no param and no option does
ATTEMPTS, FIRST_PAUSE, TIMEOUT = 6, 1.0, 120.0  # pauses double, in seconds
CHARACTERS_PER_TOKEN = 3.5  # for the estimate before the first call
NUMBER = re.compile(r"-?\d+")
ASK = "{prompt}\n\nAnswer as this person would, with the number alone."


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask.

    Attributes:
        url: such as http://127.0.0.1:8000/v1.
        usd_per_million: tokens sent, tokens received.
        end: the end-of-answer token as text, which ``logprobs`` needs where one answer begins another (1 and 10).
    """

    url: str
    model: str
    mode: Literal["logprobs", "draws"] = "draws"
    draws: int = 10
    workers: int = 8
    usd_per_million: tuple[float, float] = (0.0, 0.0)
    max_usd: float | None = None
    end: str = ""


@dataclass(frozen=True)
class EndpointQuestion:
    """One distinct prompt with the scale that answers it."""

    stimuli: str
    persona: str
    notation: str

    @property
    def text(self) -> str:
        return prompt(self.stimuli, self.persona, "scenario_first")


@dataclass
class Spending:
    """Tokens paid for so far, in this run and before."""

    endpoint: Endpoint
    sent: int = 0
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def usd(self) -> float:
        price_sent, price_received = self.endpoint.usd_per_million
        return (self.sent * price_sent + self.received * price_received) / 1e6

    def add(self, usage: dict[str, Any]) -> None:
        with self.lock:
            self.sent += int(usage.get("prompt_tokens") or 0)
            self.received += int(usage.get("completion_tokens") or 0)

    def check(self) -> None:
        limit = self.endpoint.max_usd
        if limit is not None and self.usd >= limit:
            raise SocratesError(
                f"endpoint: ${self.usd:.2f} are spent, the limit is ${limit:.2f}; what came is kept"
            )


def estimate(questions: list[EndpointQuestion], endpoint: Endpoint) -> tuple[int, int, float]:
    """Tokens sent, tokens received and dollars, before the first call; an upper bound for ``draws``."""
    calls = [len(scale(q.notation).options) if endpoint.mode == "logprobs" else 1 for q in questions]
    lengths = [len(q.text) / CHARACTERS_PER_TOKEN for q in questions]
    sent = int(np.dot(calls, lengths)) if questions else 0
    received = 0 if endpoint.mode == "logprobs" else 8 * endpoint.draws * len(questions)
    spending = Spending(endpoint, sent, received)
    return sent, received, spending.usd


def ask_all(
    questions: list[EndpointQuestion], endpoint: Endpoint, store: Path
) -> tuple[pl.DataFrame, Spending]:
    """Every question's answer distribution and format validity; questions that ``store`` answers are not asked again.

    Returns:
        (``stimuli``, ``persona``, ``scale``, ``probabilities``, ``allowed_mass``), what was spent in all.

    Raises:
        SocratesError: the endpoint refuses, does not answer, answers in another form, or the limit is reached.
    """
    if endpoint.mode == "logprobs" and not endpoint.end:
        for notation in sorted({q.notation for q in questions}):
            _check_no_prefix(scale(notation))
    spending = Spending(endpoint)
    known: dict[str, dict[str, Any]] = {}
    for entry in _stored(store):
        known[entry["key"]] = entry
        spending.add(entry["usage"])
    store.parent.mkdir(parents=True, exist_ok=True)
    if store.exists() and not store.read_bytes().endswith(b"\n"):
        with store.open("a") as file:
            file.write("\n")  # after a line that a kill cut off
    missing = [q for q in dict.fromkeys(questions) if _key(q, endpoint) not in known]
    with (
        _client(endpoint) as client,
        store.open("a", encoding="utf-8") as file,
        ThreadPoolExecutor(endpoint.workers) as pool,
    ):
        asked = {pool.submit(_ask, client, question, endpoint, spending): question for question in missing}
        try:
            for done in as_completed(asked):
                entry = {"key": _key(asked[done], endpoint), **done.result()}
                file.write(json.dumps(entry) + "\n")
                file.flush()
                known[entry["key"]] = entry
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows = [
        (
            q.stimuli,
            q.persona,
            q.notation,
            known[_key(q, endpoint)]["shares"],
            known[_key(q, endpoint)]["mass"],
        )
        for q in dict.fromkeys(questions)
    ]
    schema = pl.Schema(
        dict.fromkeys(("stimuli", "persona", "scale"), pl.String())
        | {"probabilities": pl.List(pl.Float64()), "allowed_mass": pl.Float64()}
    )
    return pl.DataFrame(rows, schema, orient="row"), spending


def predict_test_rows(
    endpoint: Endpoint, name: str, personas: bool, confirmed: bool = False
) -> tuple[Path, int, Spending]:
    """Ask the test rows of an endpoint as the predictor ``name``; the estimate is printed before the first call.

    Args:
        personas: ask for each respondent; otherwise once for each scenario.
        confirmed: go on, up to ``max_usd``, where the estimate is above it.

    Returns:
        The predictions' folder, its rows, and what was spent.

    Raises:
        SocratesError: the estimate is above ``max_usd``, or see :func:`ask_all`.
    """
    rows, excluded = test_rows(name)
    told, questions = predict_table(rows, personas)
    sent, received, usd = estimate(questions, endpoint)
    about = f"about {sent:,} tokens sent, {received:,} received, ${usd:.2f}"
    print(f"{len(questions):,} questions, {about}", file=sys.stderr)
    if endpoint.max_usd is not None and usd > endpoint.max_usd and not confirmed:
        limit = f"--max-usd {endpoint.max_usd:.2f}"
        raise SocratesError(f"the estimate of ${usd:.2f} is above {limit}; --yes goes on up to it")
    answers, spent = ask_all(questions, endpoint, Path(".scratch/endpoint") / f"{name}.jsonl")
    how = {"endpoint": endpoint.url, "model": endpoint.model, "mode": endpoint.mode, "personas": personas}
    how["usd"] = round(spent.usd, 4)
    return *write_folder(name, rows, flatten(told, answers), excluded, how), spent


def predict_table(rows: pl.DataFrame, personas: bool) -> tuple[pl.DataFrame, list[EndpointQuestion]]:
    """``rows`` with ``persona`` (empty for all where personas are not told), and their distinct questions."""
    persona = persona_expression() if personas else pl.lit("unknown").alias("persona")
    told = rows.with_columns(persona)
    distinct = told.select("stimuli", "persona", "scale").unique(maintain_order=True)
    return told, [EndpointQuestion(*row) for row in distinct.iter_rows()]


def flatten(
    told: pl.DataFrame, answers: pl.DataFrame
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Values, offsets and mass of every row, as ``predictions_table`` takes them."""
    key = ["stimuli", "persona", "scale"]
    joined = told.select(key).join(answers, on=key, how="left", maintain_order="left")
    lengths = joined["probabilities"].list.len().to_numpy()
    values = joined["probabilities"].explode().to_numpy().astype(np.float32)
    return (
        values,
        np.concatenate([[0], np.cumsum(lengths)]),
        joined["allowed_mass"].to_numpy().astype(np.float32),
    )


def _ask(
    client: httpx.Client, question: EndpointQuestion, endpoint: Endpoint, spending: Spending
) -> dict[str, Any]:
    """One question's shares over its options, the mass on them, and the tokens it took."""
    options = scale(question.notation).options
    before = Spending(endpoint)
    if endpoint.mode == "logprobs":
        ask = partial(_log_probability, client, question.text, endpoint=endpoint, spent=(before, spending))
        shares = np.exp([ask(option) for option in options])
        mass = float(shares.sum())
    else:
        answers = _drawn(client, question, endpoint, (before, spending))
        valid = [answer for answer in answers if answer in set(options)]
        shares = np.array([valid.count(option) for option in options], float)
        mass = len(valid) / len(answers)
    total = shares.sum()
    shares = shares / total if total > 0 else np.full(len(options), 1 / len(options))
    usage = {"prompt_tokens": before.sent, "completion_tokens": before.received}
    return {"shares": shares.tolist(), "mass": min(mass, 1.0), "usage": usage}


def _log_probability(
    client: httpx.Client, text: str, option: int, endpoint: Endpoint, spent: tuple[Spending, ...]
) -> float:
    body = {"prompt": text + answer_part(option) + endpoint.end, "max_tokens": 0, "echo": True, "logprobs": 1}
    reply = _post(client, "completions", {**body, "model": endpoint.model, "temperature": 0}, spent)
    logprobs = reply["choices"][0]["logprobs"]
    pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
    return float(sum(value for offset, value in pairs if offset >= len(text)))


def _drawn(
    client: httpx.Client, question: EndpointQuestion, endpoint: Endpoint, spent: tuple[Spending, ...]
) -> list[int | None]:
    """Answers of ``draws`` samples; None where there is no number."""
    answers: list[int | None] = []
    message = {"role": "user", "content": ASK.format(prompt=question.text)}
    while len(answers) < endpoint.draws:
        body = {"model": endpoint.model, "messages": [message], "max_tokens": 16, "temperature": 1}
        reply = _post(client, "chat/completions", {**body, "n": endpoint.draws - len(answers)}, spent)
        texts = [choice["message"]["content"] or "" for choice in reply["choices"]]
        numbers = [NUMBER.search(text) for text in texts]
        answers += [int(number[0]) if number else None for number in numbers]
    return answers[: endpoint.draws]


def _post(
    client: httpx.Client, path: str, body: dict[str, Any], spent: tuple[Spending, ...]
) -> dict[str, Any]:
    """The reply, asked for again after 429, 5xx, a timeout or half an answer."""
    problem = ""
    for attempt in range(ATTEMPTS):
        spent[-1].check()
        wait = FIRST_PAUSE * 2**attempt
        try:
            reply = client.post(path, json=body)
            if reply.status_code == 200:
                told = reply.json()
                told["choices"][0]
                for spending in spent:
                    spending.add(told.get("usage") or {})
                return told
            problem = f"status {reply.status_code}"
            if reply.status_code != 429 and reply.status_code < 500:
                raise SocratesError(
                    f"endpoint: {problem} ({' '.join(reply.text.split())[:200]}); check url, model and key"
                )
            after = reply.headers.get("retry-after", "")
            wait = float(after) if after.isdigit() else wait
        except (httpx.TransportError, ValueError, KeyError, IndexError, TypeError) as error:
            problem = f"{type(error).__name__}"
        if attempt < ATTEMPTS - 1:
            time.sleep(min(wait, 60))
    raise SocratesError(f"endpoint: {problem} {ATTEMPTS} times; run again, what came is kept")


def _client(endpoint: Endpoint) -> httpx.Client:
    key = os.environ.get(KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=endpoint.url.rstrip("/") + "/", headers=headers, timeout=TIMEOUT)


def _stored(store: Path) -> Iterator[dict[str, Any]]:
    """The entries of an earlier run; a last line that was cut off is passed over."""
    if store.exists():
        for line in store.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _key(question: EndpointQuestion, endpoint: Endpoint) -> str:
    how = [endpoint.url, endpoint.model, endpoint.mode, endpoint.draws, endpoint.end]
    told = json.dumps([*how, question.stimuli, question.persona, question.notation])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _check_no_prefix(options: Scale) -> None:
    texts = sorted(map(answer_part, options.options))
    for first, second in pairwise(texts):
        if second.startswith(first):
            raise SocratesError(
                f"endpoint: answer {first} begins answer {second}: give the model's end-of-answer token with --end"
            )
