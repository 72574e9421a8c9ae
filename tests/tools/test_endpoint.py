"""A model behind an endpoint: its numbers are the server's, whatever the network does, and none is paid for twice."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from socrates.core.errors import SocratesError
from socrates.tools import endpoint as asking
from socrates.tools.endpoint import QUESTION, Endpoint, ask_all, estimate

SHARES = {1: 0.5, 2: 0.3, 3: 0.15}  # of the answers; the rest is words
ROWS = [(f"Text {n}. Only return 1 to 3.", "Age: 30", "1..3") for n in range(6)]
QUESTIONS = pl.DataFrame(ROWS, QUESTION, orient="row")


class Server(BaseHTTPRequestHandler):
    """Tokens are characters; the answer's probability is in its first one. Faults are served first, in order."""

    faults: list[str] = []
    calls: list[dict] = []
    keys: set[str | None] = set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.keys.add(self.headers.get("authorization"))
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            self.send_response(int(fault))
            self.send_header("retry-after", "0")
            self.send_header("content-length", "9")
            self.end_headers()
            self.wfile.write(b"try later")
            return
        self.calls.append(body)
        text = json.dumps(self.completion(body) if "prompt" in body else self.chat(body)).encode()
        text = text[: len(text) // 2] if fault == "half" else text
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def completion(self, body: dict) -> dict:
        text = body["prompt"]
        last = [-1.0] * (len(text) - 1) + [math.log(SHARES[int(text[-1])])]
        told = {"text_offset": list(range(len(text))), "token_logprobs": last}
        return {
            "choices": [{"logprobs": told}],
            "usage": {"prompt_tokens": len(text), "completion_tokens": 0},
        }

    def chat(self, body: dict) -> dict:
        said = ["1", "I would say 2.", "no idea", "Answer: 1", "7"][: body["n"]]
        choices = [{"message": {"content": text}} for text in said]
        return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.001)
    for name, empty in (("faults", []), ("calls", []), ("keys", set())):
        monkeypatch.setattr(Server, name, empty)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_log_probabilities_are_the_server_s_own(url: str, tmp_path: Path) -> None:
    answers, spent = ask_all(QUESTIONS, Endpoint(url, "m", "logprobs"), tmp_path / "a.jsonl")
    expected = np.array(list(SHARES.values())) / 0.95
    np.testing.assert_allclose(answers["probabilities"].to_list(), [expected] * 6, rtol=1e-9)
    np.testing.assert_allclose(answers["allowed_mass"], 0.95)
    assert len(Server.calls) == 18 and spent.sent == sum(len(call["prompt"]) for call in Server.calls)


def test_drawn_answers_are_counted_and_words_are_not_allowed_ones(url: str, tmp_path: Path) -> None:
    answers, _ = ask_all(QUESTIONS[:1], Endpoint(url, "m", draws=5), tmp_path / "a.jsonl")
    assert answers["probabilities"].to_list() == [[2 / 3, 1 / 3, 0]]
    assert answers["allowed_mass"].to_list() == [0.6]


def test_faults_are_met_with_patience(url: str, tmp_path: Path) -> None:
    Server.faults[:] = ["429", "500", "half", "503"]
    answers, _ = ask_all(QUESTIONS, Endpoint(url, "m", draws=5, workers=2), tmp_path / "a.jsonl")
    assert answers.height == 6


def test_a_refusal_is_one_line_without_the_key(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(asking.KEY, "sk-very-secret")
    Server.faults[:] = ["401"] * 20
    with pytest.raises(SocratesError, match=r"status 401 .try later.; check url, model and key") as refused:
        ask_all(QUESTIONS, Endpoint(url, "m"), tmp_path / "a.jsonl")
    assert Server.keys == {"Bearer sk-very-secret"}
    assert "secret" not in str(refused.value) and "secret" not in (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize(("mode", "calls"), [("draws", 6), ("logprobs", 18)])
def test_a_killed_run_repeats_no_paid_call(mode: str, calls: int, url: str, tmp_path: Path) -> None:
    store, server = tmp_path / "a.jsonl", Endpoint(url, "m", mode, draws=5, workers=1)  # type: ignore[arg-type]
    whole, paid = ask_all(QUESTIONS, server, store)
    lines = store.read_text().splitlines()
    store.write_text("\n".join([*lines[:-2], lines[-2][:20]]))  # killed within a question, while writing
    Server.calls.clear()
    again, spent = ask_all(QUESTIONS, server, store)
    assert len(lines) == calls and len(Server.calls) == 2
    assert again.equals(whole) and (spent.sent, spent.received) == (paid.sent, paid.received)


def test_the_limit_stops_the_run_and_keeps_what_came(url: str, tmp_path: Path) -> None:
    store = tmp_path / "a.jsonl"
    server = Endpoint(url, "m", draws=5, workers=1, usd_per_million=(1e6, 0), max_usd=25)
    with pytest.raises(SocratesError, match="the limit is"):
        ask_all(QUESTIONS, server, store)
    assert len(Server.calls) == len(store.read_text().splitlines()) == 3


def test_the_estimate_is_an_upper_bound_of_a_draw_and_prefixes_need_an_end(tmp_path: Path) -> None:
    sent, received, usd = estimate(QUESTIONS, Endpoint("http://x/v1", "m", draws=10, usd_per_million=(1, 2)))
    assert sent > 0 and received == 8 * 10 * 6 and usd == pytest.approx((sent + 2 * received) / 1e6)
    with pytest.raises(SocratesError, match="answer 1 begins answer 10"):
        ask_all(
            pl.DataFrame([("Q", "p", "1..10")], QUESTION, orient="row"),
            Endpoint("http://x/v1", "m", "logprobs"),
            tmp_path / "a.jsonl",
        )
