"""Runs `vit` in a new process for each request, forked from this one, which has imported everything.

A request is JSON, a packet on the socket that is standard input. To start a process, which comes with the
descriptors of its standard input, output and error:

    program      a Python file to run in the place of `vit`; empty for `vit`
    arguments    of `vit`
    folder       the working folder
    environment  variables to set
    die_at       the operation on files at which the process kills itself; 0 for none
    file_limit   bytes that a file may have; 0 for any number
    open_limit   files that each process may have open; 0 for any number
    memory_limit bytes that the process may have in memory; 0 for any number
    drawn        whether diagrams are

The answer is its process number. The request `{"wait": <number>}` is answered by its exit code when it ends,
negative if a signal ended it.
"""

import atexit
import importlib
import io
import json
import os
import resource
import runpy
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

import torch
import undrawn

from vision_transformers.cli.main import main
from vision_transformers.report import style

IMPORTED = (
    "vision_transformers.cli.train",
    "vision_transformers.cli.evaluate",
    "vision_transformers.cli.predict",
    "vision_transformers.cli.report",
    "vision_transformers.report.evaluation_page",
    "vision_transformers.cli.terminal",
    "vision_transformers.training.train",
    "vision_transformers.data.vary_image",
    "torch._dynamo",
    "matplotlib.backends.backend_agg",
    "sklearn.datasets",
    "sklearn.model_selection",
)
OPERATIONS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.fsync", "os.truncate"}
LONGEST_SECONDS = 240
LONGEST_REQUEST = 2**20


def next_request() -> dict[str, Any]:
    """Answers requests; comes back only in a new process, with what is to be done there."""
    requests = socket.socket(fileno=0)
    while True:
        packet, descriptors, *_ = socket.recv_fds(requests, LONGEST_REQUEST, 3)
        if not packet:
            sys.exit()
        request = json.loads(packet)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        process = os.fork()
        if process == 0:
            requests.detach()  # else the new standard input would be closed with it
            prepare(request, descriptors)
            return dict(request)
        for descriptor in descriptors:
            os.close(descriptor)
        print(process, flush=True)


def prepare(request: dict[str, Any], descriptors: list[int]) -> None:
    """Makes this process what a person's shell would have made it."""
    os.setsid()
    signal.alarm(LONGEST_SECONDS)
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    # The old one believes that it can seek, if it was a file; this one may be a pipe.
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    if request["file_limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    if request["open_limit"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (request["open_limit"], request["open_limit"]))
    if request["memory_limit"]:
        resource.setrlimit(resource.RLIMIT_DATA, (request["memory_limit"], request["memory_limit"]))
    if not request["drawn"]:
        style._png, style._svg = undrawn.png, undrawn.svg
    if request["die_at"]:
        die_at(request["die_at"])


def die_at(number: int) -> None:
    """Kills this process, but none that it starts, just before its operation of that number on files."""
    own, count, fsync = os.getpid(), 0, os.fsync

    def meet(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (event in OPERATIONS or writes) and os.getpid() == own:
            count += 1
            if count == number:
                os.kill(own, signal.SIGKILL)

    def audited_fsync(descriptor: int) -> None:
        meet("os.fsync", (descriptor,))
        fsync(descriptor)

    os.fsync = audited_fsync  # type: ignore[assignment]
    sys.addaudithook(meet)


def run(request: dict[str, Any]) -> NoReturn:
    """Does it, and ends as Python does, but for taking down what was imported, which is slow."""
    code: str | int | None = 0
    try:
        if request["program"]:
            runpy.run_path(request["program"], run_name="__main__")
        else:
            code = main(request["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a process that has threads already cannot be forked
    for name in IMPORTED:
        importlib.import_module(name)
    run(next_request())
