"""A small web page and JSON API on this machine: ask one question, compare two wordings.

The application reads no file but its own page, at start, and makes no request. One thread asks the model,
everything that waits at once in one pass; the queue before it is bounded, so that too many requests get a
clear refusal instead of the machine's memory.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from socrates.app.answers import Answer, binned
from socrates.app.examples import EXAMPLES
from socrates.app.model import OpenModel, answers_of
from socrates.app.parse import QUESTIONS, parse_demographics, parse_question
from socrates.app.training_support import NOT_AT_HAND, TrainingSupport
from socrates.core.errors import SocratesError
from socrates.survey.tables import DEMOGRAPHICS

PAGE = Path(__file__).parent / "page"
KINDS = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
LARGEST_BODY = 128 * 1024  # bytes
WAITING = 256  # requests in the queue; more are refused
TOGETHER = 64  # requests in one pass
PATIENCE = 60  # seconds a request waits for its answer
HOSTS = ["127.0.0.1", "localhost"]  # a page elsewhere that points its name here is refused
# What pydantic calls a problem -> what is said of it; of others its own words.
WRONG = {"extra_forbidden": "unknown field", "missing": "is missing", "string_type": "is no text"}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Row = tuple[str, str, str]
Text = Annotated[str, Field(max_length=20_000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    demographics: Annotated[str, Field(max_length=4_000)] = ""
    scale: Annotated[str, Field(max_length=40)] | None = None


class Ask(_Body):
    """One scenario put to one persona."""

    scenario: Text


class Compare(_Body):
    """Two wordings put to one persona."""

    a: Text
    b: Text


class Busy(SocratesError):
    """More requests wait than the queue holds."""


class Desk:
    """The one place where the model is asked."""

    def __init__(self, model: OpenModel, waiting: int = WAITING) -> None:
        self.model = model
        self.jobs: queue.Queue[tuple[list[Row], Future[list[Answer]]]] = queue.Queue(waiting)
        threading.Thread(target=self._work, name="ask", daemon=True).start()

    def submit(self, rows: list[Row]) -> Future[list[Answer]]:
        """The answers to rows of ``QUESTIONS``, when they are there. Raises :class:`Busy`."""
        future: Future[list[Answer]] = Future()
        try:
            self.jobs.put_nowait((rows, future))
        except queue.Full:
            raise Busy(f"busy: {self.jobs.maxsize} requests wait already; try again in a moment") from None
        return future

    def _work(self) -> None:
        while True:
            jobs = [self.jobs.get()]
            while len(jobs) < TOGETHER and not self.jobs.empty():
                jobs.append(self.jobs.get_nowait())
            jobs = [job for job in jobs if job[1].set_running_or_notify_cancel()]
            try:
                answers = iter(self._ask([row for rows, _ in jobs for row in rows]))
                for rows, future in jobs:
                    future.set_result([next(answers) for _ in rows])
            except Exception:  # one row that cannot be answered must not cost the others theirs
                for rows, future in jobs:
                    if not future.done():
                        self._alone(rows, future)

    def _alone(self, rows: list[Row], future: Future[list[Answer]]) -> None:
        try:
            future.set_result(self._ask(rows))
        except Exception as error:
            future.set_exception(error)

    def _ask(self, rows: list[Row]) -> list[Answer]:
        if not rows:
            return []
        return answers_of(self.model.ask(pl.DataFrame(rows, schema=QUESTIONS, orient="row")))


class BodyLimit:
    """Refuses a request whose body is larger than ``LARGEST_BODY`` before it is held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            body += message.get("body", b"")
            if len(body) > LARGEST_BODY:
                text = f"request: larger than {LARGEST_BODY // 1024} KiB; shorten the scenario"
                await JSONResponse({"error": text}, 413, headers=HEADERS)(scope, receive, send)
                return
            if not message.get("more_body"):
                break
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return whole

        await self.app(scope, replay, send)


