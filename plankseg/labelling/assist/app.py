"""Routes of the assistant: a small server on loopback that answers clicks of Label Studio.

Label Studio's own server asks, while the person waits; nobody else is let in. The access token in the body of `/setup`
is neither kept nor written anywhere: that body is not even read.
"""

import base64
import binascii
import hmac
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from plankseg.errors import HookError, PlanksegError
from plankseg.labelling.api.interactive_backend import USER
from plankseg.labelling.assist.protocol import AssistAnswer, AssistRequest, as_result, read_request
from plankseg.labelling.webhook.bounded_body import read_bounded
from plankseg.labelling.webhook.loopback_server import BAD, FORBIDDEN, TOO_LARGE, UNAUTHORIZED, refuse

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 2**20  # a task with its drafts and answers: noise of 4 million pixels weighs some megabytes in each
REQUEST = "A request to the assistant"
HERE = ("127.0.0.1", "localhost")
FAILED = "The assistant failed on this click; the mask is unchanged. Paint instead: its log says why."

Answer = Callable[[AssistRequest], AssistAnswer]


def build_app(secret: str, answer: Answer) -> FastAPI:
    """The assistant: `GET /health`, `POST /setup` and `POST /predict`, all but the first behind the shared secret."""
    app = FastAPI(title="plankseg assistant", openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Let Label Studio's server through: no page of a browser, no other name of this machine, nobody else."""
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        if host not in HERE or "origin" in request.headers or "sec-fetch-site" in request.headers:
            return refuse(FORBIDDEN, "Only Label Studio's server on this machine is answered.", request=REQUEST)
        if request.url.path != "/health" and not is_authorized(request.headers.get("authorization"), secret):
            return refuse(UNAUTHORIZED, "The user name or the secret is missing or wrong.", request=REQUEST)
        return await call_next(request)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "UP"}

    @app.post("/setup")
    def setup() -> dict[str, str]:
        return {"model_version": ""}

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        body = await read_bounded(request, BODY_BYTES)
        if body is None:
            return refuse(TOO_LARGE, f"The body is larger than {BODY_BYTES} bytes.", request=REQUEST)
        try:
            asked = read_request(body)
        except HookError as error:
            return refuse(BAD, str(error), request=REQUEST)
        found = AssistAnswer() if asked is None else await run_in_threadpool(answer_safely, answer, asked)
        return JSONResponse(as_result(found))

    return app


def is_authorized(header: str | None, secret: str) -> bool:
    """True for Basic authorization by our user name and the secret, compared in constant time."""
    scheme, _, encoded = (header or "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, f"{USER}:{secret}".encode())


def answer_safely(answer: Answer, asked: AssistRequest) -> AssistAnswer:
    """The answer; where it cannot be given, the reason for the person, and the mask stays."""
    try:
        return answer(asked)
    except PlanksegError as error:
        log.warning("A click in task %d is not answered: %s", asked.task_id, error)
        return AssistAnswer(message=str(error))
    except Exception:  # a person waits, and must not lose the mask to a mistake of ours
        log.exception("A click in task %d is not answered", asked.task_id)
        return AssistAnswer(message=FAILED)
