"""A small web page and JSON API on this machine.

The application reads no file but its own page, at start, and makes no request. One thread reads the texts and asks the
model; the queue before it is bounded, so that too many requests get a clear refusal instead of the machine's memory.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from socrates.app.answers import binned
from socrates.app.model import OpenModel
from socrates.app.parse import EXAMPLES, parse_demographics, parse_question
from socrates.core.errors import SocratesError
from socrates.core.params import problems
from socrates.survey.tables import DEMOGRAPHICS

PAGE = Path(__file__).parent / "page"
KINDS = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
FILES = {name: (PAGE / name).read_bytes() for name in KINDS}
LARGEST_BODY = 128 * 1024  # bytes
WAITING = 256  # requests that wait; more are refused
TIMEOUT = 60  # seconds a request waits for its answer
HOSTS = ["127.0.0.1", "localhost"]  # a page elsewhere that points its name here is refused
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Body(BaseModel, extra="forbid", strict=True):
    """A question of the API: a scenario, who is asked, and the scale where the text states none."""

    scenario: Annotated[str, Field(max_length=20_000)]
    demographics: Annotated[str, Field(max_length=4_000)] = ""
    scale: Annotated[str, Field(max_length=40)] | None = None


def answer(model: OpenModel, body: Body) -> dict[str, Any]:
    """The answer to a question, as JSON can hold it."""
    who = parse_demographics(body.demographics)
    question = parse_question(body.scenario, body.scale, "the field Scale, such as 1-7")
    found, ref = model.answer(who, question), model.ref
    notes = [*ref.cautions, *question.notes, *found.doubts]
    notes += [f"outside the training data: {sentence}" for sentence in ref.outside(who, question)]
    bars = [{"label": label, "share": float(share)} for label, share in zip(*binned(found), strict=True)]
    asked = {"persona": who.text, "asked": question.stimuli, "scale_rule": question.rule}
    return asked | found.summary() | {"bars": bars, "notes": notes}


async def read_body(request: Request) -> Body:
    """The fields of a request. Raises ``HTTPException`` with one line that says what is wrong with it."""
    called = request.headers.get("content-type", "none")
    if "json" not in called.lower():
        raise HTTPException(415, f"content-type: {called[:60]}; send application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            told = f"request: larger than {LARGEST_BODY // 1024} KiB; shorten the scenario"
            raise HTTPException(413, told)
    try:
        return Body.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise HTTPException(400, f"request: not JSON ({first['ctx']['error']})") from None
        if not first["loc"]:
            raise HTTPException(422, 'request: send an object such as {"scenario": "..."}') from None
        raise HTTPException(422, "; ".join(problems(error, Body))) from None


async def page(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if name not in FILES:
        raise HTTPException(404, "not found")
    return Response(FILES[name], media_type=KINDS[name])


async def refused(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
    return JSONResponse({"error": str(error)}, 422)


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


def create_app(model: OpenModel) -> Starlette:
    """The page and the API of an open model, which is asked in one thread."""
    thread, waiting = ThreadPoolExecutor(1, "ask"), 0

    async def about(_: Request) -> Response:
        known = model.ref.support.values if model.ref.support else DEMOGRAPHICS
        title = "{0.scenario:.60}… ({0.demographics:.40}…)".format
        examples = [{"title": title(example), **example._asdict()} for example in EXAMPLES]
        fields = [label for field, label in DEMOGRAPHICS.items() if field in known]
        return JSONResponse({"model": str(model), "fields": fields, "examples": examples})

    async def predict(request: Request) -> Response:
        nonlocal waiting
        body = await read_body(request)
        if waiting >= WAITING:
            busy = f"busy: {WAITING} requests wait already; try again in a moment"
            raise HTTPException(503, busy, {"retry-after": "1"})
        waiting += 1
        try:
            found = asyncio.get_running_loop().run_in_executor(thread, answer, model, body)
            return JSONResponse(await asyncio.wait_for(found, TIMEOUT))
        except TimeoutError:
            raise HTTPException(504, f"no answer within {TIMEOUT} seconds; try again") from None
        finally:
            waiting -= 1

    api = [Route("/api/model", about), Route("/api/predict", predict, methods=["POST"])]
    return Starlette(
        routes=[*api, Route("/", page), Route("/{name}", page)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=harden)],
        exception_handlers={SocratesError: refused, HTTPException: refused},
    )
