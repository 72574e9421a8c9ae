"""Predictions of a model behind an OpenAI-compatible endpoint: a vendor's, or a vLLM or llama.cpp server of one's own.

Three ways to ask (:data:`WAYS`): ``logprobs`` sends each allowed answer after the prompt to ``/completions`` and reads
its probability, which is exact; ``stated`` has ``/chat/completions`` state the distribution as JSON; ``draws`` lets it
answer several times. Every reply is appended to a file as it comes, so that a killed run repeats no paid call.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx2 as httpx
import numpy as np
import polars as pl
from tqdm import tqdm

from socrates.core.errors import SocratesError
from socrates.survey.prompts import answer_part, messages, persona_expression, template
from socrates.survey.scales import scale
from socrates.tools.external import test_rows, write_folder

KEY = "SOCRATES_ENDPOINT_KEY"  # the environment variable that holds the key; no param and no option does
ATTEMPTS, FIRST_PAUSE, TIMEOUT = 6, 1.0, 120.0  # pauses double, in seconds
OF_A_CHAT = 250  # characters of its messages beyond the prompt
CHARACTERS_PER_TOKEN = 3.5  # for the estimate before the first call
TOKENS_PER_OPTION, TOKENS_PER_DRAW = 9, 8  # of a stated distribution; of a drawn answer
STATED_TRIES = 3  # of a question whose stated distribution is refused
SUM_TOLERANCE = 0.02  # of a stated distribution, as a share of its sum
NUMBER = re.compile(r"(?<![\d.,])-?\d+(?![.,]?\d)")
STATE = (
    "How likely is each answer of such a person? Reply with one JSON object alone, from answers ({}) to "
    "probabilities that sum to 1; leave out answers of probability 0."
)
QUESTION = ["stimuli", "persona", "scale"]  # the columns of a question
Question = tuple[str, str]  # scenario and persona
Reply = dict[str, Any]
Way = Literal["logprobs", "stated", "draws"]


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask."""

    url: str  # such as http://127.0.0.1:8000/v1
    model: str
    mode: Way | Literal["auto"] = "auto"
    draws: int = 10
    workers: int = 8
    usd_per_million: tuple[float, float] = (0.0, 0.0)  # tokens sent, tokens received
    max_usd: float = math.inf
    end: str = ""  # the end-of-answer token as text: ``logprobs`` needs it where one answer begins another (1 and 10)
    format: Literal["chat", "socrates"] = "chat"  # of the messages that ``stated`` and ``draws`` send


class RefusedError(SocratesError):
    """The endpoint answered that it does not take such a call."""


class PaidCalls:
    """The calls of one endpoint: what ``store`` has the answer of is not asked again."""

    def __init__(self, endpoint: Endpoint, store: Path) -> None:
        self.endpoint, self.lock, self._known = endpoint, threading.Lock(), dict[str, Any]()
        self.sent = self.received = 0  # tokens paid for, in this run and before
        self.rejected = 0  # replies that stated no distribution
        self.several = True  # whether a call may ask for more than one draw; some servers refuse that
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
        return _usd((self.sent, self.received), self.endpoint)

    def close(self) -> None:
        self._file.close()
        self._client.close()

    def ask(self, path: str, body: dict[str, Any], read: Callable[[Reply], Any]) -> Any:
        """What ``read`` makes of the reply, asked for again after 429, 5xx, a timeout or half an answer."""
        body = {"model": self.endpoint.model, **body}
        key = hashlib.sha256(json.dumps([self.endpoint.url, path, body]).encode()).hexdigest()[:32]
        if key in self._known:
            return self._known[key]
        limit, problem = self.endpoint.max_usd, ""
        for attempt in range(ATTEMPTS):
            if self.usd >= limit:
                spent = f"${self.usd:.2f} are spent, the limit is ${limit:.2f}"
                raise SocratesError(f"endpoint: {spent}; what came is kept")
            wait = FIRST_PAUSE * 2**attempt
            try:
                reply = self._client.post(path, json=body)
                if reply.status_code == 200:
                    return self._keep(key, reply.json(), read)
                problem = f"status {reply.status_code}"
                if reply.status_code != 429 and reply.status_code < 500:
                    said = " ".join(reply.text.split())[:200]
                    raise RefusedError(f"endpoint: {problem} ({said}); check url, model and key")
                after = reply.headers.get("retry-after", "")
                wait = float(after) if after.isdigit() else wait
            except (httpx.TransportError, ValueError, KeyError, IndexError, TypeError) as error:
                problem = type(error).__name__
            if attempt < ATTEMPTS - 1:
                time.sleep(min(wait, 60))
        raise SocratesError(f"endpoint: {problem} {ATTEMPTS} times; run again, what came is kept")

    def _keep(self, key: str, reply: Reply, read: Callable[[Reply], Any]) -> Any:
        answer, usage = read(reply), reply.get("usage") or {}
        line = (key, answer, *(int(usage.get(f"{kind}_tokens") or 0) for kind in ("prompt", "completion")))
        with self.lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            self._count(*line)
        return answer

    def _count(self, key: str, answer: Any, sent: int, received: int) -> None:
        self._known[key] = answer
        self.sent += sent
        self.received += received


