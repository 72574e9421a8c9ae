"""A model behind an endpoint: its numbers are the server's, whatever the network does, and none is paid for twice."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from socrates.core.errors import SocratesError
from socrates.tools import endpoint as asking
from socrates.tools.endpoint import (
    QUESTION,
    WAYS,
    Endpoint,
    ask_all,
    estimate,
    parse_distribution,
    predict_test_rows,
)
from tests import forked, model_folders, tiny

SHARES = {1: 0.5, 2: 0.3, 3: 0.15}  # of the answers; the rest is words
STATED = '```json\n{"1": 50, "2": 30, "3": 20}\n```'
ROWS = [(f"Text {n}. Only return 1 to 3.", "Age: 30", "1..3") for n in range(6)]
QUESTIONS = pl.DataFrame(ROWS, QUESTION, orient="row")


class Server(BaseHTTPRequestHandler):
    """Tokens are characters; the answer's probability is in its first one. Faults are served first, in order."""

    faults: list[str] = []
    stated: list[str] = []  # replies to a question for a distribution, in order, before the right one
    alone = False  # whether a call for several draws is refused
    victim = 0  # a process to kill in place of the answer where the fault is "kill"
    calls: list[dict] = []
    keys: set[str | None] = set()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.keys.add(self.headers.get("authorization"))
        fault = self.faults.pop(0) if self.faults else "422" if self.alone and "n" in body else ""
        if fault == "kill":
            os.kill(self.victim, signal.SIGKILL)
        elif fault == "slow":
            time.sleep(0.4)
        elif fault.isdigit():
            self.reply(int(fault), b"try later")
        else:
            self.calls.append(body)
            text = json.dumps(self.completion(body) if "prompt" in body else self.chat(body)).encode()
            self.reply(200, text[: len(text) // 2] if fault == "half" else text)

    def reply(self, status: int, text: bytes) -> None:
        self.send_response(status)
        for header, value in (("retry-after", "0"), ("content-length", str(len(text)))):
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(text)

    def completion(self, body: dict) -> dict:
        text = body["prompt"]
        last = [None, *[-1.0] * (len(text) - 2), math.log(SHARES[int(text[-1])]), -9.0]  # and a token more
        told = {"text_offset": list(range(len(text) + 1)), "token_logprobs": last}
        usage = {"prompt_tokens": len(text), "completion_tokens": 0}
        return {"choices": [{"logprobs": told}], "usage": usage}

    def chat(self, body: dict) -> dict:
        if "JSON" in body["messages"][0]["content"]:
            said = [self.stated.pop(0) if self.stated else STATED]
        else:
            said = ["1", "I would say 2.", "no idea", "Answer: 1", "7"]
            said = said[: body["n"]] if "n" in body else [said[body["seed"]]]
        choices = [{"message": {"content": text}} for text in said]
        return {"choices": choices, "usage": {"prompt_tokens": 10, "completion_tokens": 5}}

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(asking, "TIMEOUT", 0.2)
    for name, empty in (("faults", []), ("calls", []), ("keys", set()), ("stated", [])):
        monkeypatch.setattr(Server, name, empty)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def ask(url, path, mode, *, questions=QUESTIONS, **endpoint):
    """The shares and masses of the questions, and what was paid."""
    server = Endpoint(url, "m", mode, **{"draws": 5, "workers": 1, **endpoint})
    answers, spent = ask_all(questions, server, path)
    return answers["probabilities"].to_list(), answers["allowed_mass"].to_list(), spent


def test_log_probabilities_are_the_server_s_own(url, tmp_path):
    shares, mass, spent = ask(url, tmp_path / "a.jsonl", "logprobs", workers=8)
    expected = np.array(list(SHARES.values())) / 0.95
    np.testing.assert_allclose(shares, [expected] * 6, rtol=1e-9)
    np.testing.assert_allclose(mass, 0.95)
    assert len(Server.calls) == 18 and spent.sent == sum(len(call["prompt"]) for call in Server.calls)


def test_drawn_answers_are_counted_and_words_are_not_allowed_ones(url, tmp_path):
    shares, mass, _ = ask(url, tmp_path / "a.jsonl", "draws", questions=QUESTIONS[:1])
    assert shares == [[2 / 3, 1 / 3, 0]] and mass == pytest.approx([0.6])


def test_a_server_that_draws_one_answer_at_a_time_is_asked_for_each(url, tmp_path, monkeypatch):
    several = ask(url, tmp_path / "a.jsonl", "draws")[:2]
    monkeypatch.setattr(Server, "alone", True)
    assert ask(url, tmp_path / "b.jsonl", "draws")[:2] == several and len(Server.calls) == 6 + 30


def test_a_stated_distribution_is_read_and_nonsense_is_asked_again_and_counted(url, tmp_path):
    Server.stated[:] = ["I cannot say.", '{"1": 0.5, "2"']  # of the first question
    shares, _, spent = ask(url, tmp_path / "a.jsonl", "stated")
    assert shares == [[0.5, 0.3, 0.2]] * 6 and spent.rejected == 2 and len(Server.calls) == 8
    Server.stated[:] = ["many"] * 3
    shares, mass, spent = ask(url, tmp_path / "b.jsonl", "stated", questions=QUESTIONS[:1])
    assert (shares, mass, spent.rejected) == ([[1 / 3] * 3], [0], 3)


NONSENSE = [
    'Sure! {"1": 1}', '{"1": 0.5, "2": 0.5', '{"1": 0.5, "1": 0.5}', '{"1": 0.5, "4": 0.5}',
    '{"1": "0.5", "2": "0.5"}', '{"1": NaN, "2": 1}', '{"1": -0.5, "2": 1.5}', '{"1": true}',
    '{"1": 0.5, "2": 0.3}', '{"one": 1}', "{}", "[1, 2]",
]  # fmt: skip


@pytest.mark.parametrize("said", NONSENSE)
def test_a_distribution_is_one_whole_object_of_numbers(said):
    assert parse_distribution('{"1": 0.2, "3": 0.8}', range(1, 4)) == [0.2, 0, 0.8]
    with pytest.raises(ValueError):
        parse_distribution(said, range(1, 4))


@pytest.mark.parametrize("way", WAYS)
def test_faults_are_met_with_patience(way, url, tmp_path):
    whole = ask(url, tmp_path / "a.jsonl", way)[:2]
    Server.faults[:] = ["429", "500", "half", "503", "slow"]
    assert ask(url, tmp_path / "b.jsonl", way, workers=2)[:2] == whole and not Server.faults
    Server.faults[:] = ["half"] * 99
    with pytest.raises(SocratesError, match="6 times; run again, what came is kept"):
        ask(url, tmp_path / "c.jsonl", way, workers=2)


def test_the_first_way_that_works_is_taken(url, tmp_path):
    def taken(*faults: str, stated: int = 0) -> str:
        Server.faults[:], Server.stated[:] = faults, ["no"] * stated
        return str(ask(url, tmp_path / f"{stated}{faults}", "auto", draws=10, workers=8)[2].endpoint.mode)

    assert taken() == "logprobs"
    assert taken("400") == taken(*["half"] * 6) == "stated"
    assert taken("404", stated=3) == "draws"


def test_every_way_gives_the_trie_s_numbers_of_a_model_that_is_served(here):
    """Log-probabilities to 1e-6, stated ones as rounded, draws within their sampling error."""
    questions = model_folders.questions().filter(pl.col("scale") != "0..100").select(QUESTION)[1::2]
    model_folders.teach_to_answer(questions)
    exact = {form: model_folders.trie(questions, form) for form in ("survey", "chat")}
    with forked.served(here, "tests.openai_server", "models/base") as (_, told):
        url, end = f"http://127.0.0.1:{told.read_text().strip()}/v1", "<|im_end|>"
        found = {
            way: ask_all(questions, Endpoint(url, "m", way, 100, 4, end=end), Path(f"{way}.jsonl"))[0]  # type: ignore[arg-type]
            for way in WAYS
        }
    for row in range(len(questions)):
        logprobs, stated, drawn = (np.array(found[way]["probabilities"][row]) for way in WAYS)
        shares, mass = exact["survey"][row]
        np.testing.assert_allclose(logprobs, shares, atol=1e-6)
        assert found["logprobs"]["allowed_mass"][row] == pytest.approx(mass, abs=1e-6)
        shares, mass = exact["chat"][row]
        assert mass > 0.5
        np.testing.assert_allclose(stated, shares, atol=1e-3)
        allowed = found["draws"]["allowed_mass"][row]
        assert abs(allowed - mass) < 4 * math.sqrt(mass * (1 - mass) / 100) + 0.003
        error = 4 * np.sqrt(shares * (1 - shares) / max(100 * mass, 1)) + 4 / max(100 * mass, 1)
        assert (np.abs(drawn - shares) < error).all()


def test_a_process_killed_at_a_random_call_repeats_no_call_that_was_answered(url, tmp_path):
    code = (
        "import json, sys; from pathlib import Path; from socrates.tools.endpoint import *; "
        "asked = pl.DataFrame(json.loads(sys.argv[2]), QUESTION, orient='row'); "
        "ask_all(asked, Endpoint(sys.argv[1], 'm', 'logprobs', workers=1), Path('a.jsonl'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT)}
    Server.faults[:] = [""] * int(np.random.default_rng().integers(18)) + ["kill"]
    for status in (-signal.SIGKILL, 0):
        with subprocess.Popen(
            [sys.executable, "-c", code, url, json.dumps(ROWS)], cwd=tmp_path, env=environment
        ) as process:
            Server.victim = process.pid
        assert process.returncode == status
    prompts = [call["prompt"] for call in Server.calls]
    assert len(prompts) == len(set(prompts)) == 18


def test_a_refusal_is_one_line_without_the_key(url, tmp_path, monkeypatch):
    monkeypatch.setenv(asking.KEY, "sk-very-secret")
    Server.faults[:] = ["401"] * 20
    with pytest.raises(SocratesError, match=r"status 401 .try later.; check url, model and key") as refused:
        ask(url, tmp_path / "a.jsonl", "draws", workers=8)
    assert Server.keys == {"Bearer sk-very-secret"}
    assert "secret" not in str(refused.value) and "secret" not in (tmp_path / "a.jsonl").read_text()


@pytest.mark.parametrize(("mode", "calls"), [("draws", 6), ("logprobs", 18), ("stated", 6)])
def test_a_killed_run_repeats_no_paid_call(mode, calls, url, tmp_path):
    store = tmp_path / "a.jsonl"
    *whole, paid = ask(url, store, mode)
    lines = store.read_text().splitlines()
    store.write_text("\n".join([*lines[:-2], lines[-2][:20]]))  # killed within a question, while writing
    Server.calls.clear()
    *again, spent = ask(url, store, mode)
    assert len(lines) == calls and len(Server.calls) == 2
    assert again == whole and (spent.sent, spent.received) == (paid.sent, paid.received)


def test_the_limit_stops_the_run_and_keeps_what_came(url, tmp_path):
    store = tmp_path / "a.jsonl"
    with pytest.raises(SocratesError, match="the limit is"):
        ask(url, store, "draws", usd_per_million=(1e6, 0), max_usd=25)
    assert len(Server.calls) == len(store.read_text().splitlines()) == 3


def test_the_estimate_covers_what_is_asked_and_the_dearest_way(url, tmp_path):
    for way in WAYS:
        server = Endpoint(url, "m", way, usd_per_million=(1, 2))  # type: ignore[arg-type]
        sent, received, usd = estimate(QUESTIONS, server)
        assert usd == pytest.approx((sent + 2 * received) / 1e6)
        _, spent = ask_all(QUESTIONS, server, tmp_path / way)
        assert received >= spent.received or way == "draws"
        assert usd <= estimate(QUESTIONS, Endpoint(url, "m", usd_per_million=(1, 2)))[2]


def test_answers_that_begin_others_need_an_end_and_auto_goes_on_without_one(url, tmp_path, capsys):
    ten = pl.DataFrame([("Q", "p", "1..10")], QUESTION, orient="row")
    with pytest.raises(SocratesError, match=r"answer 1 begins answer 10: .* --end"):
        ask(url, tmp_path / "a.jsonl", "logprobs", questions=ten)
    assert ask(url, tmp_path / "b.jsonl", "auto", questions=ten)[2].endpoint.mode == "stated"
    assert "--end; without it no log-probabilities are asked for" in capsys.readouterr().err


@pytest.mark.parametrize("confirmed", [True, False])
def test_beyond_the_limit_nothing_is_asked_unless_confirmed(confirmed, url, here):
    (here / "params.yaml").write_text((tiny.ROOT / "params.yaml").read_text())
    (here / "data/splits/train.parquet").rename(here / "data/splits/test.parquet")
    server, asked = Endpoint(url, "m", "draws", usd_per_million=(1e6, 0), max_usd=25, workers=1), []
    with pytest.raises(SocratesError, match="are spent" if confirmed else "--yes goes on"):
        predict_test_rows(server, "other", True, lambda told: bool(asked.append(told)) or confirmed)
    assert len(asked) == 1 and bool(Server.calls) == confirmed
