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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from socrates.app.answers import Answer, binned
from socrates.app.examples import EXAMPLES
from socrates.app.model import OpenModel, answers_of
from socrates.app.parse import QUESTIONS, Persona, Question, parse_demographics, parse_question
from socrates.app.training_support import NOT_AT_HAND, TrainingSupport
from socrates.core.errors import SocratesError
from socrates.survey.tables import DEMOGRAPHICS

PAGE = Path(__file__).parent / "page"
KINDS = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
FILES = {name: (PAGE / name).read_bytes() for name in KINDS}
LARGEST_BODY = 128 * 1024  # bytes
WAITING = 256  # requests in the queue; more are refused
TOGETHER = 64  # requests in one pass
TIMEOUT = 60  # seconds a request waits for its answer
HOSTS = ["127.0.0.1", "localhost"]  # a page elsewhere that points its name here is refused
# pydantic's type of a problem -> what is said of it; of others its own words.
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
router = APIRouter()


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    demographics: Annotated[str, Field(max_length=4_000)] = ""
    scale: Annotated[str, Field(max_length=40)] | None = None


class AskBody(_Body):
    """One scenario put to one persona."""

    scenario: Text


class CompareBody(_Body):
    """Two wordings put to one persona."""

    a: Text
    b: Text


class Busy(SocratesError):
    """More requests wait than the queue holds."""


class RequestBatcher:
    """Asks the model in one thread, the requests that wait together in one pass."""

    def __init__(self, model: OpenModel, waiting: int) -> None:
        self.model = model
        self.requests: queue.Queue[tuple[list[Row], Future[list[Answer]]]] = queue.Queue(waiting)
        threading.Thread(target=self._work, name="ask", daemon=True).start()

    def submit(self, rows: list[Row]) -> Future[list[Answer]]:
        """The future answers to rows of ``QUESTIONS``. Raises :class:`Busy`."""
        future: Future[list[Answer]] = Future()
        try:
            self.requests.put_nowait((rows, future))
        except queue.Full:
            raise Busy(
                f"busy: {self.requests.maxsize} requests wait already; try again in a moment"
            ) from None
        return future

    def _work(self) -> None:
        while True:
            batch = [self.requests.get()]
            while len(batch) < TOGETHER and not self.requests.empty():
                batch.append(self.requests.get_nowait())
            batch = [request for request in batch if request[1].set_running_or_notify_cancel()]
            try:
                answers = iter(self._ask([row for rows, _ in batch for row in rows]))
                for rows, future in batch:
                    future.set_result([next(answers) for _ in rows])
            except Exception:  # one row that cannot be answered must not cost the others theirs
                for rows, future in batch:
                    if not future.done():
                        self._ask_apart(rows, future)

    def _ask_apart(self, rows: list[Row], future: Future[list[Answer]]) -> None:
        try:
            future.set_result(self._ask(rows))
        except Exception as error:
            future.set_exception(error)

    def _ask(self, rows: list[Row]) -> list[Answer]:
        return answers_of(self.model.ask(pl.DataFrame(rows, schema=QUESTIONS, orient="row"))) if rows else []


@dataclass(frozen=True)
class Service:
    """What the routes need.

    Attributes:
        support: what training covered; None where it is not known.
        warnings: about the model itself, the first notes of every answer.
    """

    model: OpenModel
    batcher: RequestBatcher
    support: TrainingSupport | None
    warnings: tuple[str, ...]

    async def answer(
        self, demographics: str, texts: dict[str, str], scale: str | None
    ) -> list[dict[str, Any]]:
        """The answers to texts by the field that each came in."""
        # in a thread, since a hostile text can take a second to read
        persona = await asyncio.to_thread(parse_demographics, demographics)
        questions = [await asyncio.to_thread(_question, field, text, scale) for field, text in texts.items()]
        future = self.batcher.submit([(persona.text, q.stimuli, q.scale.notation) for q in questions])
        answers = await asyncio.wait_for(asyncio.wrap_future(future), TIMEOUT)
        return [self._result(persona, *pair) for pair in zip(questions, answers, strict=True)]

    def _result(self, persona: Persona, question: Question, answer: Answer) -> dict[str, Any]:
        notes = [*self.warnings, *self.model.ref.notes, *question.notes, *answer.doubts]
        if self.support is None:
            notes.append(NOT_AT_HAND)
        else:
            notes = [*self.support.cautions, *notes]
            outside = self.support.of_persona(persona)
            outside += self.support.of_question(question.stimuli, question.scale)
            notes += [f"outside the training data: {sentence}" for sentence in outside]
        bars = [{"label": label, "share": float(share)} for label, share in zip(*binned(answer), strict=True)]
        asked = {"persona": persona.text, "asked": question.stimuli, "scale_rule": question.rule}
        return asked | answer.summary() | {"bars": bars, "notes": notes}