def _usd(tokens: tuple[int, int], endpoint: Endpoint) -> float:
    return float(np.dot(tokens, endpoint.usd_per_million)) / 1e6


def predict_test_rows(
    endpoint: Endpoint, name: str, personas: bool, confirm: Callable[[str], bool]
) -> tuple[Path, int, PaidCalls]:
    """Ask the test rows of an endpoint as the predictor ``name``: its folder, the rows, and what was paid for.

    The estimate is printed before the first call. Where it is above ``max_usd`` ``confirm`` is asked whether to go on
    up to it; :class:`SocratesError` where it is not. Without ``personas`` each scenario is asked once.
    """
    rows, excluded = test_rows(name)
    asked = rows.with_columns(persona_expression() if personas else pl.lit("unknown").alias("persona"))
    questions = asked.select(QUESTION).unique(maintain_order=True)
    sent, received, usd = estimate(questions, endpoint)
    about = f"{len(questions):,} questions, about {sent:,} tokens sent, {received:,} received, ${usd:.2f}"
    print(about, file=sys.stderr)
    if usd > endpoint.max_usd:
        limit = f"the estimate of ${usd:.2f} is above --max-usd {endpoint.max_usd:.2f}"
        if not confirm(f"{limit}; go on up to it?"):
            raise SocratesError(f"{limit}; --yes goes on up to it")
    answers, calls = ask_all(questions, endpoint, Path(".scratch/endpoint") / f"{name}.jsonl")
    answered = asked.join(answers, on=QUESTION, how="left", maintain_order="left")
    how: dict[str, Any] = {"endpoint": endpoint.url, "model": endpoint.model, "mode": calls.endpoint.mode}
    how |= {"personas": personas, "rejected": calls.rejected, "usd": round(calls.usd, 4)}
    how["usd_per_1000"] = round(calls.usd * 1000 / len(rows), 4)
    return *write_folder(name, answered, excluded, how), calls


def estimate(questions: pl.DataFrame, endpoint: Endpoint) -> tuple[int, int, float]:
    """Tokens sent, tokens received and dollars, before the first call: of ``auto``, those of the dearest way.

    Of draws the prompt is counted once: most servers draw several answers of one prompt.
    """
    if endpoint.mode == "auto":
        ways = [estimate(questions, replace(endpoint, mode=way)) for way in WAYS]
        return max(ways, key=lambda told: told[::-1])
    characters = received = 0
    write, stated = template("scenario_first").prompt, endpoint.mode == "stated"
    for text, persona, notation in questions.iter_rows():
        asked, options = len(write(text, persona)), len(scale(notation).options)
        if endpoint.mode == "logprobs":
            characters, received = characters + asked * options, received + options
        else:
            characters += asked + OF_A_CHAT + len(STATE) * stated
            received += TOKENS_PER_OPTION * options if stated else TOKENS_PER_DRAW * endpoint.draws
    tokens = math.ceil(characters / CHARACTERS_PER_TOKEN), received
    return *tokens, _usd(tokens, endpoint)


def ask_all(questions: pl.DataFrame, endpoint: Endpoint, store: Path) -> tuple[pl.DataFrame, PaidCalls]:
    """``questions`` (:data:`QUESTION`) with their answers' ``probabilities`` and format validity, ``allowed_mass``.

    A question without any allowed answer is given the uniform distribution, with no mass. ``store``: JSONL of the calls
    that are paid for.
    """
    unclear = "" if endpoint.end else _prefixes(questions["scale"])
    if endpoint.mode == "logprobs" and unclear:
        raise SocratesError(unclear)
    answers = []
    with (
        contextlib.closing(PaidCalls(endpoint, store)) as calls,
        ThreadPoolExecutor(endpoint.workers) as pool,
    ):
        if endpoint.mode == "auto":
            _choose_way(calls, unclear, questions.row(0))
        with tqdm(total=len(questions), desc=f"ask {endpoint.model}, {calls.endpoint.mode}") as bar:
            for answer in pool.map(lambda row: _answers(calls, *row), questions.iter_rows()):
                answers.append(answer)
                bar.set_postfix_str(f"${calls.usd:.2f}", refresh=False)
                bar.update()
    shares = pl.Series("probabilities", [shares for shares, _ in answers], pl.List(pl.Float64))
    return questions.with_columns(shares, allowed_mass=pl.Series([mass for _, mass in answers])), calls


def _choose_way(calls: PaidCalls, unclear: str, question: tuple[str, str, str]) -> None:
    """Take the first way in which the endpoint answers a question; not log-probabilities if these are ``unclear``."""
    if unclear:
        print(f"{unclear}; without it no log-probabilities are asked for", file=sys.stderr)
    for way in list(WAYS)[bool(unclear) :]:
        calls.endpoint = replace(calls.endpoint, mode=way)
        with contextlib.suppress(SocratesError):
            if way == "draws" or _answers(calls, *question)[1] > 0:
                return  # draws raise later what any way would


