"""`vit serve MODEL [OPTIONS]`: a model over HTTP, with a page for people."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.errors import Failure, UsageFailure

if TYPE_CHECKING:
    import socket

    from vision_transformers.classifier import Classifier

KEY_VARIABLE = "VISION_TRANSFORMERS_KEY"

logger = logging.getLogger(__name__)


MOST_MEGAPIXELS = 89
"""Pillow decodes no larger picture."""


@dataclass(frozen=True)
class ServeOptions:
    """A model, where to serve it, and what the server takes on."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run or a model folder."""
    host: str = "127.0.0.1"
    """Name or address to listen on; 0.0.0.0 is all of this machine's."""
    port: int = 8000
    """Port to listen on; 0 takes any that is free, and prints it."""
    key: str | None = None
    """What clients must send to be answered. Others on this machine can read it here: better set the variable
    VISION_TRANSFORMERS_KEY."""
    batch_size: int = 8
    """The most pictures that are computed together."""
    wait_milliseconds: int = 2
    """How long a picture waits for others to be computed with, if nothing else is computed."""
    queue: int = 64
    """Pictures that may be unanswered at one time; further ones are answered 429 at once."""
    max_megabytes: int = 16
    """Of one picture's file."""
    max_megapixels: int = 50
    """Of one picture, 89 at most; none of a larger one is decoded."""
    body_seconds: int = 20
    """How long a picture may take to arrive."""
    drain_seconds: int = 30
    """After SIGTERM or Ctrl-C: how long what was asked may take to be answered."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products."""


def main(arguments: list[str]) -> int:
    """Serves as the arguments say until it is told to end; returns the exit code."""
    description = "Serve a model over HTTP, with a page for people."
    options = tyro.cli(ServeOptions, prog="vit serve", description=description, args=arguments)
    check_least(options, port=0, wait_milliseconds=0, drain_seconds=0)
    check_least(options, batch_size=1, queue=1, max_megabytes=1, max_megapixels=1, body_seconds=1)
    key = options.key if options.key is not None else os.environ.get(KEY_VARIABLE)
    if options.max_megapixels > MOST_MEGAPIXELS:
        raise UsageFailure(
            f"--max-megapixels is {options.max_megapixels}: expected {MOST_MEGAPIXELS} at most"
        )
    if options.port > 65535:
        raise UsageFailure(f"--port is {options.port}: expected 65535 or less")
    if key is not None and not key.strip():
        raise UsageFailure(f"the key is empty: give one with --key or {KEY_VARIABLE}, or leave both out")
    return _serve(options, key)


def _serve(options: ServeOptions, key: str | None) -> int:
    try:
        from vision_transformers.serve.key import Key
        from vision_transformers.serve.limits import Limits
        from vision_transformers.serve.names import OwnNames
        from vision_transformers.serve.server import Settings, is_for_this_machine_only, open_port, serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UsageFailure(
            "vit serve needs starlette and uvicorn: install them with "
            '`pip install "vision_transformers[serve]"`'
        ) from error

    with open_port(options.host, options.port) as opened:
        _warn(opened, key)
        classifier = _load(options)
        unanswered = serve(
            classifier,
            _name(options.model.resolve()),
            opened,
            Settings(options.batch_size, options.wait_milliseconds / 1000, options.drain_seconds),
            Limits(options.max_megabytes, options.max_megapixels, options.body_seconds, options.queue),
            Key(key) if key is not None else None,
            OwnNames(options.host) if key is None and is_for_this_machine_only(opened) else None,
            is_ready=lambda: _say_where(options, classifier, opened, key is not None),
        )
    if unanswered:
        raise Failure(
            f"what was asked was not all answered within {options.drain_seconds} seconds: {unanswered} left"
        )
    return 0


def _warn(opened: "socket.socket", key: str | None) -> None:
    from vision_transformers.serve.server import is_for_this_machine_only

    if key is None and not is_for_this_machine_only(opened):
        logger.warning(
            "everybody who reaches this machine may use this server: set a key with %s, or leave --host out",
            KEY_VARIABLE,
        )


def _load(options: ServeOptions) -> "Classifier":
    from vision_transformers.classifier import load

    classifier = load(options.model, device=options.device, precision=options.precision)
    if not classifier.classes:
        raise UsageFailure(f"{options.model} has no classification head: there is nothing to answer")
    return classifier


def _name(model: Path) -> str:
    """What clients are told; of a run's model, the run."""
    return model.parent.name if model.name == "model" else model.name


def _say_where(
    options: ServeOptions, classifier: "Classifier", opened: "socket.socket", is_locked: bool
) -> None:
    from vision_transformers.report.predictions import printable
    from vision_transformers.serve.server import address_of

    address = address_of(opened)
    rows, columns = classifier.preprocessing.size
    model = printable(f"{options.model}")
    print(f"model          {model}, {len(classifier.classes)} classes, {rows} x {columns} pixels")
    print(f"page           {address}")
    key = "-u :KEY " if is_locked else ""
    print(f"try            curl {key}--data-binary @PICTURE {address}predict")
    print("end            Ctrl-C", flush=True)
