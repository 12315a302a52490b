"""One process that serves a model: from an open port until it is told to end."""

import contextlib
import errno
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from vision_transformers.classifier import Classifier
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.serve.answers import Answers
from vision_transformers.serve.application import Service, application
from vision_transformers.serve.batching import BatchingThread
from vision_transformers.serve.connections import Connection
from vision_transformers.serve.guard import Guard
from vision_transformers.serve.key import Key
from vision_transformers.serve.limits import Limits
from vision_transformers.serve.metrics import Metrics
from vision_transformers.serve.names import OwnNames
from vision_transformers.training.interruption import Interruption

logger = logging.getLogger(__name__)

LAST_SECONDS = 2
"""For answers that are on their way when nothing is left to compute."""


@dataclass(frozen=True)
class Settings:
    """How pictures are computed and how the server ends."""

    batch_size: int
    """The most pictures that are computed together."""
    wait_seconds: float
    """How long a picture waits for company."""
    drain_seconds: int
    """How long what was asked may take to be answered after the server was told to end."""


def open_port(host: str, port: int) -> socket.socket:
    """A socket that nobody else can take any more, and that does not answer yet.

    Args:
        host: a name or an address.
        port: 0 for any that is free.

    Raises:
        UsageFailure: there is no such host or port.
        Failure: it is in use, or not for this user.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol: only where that says TCP does asyncio send at once (TCP_NODELAY), and otherwise
        # an answer in two packets takes 40 ms.
        return _bound(socket.socket(family, kind, protocol), address)
    except (socket.gaierror, OverflowError, UnicodeError) as error:
        raise UsageFailure(f"--host {host} --port {port} is no address of this machine: {error}") from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageFailure(f"--host {host} is no address of this machine") from error
        raise Failure(
            f"port {port} of {host} cannot be used: {error.strerror}. Choose another --port, 0 for any"
        ) from error


def _bound(opened: socket.socket, address: tuple[Any, ...]) -> socket.socket:
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def is_for_this_machine_only(opened: socket.socket) -> bool:
    """Whether no other machine can reach a socket."""
    return ipaddress.ip_address(opened.getsockname()[0]).is_loopback


def address_of(opened: socket.socket) -> str:
    """What to type into a browser; of all addresses of this machine, its name."""
    host, port, *_ = opened.getsockname()
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(
    classifier: Classifier,
    name: str,
    opened: socket.socket,
    settings: Settings,
    limits: Limits,
    key: Key | None,
    names: OwnNames | None,
    is_ready: Callable[[], None],
) -> int:
    """Answers until SIGINT or SIGTERM, and then what was asked before.

    Args:
        classifier: with a head.
        name: what clients are told that it is called.
        opened: where to.
        settings: how to compute, and how to end.
        limits: of requests.
        key: who may ask; None for everybody.
        names: by which it may be asked; None for any.
        is_ready: is called when the model has been tried and the port answers.

    Returns:
        How many pictures were left unanswered.
    """
    metrics = Metrics()
    answers = Answers(classifier, name, limits.megapixels)
    answers.warm_up(settings.batch_size)
    batches = BatchingThread(settings.batch_size, settings.wait_seconds, metrics.computed)
    service = Service(answers, batches, limits, metrics)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what the operator must know, `Guard` logs
    config = uvicorn.Config(
        Guard(application(service), metrics, key, names),
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_SECONDS,
    )
    with Interruption() as interruption:
        server = _Server(config, service, interruption, settings.drain_seconds, is_ready)
        server.run([opened])
    if not server.unanswered:
        batches.close()
    return server.unanswered


class _Server(uvicorn.Server):
    """Ends when it was told to and everything is answered."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        interruption: Interruption,
        seconds: float,
        is_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.unanswered = 0
        self._service = service
        self._interruption = interruption
        self._seconds = seconds
        self._is_ready = is_ready
        self._ends_at = float("inf")

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: `Interruption` has them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Until the port answers."""
        await super().startup(sockets)
        self._is_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is over."""
        await super().on_tick(counter)
        if self._interruption.signal is None:
            return False
        if not self._service.is_draining:
            self._service.is_draining = True
            self._ends_at = time.monotonic() + self._seconds
            logger.warning("answering what was asked; another signal ends at once")
        self.unanswered = self._service.unanswered
        return self.unanswered == 0 or time.monotonic() >= self._ends_at
