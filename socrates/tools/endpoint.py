"""Predictions of a model behind an OpenAI-compatible endpoint: a vendor's, or a vLLM or llama.cpp server of one's own.

Two ways to ask: ``logprobs`` sends each allowed answer after the prompt to ``/completions`` and reads its probability,
which is exact; ``draws`` lets ``/chat/completions`` answer several times. Every answer is appended to a file as it
comes, so that a killed run repeats no paid call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
import numpy as np
import polars as pl

from socrates.core.errors import SocratesError
from socrates.survey.prompts import answer_part, persona_expression, prompt
from socrates.survey.scales import scale
from socrates.tools.external import test_rows, write_folder

KEY = "SOCRATES_ENDPOINT_KEY"  # the environment variable that holds the key; no param and no option does
ATTEMPTS, FIRST_PAUSE, TIMEOUT = 6, 1.0, 120.0  # pauses double, in seconds
CHARACTERS_PER_TOKEN = 3.5  # for the estimate before the first call
NUMBER = re.compile(r"-?\d+")
ASK = "{prompt}\n\nAnswer as this person would, with the number alone."
QUESTION = ["stimuli", "persona", "scale"]  # the columns of a question


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


class PaidCalls:
    """The calls of one endpoint: what ``store`` has the answer of is not asked again.

    Attributes:
        sent, received: tokens paid for, in this run and before.
    """

    def __init__(self, endpoint: Endpoint, store: Path) -> None:
        self.endpoint, self.sent, self.received = endpoint, 0, 0
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=endpoint.url.rstrip("/") + "/", headers=headers, timeout=TIMEOUT)
        store.parent.mkdir(parents=True, exist_ok=True)
        earlier = store.read_text(encoding="utf-8") if store.exists() else ""
        for line in earlier.splitlines():
            with contextlib.suppress(ValueError):  # a line that a kill cut off
                self._count(*json.loads(line))
        self._file = store.open("a", encoding="utf-8")
        self._file.write("\n" if earlier else "")

    @property
    def usd(self) -> float:
        return float(np.dot((self.sent, self.received), self.endpoint.usd_per_million)) / 1e6

    def close(self) -> None:
        self._file.close()
        self._client.close()

    def ask(self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], Any]) -> Any:
        """What ``read`` makes of the reply. Raises :class:`SocratesError` where there is none, or no money is left."""
        body = {"model": self.endpoint.model, **body}
        told = json.dumps([self.endpoint.url, path, body])
        key = hashlib.sha256(told.encode()).hexdigest()[:32]
        if key not in self._known:
            reply, answer = self._post(path, body, read)
            usage = reply.get("usage") or {}
            tokens = (int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion"))
            line = (key, answer, *tokens)
            with self._lock:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
                self._count(*line)
        return self._known[key]

    def _count(self, key: str, answer: Any, sent: int, received: int) -> None:
        self._known[key] = answer
        self.sent += sent
        self.received += received

    def _post(
        self, path: str, body: dict[str, Any], read: Callable[[dict[str, Any]], Any]
    ) -> tuple[dict[str, Any], Any]:
        """The reply and what is read of it, asked for again after 429, 5xx, a timeout or half an answer."""
        limit, problem = self.endpoint.max_usd, ""
        for attempt in range(ATTEMPTS):
            if limit is not None and self.usd >= limit:
                raise SocratesError(
                    f"endpoint: ${self.usd:.2f} are spent, the limit is ${limit:.2f}; what came is kept"
                )
            wait = FIRST_PAUSE * 2**attempt
            try:
                reply = self._client.post(path, json=body)
                if reply.status_code == 200:
                    told = reply.json()
                    return told, read(told)
                problem = f"status {reply.status_code}"
                if reply.status_code != 429 and reply.status_code < 500:
                    said = " ".join(reply.text.split())[:200]
                    raise SocratesError(f"endpoint: {problem} ({said}); check url, model and key")
                after = reply.headers.get("retry-after", "")
                wait = float(after) if after.isdigit() else wait
            except (httpx.TransportError, ValueError, KeyError, IndexError, TypeError) as error:
                problem = type(error).__name__
            if attempt < ATTEMPTS - 1:
                time.sleep(min(wait, 60))
        raise SocratesError(f"endpoint: {problem} {ATTEMPTS} times; run again, what came is kept")


def predict_test_rows(
    endpoint: Endpoint, name: str, personas: bool, confirmed: bool = False
) -> tuple[Path, int, PaidCalls]:
    """Ask the test rows of an endpoint as the predictor ``name``; the estimate is printed before the first call.

    Args:
        personas: ask for each respondent; otherwise once for each scenario.
        confirmed: go on, up to ``max_usd``, where the estimate is above it.

    Returns:
        The predictions' folder, its rows, and what was paid for.

    Raises:
        SocratesError: the estimate is above ``max_usd``, or see :func:`ask_all`.
    """
    rows, excluded = test_rows(name)
    persona = persona_expression() if personas else pl.lit("unknown").alias("persona")
    told = rows.with_columns(persona).select(QUESTION)
    questions = told.unique(maintain_order=True)
    sent, received, usd = estimate(questions, endpoint)
    about = f"about {sent:,} tokens sent, {received:,} received, ${usd:.2f}"
    print(f"{len(questions):,} questions, {about}", file=sys.stderr)
    if endpoint.max_usd is not None and usd > endpoint.max_usd and not confirmed:
        limit = f"--max-usd {endpoint.max_usd:.2f}"
        raise SocratesError(f"the estimate of ${usd:.2f} is above {limit}; --yes goes on up to it")
    answers, calls = ask_all(questions, endpoint, Path(".scratch/endpoint") / f"{name}.jsonl")
    joined = told.join(answers, on=QUESTION, how="left", maintain_order="left")
    offsets = np.concatenate([[0], np.cumsum(joined["probabilities"].list.len().to_numpy())])
    values, mass = (
        joined[column].explode().to_numpy().astype(np.float32) for column in ("probabilities", "allowed_mass")
    )
    how = {"endpoint": endpoint.url, "model": endpoint.model, "mode": endpoint.mode, "personas": personas}
    how["usd"] = round(calls.usd, 4)
    return *write_folder(name, rows, (values, offsets, mass), excluded, how), calls


def estimate(questions: pl.DataFrame, endpoint: Endpoint) -> tuple[int, int, float]:
    """Tokens sent, tokens received and dollars, before the first call; an upper bound for ``draws``."""
    exact = endpoint.mode == "logprobs"
    sent = sum(
        len(prompt(text, persona, "scenario_first")) * (len(scale(notation).options) if exact else 1)
        for text, persona, notation in questions.iter_rows()
    )
    tokens = int(sent / CHARACTERS_PER_TOKEN), 0 if exact else 8 * endpoint.draws * len(questions)
    return *tokens, float(np.dot(tokens, endpoint.usd_per_million)) / 1e6


def ask_all(questions: pl.DataFrame, endpoint: Endpoint, store: Path) -> tuple[pl.DataFrame, PaidCalls]:
    """Every question's answer distribution, ``probabilities``, and format validity, ``allowed_mass``.

    Args:
        questions: columns :data:`QUESTION`.
        store: JSONL of the calls that are paid for.

    Raises:
        SocratesError: the endpoint refuses, does not answer, answers in another form, or the limit is reached.
    """
    if endpoint.mode == "logprobs" and not endpoint.end:
        for notation in questions["scale"].unique().sort():
            _check_no_prefix(notation)
    with (
        contextlib.closing(PaidCalls(endpoint, store)) as calls,
        ThreadPoolExecutor(endpoint.workers) as pool,
    ):
        answers = list(pool.map(lambda row: _answers(calls, *row), questions.iter_rows()))
    shares = pl.Series("probabilities", [shares for shares, _ in answers], pl.List(pl.Float64))
    return questions.with_columns(shares, allowed_mass=pl.Series([mass for _, mass in answers])), calls


def _answers(calls: PaidCalls, stimuli: str, persona: str, notation: str) -> tuple[list[float], float]:
    """One question's shares over its options, and the mass on them."""
    options, text = scale(notation).options, prompt(stimuli, persona, "scenario_first")
    if calls.endpoint.mode == "logprobs":
        shares = np.exp([_log_probability(calls, text, option) for option in options])
        mass = float(shares.sum())
    else:
        drawn = _drawn(calls, text)
        shares = np.array([drawn.count(option) for option in options], float)
        mass = float(shares.sum()) / len(drawn)
    shares = shares / shares.sum() if shares.sum() > 0 else np.full(len(options), 1 / len(options))
    return shares.tolist(), min(mass, 1.0)