def _question(field: str, text: str, scale: str | None) -> Question:
    try:
        return parse_question(text, scale)
    except SocratesError as error:
        wrong = str(error).replace("(--scale 1-7)", "(the field Scale, such as 1-7)")  # a page has no options
        raise SocratesError(wrong if field == "scenario" else f"{field}: {wrong}") from None


@router.get("/api/model")
async def about(request: Request) -> dict[str, Any]:
    """The model's name, the fields of its training data, and examples."""
    service: Service = request.app.state.service
    known = service.support.values if service.support else DEMOGRAPHICS
    examples = [
        {"title": f"{example.scenario[:60]}… ({example.demographics[:40]}…)", **example._asdict()}
        for example in EXAMPLES
    ]
    fields = [label for field, label in DEMOGRAPHICS.items() if field in known]
    return {"model": str(service.model), "fields": fields, "examples": examples}


@router.post("/api/predict")
async def predict(body: AskBody, request: Request) -> dict[str, Any]:
    """The answer to one scenario."""
    service: Service = request.app.state.service
    return (await service.answer(body.demographics, {"scenario": body.scenario}, body.scale))[0]


@router.post("/api/compare")
async def compare(body: CompareBody, request: Request) -> dict[str, Any]:
    """The answers to two wordings, and how far the second moves the expected answer."""
    service: Service = request.app.state.service
    a, b = await service.answer(body.demographics, {"a": body.a, "b": body.b}, body.scale)
    same = a["scale"] == b["scale"]
    return {"a": a, "b": b, "difference": round(b["expected"] - a["expected"], 4) if same else None}


@router.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
@router.api_route("/{name}", methods=["GET", "HEAD"], include_in_schema=False)
async def page(name: str = "index.html") -> Response:
    """A file of the page."""
    if name not in FILES:
        raise HTTPException(404, "not found")
    return Response(FILES[name], media_type=KINDS[name])


async def user_error(_: Request, error: Exception) -> JSONResponse:
    """A :class:`SocratesError` as its line."""
    if isinstance(error, Busy):
        return JSONResponse({"error": str(error)}, 503, headers={"retry-after": "1"})
    return JSONResponse({"error": str(error)}, 422)


async def timed_out(_: Request, __: Exception) -> JSONResponse:
    """No answer within ``TIMEOUT``."""
    return JSONResponse({"error": f"no answer within {TIMEOUT} seconds; try again"}, 504)


async def invalid_body(request: Request, error: Any) -> JSONResponse:
    """A body that is not JSON or not the fields of its route, all problems in one line."""
    kind = request.headers.get("content-type", "none")
    if "json" not in kind.lower():
        return JSONResponse({"error": f"content-type: {kind[:60]}; send application/json"}, 415)
    problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        return JSONResponse({"error": f"request: not JSON ({problems[0]['ctx']['error']})"}, 400)
    fields = [".".join(map(str, problem["loc"][1:])) for problem in problems]
    texts = [
        f"{field}: {WRONG.get(problem['type'], problem['msg'])}"
        if field
        else 'request: send an object such as {"scenario": "..."}'
        for field, problem in zip(fields, problems, strict=True)
    ]
    return JSONResponse({"error": "; ".join(texts)}, 422)


async def refused(_: Request, error: Any) -> JSONResponse:
    """Another path or method, or a body that is too large."""
    return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)


async def harden(request: Request, call_next: Any) -> Response:
    """Middleware: answers to this machine's names only, sets ``HEADERS``, and turns a fault into one line."""
    response: Response
    try:
        if request.headers.get("host", "").split(":")[0] in HOSTS:
            response = await call_next(request)
        else:
            text = f"host: the name is not {' or '.join(HOSTS)}, which alone are answered"
            response = JSONResponse({"error": text}, 400)
    except Exception as error:  # the server stays up
        response = JSONResponse({"error": f"internal error ({type(error).__name__})"}, 500)
    response.headers.update(HEADERS)
    return response


class BodyLimit:
    """Middleware: refuses a request whose body is larger than ``LARGEST_BODY`` before it is held in memory."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                limit = f"{LARGEST_BODY // 1024} KiB"
                raise HTTPException(413, f"request: larger than {limit}; shorten the scenario")
            return message

        await self.app(scope, limited, send)


def create_app(
    model: OpenModel,
    support: TrainingSupport | None,
    waiting: int = WAITING,
    warnings: tuple[str, ...] = (),
) -> FastAPI:
    """The page and the API of an open model.

    Args:
        waiting: requests that may wait; more get status 503.
        support, warnings: see :class:`Service`.
    """
    app = FastAPI(
        title="socrates",
        docs_url=None,  # the pages of the documentation load scripts from elsewhere
        redoc_url=None,
        exception_handlers={
            SocratesError: user_error,
            TimeoutError: timed_out,
            RequestValidationError: invalid_body,
            HTTPException: refused,
        },
    )
    app.state.service = Service(model, RequestBatcher(model, waiting), support, warnings)
    app.include_router(router)
    app.add_middleware(BodyLimit)
    app.middleware("http")(harden)
    return app