def application(
    model: OpenModel, known: TrainingSupport | None, waiting: int = WAITING, cautions: tuple[str, ...] = ()
) -> FastAPI:
    """The page and the API of an open model.

    Args:
        known: what training had seen, for the notes.
        cautions: about the model itself, the first notes of every answer.
        waiting: requests that may wait; more get status 503.
    """
    desk = Desk(model, waiting)
    app = FastAPI(title="socrates", docs_url=None, redoc_url=None)  # their pages load scripts from elsewhere
    files = {name: (PAGE / name).read_bytes() for name in KINDS}

    async def answer(demographics: str, texts: dict[str, str], scale: str | None) -> list[dict[str, Any]]:
        """The answers to texts by the field that each came in."""
        # in a thread, since a hostile text can take a second to read
        who = await asyncio.to_thread(parse_demographics, demographics)
        questions = []
        for field, text in texts.items():
            try:
                questions.append(await asyncio.to_thread(parse_question, text, scale))
            except SocratesError as error:
                wrong = str(error).replace("--scale 1-7", "scale: 1-7")
                raise SocratesError(wrong if field == "scenario" else f"{field}: {wrong}") from None
        job = desk.submit([(who.text, question.stimuli, question.scale.notation) for question in questions])
        answers = await asyncio.wait_for(asyncio.wrap_future(job), PATIENCE)
        results = []
        for question, given in zip(questions, answers, strict=True):
            notes = [*cautions, *model.ref.notes, *question.notes, *given.doubts]
            if known is None:
                notes.append(NOT_AT_HAND)
            else:
                outside = known.of_persona(who) + known.of_question(question.stimuli, question.scale)
                notes += [f"outside the training data: {sentence}" for sentence in outside]
            bars = [
                {"label": label, "share": float(share)} for label, share in zip(*binned(given), strict=True)
            ]
            results.append(
                {"persona": who.text, "asked": question.stimuli, "scale_rule": question.rule}
                | given.summary()
                | {"bars": bars, "notes": notes}
            )
        return results

    @app.get("/api/model")
    async def about() -> dict[str, Any]:
        fields = [label for field, label in DEMOGRAPHICS.items() if known is None or field in known.values]
        examples = [
            {"title": f"{example.scenario[:60]}… ({example.demographics[:40]}…)", **example._asdict()}
            for example in EXAMPLES
        ]
        return {"model": str(model), "fields": fields, "examples": examples}

    @app.post("/api/predict")
    async def predict(body: Ask) -> dict[str, Any]:
        return (await answer(body.demographics, {"scenario": body.scenario}, body.scale))[0]

    @app.post("/api/compare")
    async def compare(body: Compare) -> dict[str, Any]:
        a, b = await answer(body.demographics, {"a": body.a, "b": body.b}, body.scale)
        same = a["scale"] == b["scale"]
        return {"a": a, "b": b, "difference": round(b["expected"] - a["expected"], 4) if same else None}

    def page(name: str) -> Response:
        return Response(files[name], media_type=KINDS[name])

    app.add_api_route("/", lambda: page("index.html"), methods=["GET", "HEAD"], include_in_schema=False)
    for name in ("app.js", "style.css"):
        app.add_api_route(
            f"/{name}", lambda name=name: page(name), methods=["GET", "HEAD"], include_in_schema=False
        )

    @app.exception_handler(SocratesError)
    async def user_error(_: Request, error: SocratesError) -> JSONResponse:
        status = 503 if isinstance(error, Busy) else 422
        return JSONResponse(
            {"error": str(error)}, status, headers={"retry-after": "1"} if status == 503 else None
        )

    @app.exception_handler(TimeoutError)
    async def too_late(_: Request, __: TimeoutError) -> JSONResponse:
        return JSONResponse({"error": f"no answer within {PATIENCE} seconds; try again"}, 504)

    @app.exception_handler(RequestValidationError)
    async def not_understood(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        kind = request.headers.get("content-type", "none")
        if "json" not in kind.lower():
            return JSONResponse({"error": f"content-type: {kind[:60]}; send application/json"}, 415)
        if problems[0]["type"] == "json_invalid":
            return JSONResponse({"error": f"request: not JSON ({problems[0]['ctx']['error']})"}, 400)
        texts = []
        for item in problems:
            field = ".".join(map(str, item["loc"][1:]))
            said = WRONG.get(item["type"], item["msg"])
            texts.append(
                f"{field}: {said}" if field else 'request: send an object such as {"scenario": "..."}'
            )
        return JSONResponse({"error": "; ".join(texts)}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail).lower()}, error.status_code, headers=error.headers)

    @app.middleware("http")
    async def headers(request: Request, call_next: Any) -> Response:
        response: Response
        try:
            if request.headers.get("host", "").split(":")[0] in HOSTS:
                response = await call_next(request)
            else:
                text = f"host: the name is not {' or '.join(HOSTS)}, which alone are answered"
                response = JSONResponse({"error": text}, 400)
        except Exception as error:  # the server stays up, and says so in one line
            response = JSONResponse({"error": f"internal error ({type(error).__name__})"}, 500)
        response.headers.update(HEADERS)
        return response

    app.add_middleware(BodyLimit)
    return app