def _log_probability(calls: PaidCalls, text: str, option: int) -> float:
    def read(reply: dict[str, Any]) -> float:
        logprobs = reply["choices"][0]["logprobs"]
        pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
        return float(sum(value for offset, value in pairs if offset >= len(text)))

    asked = text + answer_part(option) + calls.endpoint.end
    body = {"prompt": asked, "max_tokens": 0, "echo": True, "logprobs": 1, "temperature": 0}
    return float(calls.ask("completions", body, read))


def _drawn(calls: PaidCalls, text: str) -> list[int | None]:
    """Answers of ``draws`` samples; None where there is no number."""

    def read(reply: dict[str, Any]) -> list[int | None]:
        texts = [choice["message"]["content"] or "" for choice in reply["choices"]]
        if not texts:
            raise ValueError("no answer")
        return [
            int(found[0]) if (found := NUMBER.search(said)) else None
            for said in texts[: calls.endpoint.draws]
        ]

    answers: list[int | None] = []
    message = {"role": "user", "content": ASK.format(prompt=text)}
    while (left := calls.endpoint.draws - len(answers)) > 0:  # some servers give fewer at a time
        body = {"messages": [message], "max_tokens": 16, "temperature": 1, "n": left}
        answers += calls.ask("chat/completions", body, read)
    return answers


def _check_no_prefix(notation: str) -> None:
    for first, second in pairwise(sorted(map(answer_part, scale(notation).options))):
        if second.startswith(first):
            raise SocratesError(
                f"endpoint: answer {first} begins answer {second}: give the model's end-of-answer token with --end"
            )
