"""The page and the API answer everything with a clear line, and stay up."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from socrates.app import server
from socrates.app.model import OpenModel, open_model
from socrates.app.model_ref import resolve_model
from socrates.app.training_support import TrainingSupport, summarise
from socrates.cli.serve import HOST, listen
from socrates.core.errors import SocratesError
from tests import tiny

PERSONA = "Age: 30; Gender: Female"


@pytest.fixture(scope="module")
def model(made: Path) -> OpenModel:
    return open_model(resolve_model(made / "models/base", made / "models/adapter"))


@pytest.fixture(scope="module")
def known() -> TrainingSupport:
    return summarise(tiny.rows(12))


def client(
    model: OpenModel, known: TrainingSupport | None, waiting: int = server.WAITING
) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(server.create_app(model, known, waiting), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def call(
    model: OpenModel, known: TrainingSupport | None, method: str, path: str, **options
) -> httpx.Response:
    async def once() -> httpx.Response:
        async with client(model, known) as http:
            return await http.request(method, path, **options)

    return asyncio.run(once())


def test_a_question_is_answered(model: OpenModel, known: TrainingSupport) -> None:
    body = {"demographics": PERSONA, "scenario": tiny.SCENARIOS[2]}
    response = call(model, known, "POST", "/api/predict", json=body)
    assert response.status_code == 200
    answer = response.json()
    assert len(answer["probabilities"]) == 101
    assert sum(bar["share"] for bar in answer["bars"]) == pytest.approx(1, abs=1e-4)
    assert answer["persona"] == PERSONA
    assert {"expected", "middle_80", "format_validity", "notes"} <= set(answer)


def test_two_wordings_are_compared(model: OpenModel, known: TrainingSupport) -> None:
    other = "The town has no money. " + tiny.SCENARIOS[1]
    body = {"demographics": PERSONA, "a": tiny.SCENARIOS[1], "b": other}
    both = call(model, known, "POST", "/api/compare", json=body).json()
    assert both["difference"] == pytest.approx(both["b"]["expected"] - both["a"]["expected"], abs=1e-3)
    assert both["a"]["asked"] != both["b"]["asked"]
    assert (
        call(model, known, "POST", "/api/compare", json=body | {"b": tiny.SCENARIOS[2]}).json()["difference"]
        is None
    )


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"content": b'{"scenario": '}, 400, "not JSON"),
        ({"content": b"\xff\xfe"}, 400, "not JSON"),
        ({"json": {}}, 422, "scenario: is missing"),
        ({"content": b""}, 422, 'request: send an object such as {"scenario": "..."}'),
        ({"content": b"null"}, 422, "request: send an object"),
        ({"content": b'{"scenario": "\\ud800 Only return an integer from 1 to 7."}'}, 422, "scenario: "),
        ({"content": b'{"scenario": "a", "demographics": "Age: \\udc00"}'}, 422, "demographics: "),
        ({"content": b"[" * 100_000}, 400, "parsing the body"),
        ({"json": {"scenario": 7}}, 422, "scenario: "),
        ({"json": {"scenario": "x", "file": "/etc/passwd"}}, 422, "file: unknown field"),
        ({"json": ["x"]}, 422, "request: "),
        ({"json": {"scenario": "Is it warm?"}}, 422, "or give its scale (the field Scale, such as 1-7)"),
        ({"json": {"scenario": "", "scale": "1-7"}}, 422, "scenario: is empty"),
        ({"json": {"scenario": "x?", "scale": "7-1"}}, 422, "scale '7-1'"),
        ({"json": {"scenario": "x" * 30_000, "scale": "1-7"}}, 422, "scenario: "),
        ({"json": {"scenario": "x" * 10_000_000, "scale": "1-7"}}, 413, "larger than 128 KiB"),
        ({"json": {"scenario": "x y " * 5_000, "scale": "1-7"}}, 422, "shorten the scenario"),
        (
            {"json": {"scenario": "x?", "scale": "1-7", "demographics": "a nurse"}},
            422,
            "no field was understood",
        ),
    ],
)
def test_a_bad_request_gets_one_line(
    model: OpenModel, known: TrainingSupport, options: dict, status: int, message: str
) -> None:
    headers = {"content-type": "application/json"}
    response = call(model, known, "POST", "/api/predict", headers=headers, **options)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert "\n" not in response.json()["error"] and "Traceback" not in response.text


def test_the_wording_that_cannot_be_read_is_named(model: OpenModel, known: TrainingSupport) -> None:
    body = {"a": tiny.SCENARIOS[1], "b": ""}
    assert (
        call(model, known, "POST", "/api/compare", json=body)
        .json()["error"]
        .startswith("b: scenario: is empty")
    )


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_is_not_called_json_is_told_what_to_be(
    model: OpenModel, known: TrainingSupport, kind: str | None
) -> None:
    body = json.dumps({"scenario": tiny.SCENARIOS[1]}).encode()
    headers = {"content-type": kind} if kind else {}
    response = call(model, known, "POST", "/api/predict", content=body, headers=headers)
    assert response.status_code == 415
    assert response.json() == {"error": f"content-type: {kind or 'none'}; send application/json"}


def test_what_is_said_of_the_model_is_said_with_every_answer(model: OpenModel) -> None:
    async def once() -> list[str]:
        app = server.create_app(model, None, warnings=("a made world",))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            response = await http.post("/api/predict", json={"scenario": tiny.SCENARIOS[1]})
            return response.json()["notes"]

    notes = asyncio.run(once())
    assert notes[0] == "a made world" and any("not at hand" in note for note in notes)


@pytest.mark.parametrize(("method", "allowed"), [("GET", "POST"), ("OPTIONS", "POST"), ("HEAD", "POST")])
def test_another_method_is_told_which_is_allowed(
    model: OpenModel, known: TrainingSupport, method: str, allowed: str
) -> None:
    response = call(model, known, method, "/api/predict")
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert call(model, known, "HEAD", "/").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/../../params.yaml", 404),
        ("GET", "/%2e%2e/params.yaml", 404),
        ("GET", "/api/predict", 405),
        ("GET", "/docs", 404),
        ("GET", "//etc/passwd", 404),
    ],
)
def test_nothing_else_is_served(
    model: OpenModel, known: TrainingSupport, method: str, path: str, status: int
) -> None:
    response = call(model, known, method, path)
    assert response.status_code == status
    assert "error" in response.json()


def test_another_host_name_is_refused(model: OpenModel, known: TrainingSupport) -> None:
    for name in ("evil.example", "127.0.0.1.evil.example", "evil.example:8421", "", "[::1]:8421"):
        response = call(model, known, "GET", "/", headers={"host": name})
        assert response.status_code == 400 and response.json()["error"].startswith("host: ")
        assert response.headers["x-content-type-options"] == "nosniff"
    for name in ("127.0.0.1:8421", "localhost:1", "localhost"):
        assert call(model, known, "GET", "/", headers={"host": name}).status_code == 200


def test_two_hundred_at_once_are_all_answered(model: OpenModel, known: TrainingSupport) -> None:
    async def all_at_once() -> Counter[int]:
        async with client(model, known) as http:
            calls = [
                http.post(
                    "/api/predict",
                    json={"demographics": f"Age: {18 + i % 50}", "scenario": tiny.SCENARIOS[1]},
                )
                for i in range(200)
            ]
            statuses = Counter(response.status_code for response in await asyncio.gather(*calls))
            assert (await http.get("/api/model")).status_code == 200
            return statuses

    assert asyncio.run(all_at_once()) == {200: 200}


def test_a_full_queue_is_refused_and_the_server_goes_on(
    model: OpenModel, known: TrainingSupport, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = OpenModel.ask

    def slow(self, questions, progress=iter):
        time.sleep(0.05)
        return ask(self, questions, progress)

    monkeypatch.setattr(OpenModel, "ask", slow)
    monkeypatch.setattr(server, "TOGETHER", 1)

    async def crowd() -> Counter[int]:
        async with client(model, known, waiting=3) as http:
            body = {"scenario": tiny.SCENARIOS[1]}
            responses = await asyncio.gather(*(http.post("/api/predict", json=body) for _ in range(40)))
            for response in responses:
                if response.status_code != 200:
                    assert response.json()["error"].startswith("busy: ")
                    assert response.headers["retry-after"]
            assert (await http.post("/api/predict", json=body)).status_code == 200
            return Counter(response.status_code for response in responses)

    statuses = asyncio.run(crowd())
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 3


def test_one_question_that_fails_costs_no_other_its_answer(model: OpenModel, known: TrainingSupport) -> None:
    async def mixed() -> list[int]:
        async with client(model, known) as http:
            bodies = [{"scenario": tiny.SCENARIOS[1]}, {"scenario": "x y " * 5_000, "scale": "1-7"}] * 4
            return [
                r.status_code
                for r in await asyncio.gather(*(http.post("/api/predict", json=b) for b in bodies))
            ]

    assert asyncio.run(mixed()) == [200, 422] * 4


def test_a_fault_of_ours_is_one_line(
    model: OpenModel, known: TrainingSupport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self, questions, progress=iter):
        raise RuntimeError("secret path")

    monkeypatch.setattr(OpenModel, "ask", broken)
    response = call(model, known, "POST", "/api/predict", json={"scenario": tiny.SCENARIOS[1]})
    assert response.status_code == 500
    assert response.json() == {"error": "internal error (RuntimeError)"}


def test_the_page_asks_for_nothing_from_elsewhere(model: OpenModel, known: TrainingSupport) -> None:
    for path in ("/", "/app.js", "/style.css"):
        response = call(model, known, "GET", path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        for outside in ("http://", "https://", "//cdn", "innerHTML", " style=", "onclick"):
            assert outside not in response.text


def test_every_field_of_the_page_has_a_label() -> None:
    page = (server.PAGE / "index.html").read_text()
    fields = re.findall(r'<(?:input|textarea|select)[^>]*?\bid="([\w-]+)"', page)
    assert len(fields) == 6
    assert all(f'for="{field}"' in page for field in fields)
    assert 'aria-live="polite"' in page


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SocratesError, match=f"port {port}: .*in use; give another with --port"):
            listen(port)


def test_only_this_machine_can_reach_it() -> None:
    with listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
