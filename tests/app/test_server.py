"""The page and the API answer everything with a clear line, and stay up."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from socrates.app import server
from socrates.app.model import OpenModel, open_model
from socrates.app.model_ref import resolve_model
from socrates.cli.use import HOST, listen
from socrates.core.errors import INTERRUPTED, SocratesError
from tests import forked, model_folders, tiny

PERSONA = "Age: 30; Gender: Female"
ASKED = {"demographics": PERSONA, "scenario": tiny.SCENARIOS[1]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    model_folders.make(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        opened = open_model(resolve_model())
        assert opened.ref.support  # read while the folder is at hand
    return opened


def call_all(model: OpenModel, *requests: dict[str, Any]) -> list[httpx.Response]:
    """The responses to requests that are sent at once."""

    async def together() -> list[httpx.Response]:
        transport = httpx.ASGITransport(server.create_app(model), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            default = {"method": "POST", "url": "/api/predict"}
            return await asyncio.gather(*(http.request(**{**default, **options}) for options in requests))

    return asyncio.run(together())


def call(model: OpenModel, method: str, url: str, **options: Any) -> httpx.Response:
    return call_all(model, {"method": method, "url": url, **options})[0]


def test_a_question_is_answered(model):
    response = call(model, "POST", "/api/predict", json=ASKED | {"scenario": tiny.SCENARIOS[2]})
    assert response.status_code == 200
    answer = response.json()
    assert len(answer["probabilities"]) == 101
    assert sum(bar["share"] for bar in answer["bars"]) == pytest.approx(1, abs=1e-4)
    assert answer["persona"] == PERSONA
    assert {"expected", "middle_80", "format_validity"} <= set(answer)
    assert answer["notes"][:1] == model.ref.cautions and "learned from 36 answers" in answer["notes"][0]
    unknown = call(model, "POST", "/api/predict", json=ASKED | {"demographics": "Age: 30; Pet: cat"}).json()
    assert "outside the training data: Pet: not a field of the training data" in unknown["notes"]


@pytest.mark.parametrize(("options", "status", "message"), [
    ({"content": b'{"scenario": '}, 400, "not JSON"),
    ({"content": b""}, 400, "not JSON"),
    ({"content": b"[" * 100_000}, 400, "not JSON"),
    ({"content": b'{"scenario": "\\ud800 Only return an integer from 1 to 7."}'}, 400, "hex escape"),
    ({"json": ["x"]}, 422, "request: send an object"),
    ({"json": {}}, 422, "scenario: is missing"),
    ({"json": {"scenario": 7}}, 422, "scenario: "),
    ({"json": {"scenario": "x", "file": "/etc/passwd"}}, 422, "file: unknown key"),
    ({"json": {"scenario": "Is it warm?"}}, 422, "or give its scale (the field Scale, such as 1-7)"),
    ({"json": {"scenario": "", "scale": "1-7"}}, 422, "scenario: is empty"),
    ({"json": {"scenario": "x?", "scale": "7-1"}}, 422, "scale '7-1'"),
    ({"json": {"scenario": "x" * 30_000, "scale": "1-7"}}, 422, "scenario: "),
    ({"json": {"scenario": "x" * 10_000_000, "scale": "1-7"}}, 413, "larger than 128 KiB"),
    ({"json": {"scenario": "x y " * 5_000, "scale": "1-7"}}, 422, "shorten the scenario"),
    ({"json": ASKED | {"demographics": "a nurse"}}, 422, "no field was understood"),
    ({"json": ASKED, "headers": {"content-type": "text/plain"}}, 415, "content-type: text/plain; send application"),
    ({"content": b"{}", "headers": {}}, 415, "content-type: none; send application/json"),
])  # fmt: skip
def test_a_bad_request_gets_one_line(model, options, status, message):
    options = {"headers": {"content-type": "application/json"}, **options}
    response = call(model, "POST", "/api/predict", **options)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert "\n" not in response.json()["error"] and len(response.text) < 400


@pytest.mark.parametrize(("method", "path", "status"), [
    ("HEAD", "/", 200),
    ("GET", "/nothing", 404),
    ("GET", "/../../params.yaml", 404),
    ("GET", "/%2e%2e/params.yaml", 404),
    ("GET", "//etc/passwd", 404),
    ("GET", "/openapi.json", 404),
    ("GET", "/api/predict", 405),
    ("HEAD", "/api/predict", 405),
    ("OPTIONS", "/api/predict", 405),
])  # fmt: skip
def test_nothing_else_is_served(model, method, path, status):
    response = call(model, method, path)
    assert response.status_code == status
    assert status != 405 or response.headers["allow"] == "POST"
    assert method == "HEAD" or "error" in response.json()


def test_another_host_name_is_refused(model):
    for name in ("evil.example", "127.0.0.1.evil.example", "evil.example:8421", "", "[::1]:8421"):
        response = call(model, "GET", "/", headers={"host": name})
        assert response.status_code == 400 and response.json()["error"].startswith("host: ")
        assert response.headers["x-content-type-options"] == "nosniff"
    for name in ("127.0.0.1:8421", "localhost"):
        assert call(model, "GET", "/", headers={"host": name}).status_code == 200


def test_two_hundred_at_once_are_all_answered(model):
    bodies = [ASKED | {"demographics": f"Age: {18 + i % 50}"} for i in range(200)]
    responses = call_all(model, *({"json": body} for body in bodies), {"method": "GET", "url": "/api/model"})
    assert {response.status_code for response in responses} == {200}
    assert [r.json()["persona"] for r in responses[:-1]] == [body["demographics"] for body in bodies]


def test_a_full_queue_is_refused_and_the_server_goes_on(model, monkeypatch):
    ask = OpenModel.ask

    def slow(*given: Any) -> Any:
        time.sleep(0.05)
        return ask(*given)

    monkeypatch.setattr(OpenModel, "ask", slow)
    monkeypatch.setattr(server, "WAITING", 3)
    responses = call_all(model, *[{"json": ASKED}] * 40)
    assert Counter(response.status_code for response in responses) == {200: 3, 503: 37}
    for response in responses:
        if response.status_code == 503:
            assert response.json()["error"].startswith("busy: ") and response.headers["retry-after"]


def test_a_fault_of_ours_is_one_line_and_the_next_is_answered(model, monkeypatch):
    ask, calls = OpenModel.ask, []

    def broken_once(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 1:
            raise RuntimeError("secret path")
        return ask(*given)

    monkeypatch.setattr(OpenModel, "ask", broken_once)
    first, second = call_all(model, {"json": ASKED}, {"json": ASKED})
    assert (first.status_code, second.status_code) == (500, 200)
    assert first.json() == {"error": "internal error (RuntimeError)"}


def test_the_page_asks_for_nothing_from_elsewhere(model):
    for path in ("/", "/app.js", "/style.css"):
        response = call(model, "GET", path)
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        for outside in ("http://", "https://", "//cdn", "innerHTML", " style=", "onclick"):
            assert outside not in response.text


def test_every_field_of_the_page_has_a_label():
    page = (server.PAGE / "index.html").read_text()
    fields = re.findall(r'<(?:input|textarea|select)[^>]*?\bid="([\w-]+)"', page)
    assert len(fields) == 6
    assert all(f'for="{field}"' in page for field in fields)
    assert 'aria-live="polite"' in page


def test_only_this_machine_can_reach_it_and_a_port_in_use_is_one_line():
    with listen(0) as taken:
        address, port = taken.getsockname()
        assert address == "127.0.0.1"
        message = f"port {port}: address already in use; give another with --port"
        with pytest.raises(SocratesError, match=message):
            listen(port)


ENDED = [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, -signal.SIGTERM)]


@pytest.mark.parametrize(("number", "status"), ENDED)
def test_a_notice_ends_it_while_a_client_is_half_way(number, status, tmp_path):
    model_folders.make(tmp_path)
    with forked.served(tmp_path, "socrates", "serve", "--port", "0", "--json") as (serving, told):
        first = told.read_text()
        port = int(json.loads(first)["url"].rpartition(":")[2])
        with socket.create_connection((HOST, port)) as client:
            client.sendall(b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            client.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
            meanwhile = httpx.get(f"http://{HOST}:{port}/api/model")
            assert meanwhile.status_code == 200  # others are answered
            assert serving.pid
            os.kill(serving.pid, number)
            serving.join(60)
        assert (serving.exitcode, told.read_text()) == (status, first)