def _answers(calls: PaidCalls, stimuli: str, persona: str, notation: str) -> tuple[list[float], float]:
    """One question's shares over its options, and the mass on them."""
    options = scale(notation).options
    way = WAYS[calls.endpoint.mode]  # type: ignore[index]  # never auto here
    shares = np.asarray(way(calls, (stimuli, persona), options))
    mass = float(shares.sum())
    shares = shares / mass if mass > 0 else np.full(len(options), 1 / len(options))
    return shares.tolist(), min(mass, 1.0)


def _scored(calls: PaidCalls, question: Question, options: Sequence[int]) -> list[float]:
    """The probability of each option, with the end-of-answer token where one is given."""
    text = template("scenario_first").prompt(*question)

    def probability(answer: str) -> float:
        def read(reply: Reply) -> float:
            logprobs = reply["choices"][0]["logprobs"]
            pairs = zip(logprobs["text_offset"], logprobs["token_logprobs"], strict=True)
            spelt = [value for offset, value in pairs if len(text) <= offset < len(text + answer)]
            if not spelt:
                raise ValueError("no log-probability of the prompt's tokens")
            return float(sum(spelt))

        # One token is asked for since some servers take 0 for as many as they can; it is not read.
        body = {"prompt": text + answer, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
        return math.exp(calls.ask("completions", body, read))

    return [probability(answer_part(option) + calls.endpoint.end) for option in options]


def _stated(calls: PaidCalls, question: Question, options: Sequence[int]) -> list[float]:
    """The distribution that the model states; zeros where it states none in :data:`STATED_TRIES` replies."""
    steps = f" in steps of {options[1] - options[0]}" if isinstance(options, range) else ""
    named = ", ".join(map(str, options)) if len(options) <= 20 else f"{options[0]} to {options[-1]}{steps}"
    asked = messages(*question, calls.endpoint.format)
    asked[-1]["content"] += f"\n\n{STATE.format(named)}"
    most = TOKENS_PER_OPTION * len(options) + 64
    for attempt in range(STATED_TRIES):
        body = {"messages": asked, "max_tokens": most, "temperature": min(attempt, 1), "seed": attempt}
        said = calls.ask("chat/completions", body, lambda reply: _contents(reply)[0])
        with contextlib.suppress(ValueError):
            return parse_distribution(said, options)
        with calls.lock:
            calls.rejected += 1
    return [0.0] * len(options)


def _contents(reply: Reply) -> list[str]:
    """The texts of a chat's reply."""
    return [choice["message"]["content"] or "" for choice in reply["choices"]]


def parse_distribution(said: str, options: Sequence[int]) -> list[float]:
    """The probability of each option from one JSON object, alone or in a code fence, of probabilities or per cent.

    Raises ``ValueError`` for words, half an object, an option twice or not on the scale, a probability that is no
    number from 0, a sum that is neither 1 nor 100.
    """
    fenced = re.fullmatch(r"\s*(?:```(?:json)?)?\s*(\{.*\})\s*(?:```)?\s*", said, re.DOTALL)
    if not fenced:
        raise ValueError("no object")
    stated: dict[int, float] = {}
    for option, share in json.loads(fenced[1], object_pairs_hook=list):
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not (number and 0 <= share < math.inf and int(option) in options) or int(option) in stated:
            raise ValueError(f"{option}: {share}")
        stated[int(option)] = share
    whole = sum(stated.values())
    if all(abs(whole / expected - 1) > SUM_TOLERANCE for expected in (1, 100)):
        raise ValueError(f"the sum is {whole}")
    return [stated.get(option, 0.0) / whole for option in options]


def _drawn(calls: PaidCalls, question: Question, options: Sequence[int]) -> list[float]:
    """The share of each option in ``draws`` sampled answers; those without an allowed number have no share."""

    def read(reply: Reply) -> list[int | None]:
        matches = [NUMBER.search(said) for said in _contents(reply)[: calls.endpoint.draws]]
        if not matches:
            raise ValueError("no answer")
        return [int(match[0]) if match else None for match in matches]

    asked, answers = messages(*question, calls.endpoint.format), list[int | None]()
    while (left := calls.endpoint.draws - len(answers)) > 0:  # some servers give fewer at a time
        number = {"n": left} if calls.several else {"seed": len(answers)}
        body = {"messages": asked, "max_tokens": 2 * TOKENS_PER_DRAW, "temperature": 1, **number}
        try:
            answers += calls.ask("chat/completions", body, read)
        except RefusedError:
            if "n" not in number:
                raise
            calls.several = False
    return [answers.count(option) / len(answers) for option in options]


Ask = Callable[[PaidCalls, Question, Sequence[int]], list[float]]
WAYS: dict[Way, Ask] = {"logprobs": _scored, "stated": _stated, "draws": _drawn}


def _prefixes(notations: pl.Series) -> str:
    """What to do where an answer begins another, so that one is not told from the other; "" where none does."""
    for notation in notations.unique().sort():
        for first, second in pairwise(sorted(map(answer_part, scale(notation).options))):
            if second.startswith(first):
                told = f"endpoint: answer {first} begins answer {second}"
                return f"{told}: give the model's end-of-answer token with --end"
    return ""
