"""The routes: what is asked, what is refused, and how it is answered."""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from vision_transformers.config import nearest
from vision_transformers.errors import DataFailure, ReadFailure, is_lack_of_memory
from vision_transformers.explain.methods import DEFAULT
from vision_transformers.runtime.device import usable_processors
from vision_transformers.serve.answers import Answers, overlay_png
from vision_transformers.serve.batching import BatchingThread, Work
from vision_transformers.serve.limits import RETRY_AFTER, Limits, Places, read_body
from vision_transformers.serve.metrics import MEDIA_TYPE, Metrics
from vision_transformers.serve.page import page

Item = TypeVar("Item")
Result = TypeVar("Result")

CURL_FORM = "application/x-www-form-urlencoded"
"""What curl says that it sends with -d, which takes line breaks out of a picture, and with --data-binary."""
CLIENT_IS_GONE = 499
"""nginx's code for it, which only the metrics show."""
DEFAULT_TOP = 3
"""As of `vit predict`, whose row this is."""


class Json(Response):
    """A JSON answer; class names need not be valid Unicode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Raises ValueError for numbers that JSON does not have."""
        return json.dumps(content, allow_nan=False).encode()


class Service:
    """What the routes do, over one model."""

    def __init__(self, answers: Answers, batches: BatchingThread, limits: Limits, metrics: Metrics) -> None:
        self._answers = answers
        self._batches = batches
        self._limits = limits
        self._metrics = metrics
        self._decoders = ThreadPoolExecutor(min(usable_processors(), 4), "decoder")
        self._arriving = Places(limits.queue)
        self._pictures = Places(limits.queue)
        self.is_draining = False
        pictures, arriving = self._pictures, self._arriving
        metrics.watch("vit_queue_pictures", "Pictures that are not answered yet.", lambda: pictures.taken)
        metrics.watch("vit_arriving_bodies", "Bodies that are being received.", lambda: arriving.taken)

    @property
    def unanswered(self) -> int:
        """Pictures that were sent, or are being sent, and not answered yet."""
        return self._arriving.taken + self._pictures.taken

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/", self.page),
            Route("/predict", self.predict, methods=["POST"]),
            Route("/explain", self.explain, methods=["POST"]),
            Route("/model", self.model),
            Route("/metrics", self.metrics),
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
        ]

    async def page(self, request: Request) -> Response:  # noqa: ARG002 - Starlette passes it
        """For people."""
        return HTMLResponse(page().content, headers={"Content-Security-Policy": page().policy})

    async def predict(self, request: Request) -> Response:
        """The likeliest classes of the picture that is the body: a row of `vit predict --format jsonl`."""
        given = _parameters(request, "top")
        top = _whole_number("top", given.get("top", f"{DEFAULT_TOP}"))
        content = await self._body(request)
        with self._pictures.place():
            pixels = await self._beside_the_loop(self._answers.read, content)
            prediction = await self._computed(request, self._answers.predict, (pixels, top))
        guesses = [vars(guess) for guess in prediction.top]
        return Json({**guesses[0], "top": guesses, "error": None})

    async def explain(self, request: Request) -> Response:
        """The picture with the map of `vit explain` over it; or the map's numbers."""
        given = _parameters(request, "class", "format")
        label, format = given.get("class"), given.get("format", "png")
        _check_one_of("format", format, ("png", "json"))
        if label is not None:
            _check_one_of("class", label, self._answers.classifier.classes)
        content = await self._body(request)
        with self._pictures.place():
            pixels, seen = await self._beside_the_loop(self._answers.read_and_see, content)
            explanation = await self._computed(request, self._answers.explain, (pixels, label))
            if format == "png":
                png = await self._beside_the_loop(overlay_png, seen, explanation)
                return Response(png, media_type="image/png")
        return Json(
            {
                "label": explanation.label,
                "probability": explanation.probability,
                "method": DEFAULT,
                "box": seen.box,
                "map": explanation.values.tolist(),
            }
        )

    async def model(self, request: Request) -> Response:  # noqa: ARG002
        """What the model is, and what the server takes of a picture."""
        return Json({**self._answers.described(), "limits": vars(self._limits)})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """For Prometheus."""
        return PlainTextResponse(self._metrics.text(), media_type=MEDIA_TYPE)

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """Whether it is of any use to wait for this process."""
        self._check_model_thread()
        return Json({"status": "live"})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """Whether to send pictures here: the model has been loaded and tried before anybody can ask."""
        self._check_model_thread()
        self._check_not_draining()
        return Json({"status": "ready"})

    async def _body(self, request: Request) -> bytes:
        """The body, unless it is known before that nothing can be made of it."""
        self._check_not_draining()
        self._pictures.check()
        with self._arriving.place():
            return await read_body(request, self._limits)

    async def _beside_the_loop(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """For what takes a processor, but not the model: the loop has others to answer meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)

    async def _computed(self, request: Request, work: Work[Item, Result], item: Item) -> Result:
        """The result of the model's thread; a client that has gone away leaves its place to others."""
        self._check_model_thread()
        result = asyncio.wrap_future(self._batches.submit(work, item))
        gone = asyncio.ensure_future(request.receive())  # after the body, all that comes is the end
        either: list[asyncio.Future[Any]] = [result, gone]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ClientDisconnect
            return result.result()
        finally:
            result.cancel()
            gone.cancel()

    def _check_model_thread(self) -> None:
        if not self._batches.is_alive:
            raise HTTPException(503, "the thread that runs the model has ended: start the server anew")

    def _check_not_draining(self) -> None:
        if self.is_draining:
            raise HTTPException(503, "the server is about to end", RETRY_AFTER)


def application(service: Service) -> Starlette:
    """The routes of a service, which answer errors as JSON."""
    handlers: dict[Any, Any] = {
        HTTPException: _refuse,
        404: _refuse_address,
        405: _refuse_method,
        DataFailure: _refuse_picture,
        ReadFailure: _refuse_for_now,
        ClientDisconnect: _say_nothing,
        Exception: _fail,
    }
    starlette = Starlette(routes=service.routes(), exception_handlers=handlers)
    starlette.router.redirect_slashes = False
    return starlette


async def _refuse(request: Request, error: HTTPException) -> Response:  # noqa: ARG001
    return Json({"error": error.detail}, error.status_code, error.headers)


async def _refuse_address(request: Request, error: HTTPException) -> Response:  # noqa: ARG001
    path, known = request.url.path, [route.path for route in request.app.routes]
    return Json({"error": f"there is nothing at {path!r}: {nearest(path, known)}"}, 404)


async def _refuse_method(request: Request, error: HTTPException) -> Response:
    allowed = ", ".join(sorted((error.headers or {})["Allow"].split(", ")))
    refusal = f"{request.url.path} takes {allowed}, not {request.method}"
    return Json({"error": refusal}, 405, error.headers)


async def _refuse_picture(request: Request, error: DataFailure) -> Response:
    kind = request.headers.get("content-type")
    remedy = "; curl needs --data-binary, not -d" if kind == CURL_FORM else ""
    return Json({"error": f"{error}{remedy}"}, 422)


async def _refuse_for_now(request: Request, error: ReadFailure) -> Response:  # noqa: ARG001
    return Json({"error": f"{error}"}, 503, RETRY_AFTER)


async def _say_nothing(request: Request, error: ClientDisconnect) -> Response:  # noqa: ARG001
    return Response(status_code=CLIENT_IS_GONE)


async def _fail(request: Request, error: Exception) -> Response:  # noqa: ARG001
    if is_lack_of_memory(error):
        return Json({"error": "the memory is not enough at the moment"}, 503, RETRY_AFTER)
    return Json({"error": "the server failed; its log says how"}, 500)


def _parameters(request: Request, *known: str) -> Mapping[str, str]:
    for name in request.query_params:
        if name not in known:
            raise HTTPException(400, f"there is no parameter {name!r}: {nearest(name, known)}")
    return request.query_params


def _whole_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise HTTPException(400, f"{name} is {text!r}: expected a whole number of 1 or more")
    return int(text)


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise HTTPException(400, f"there is no {name} {value!r}: {nearest(value, known)}")
