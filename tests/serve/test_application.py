"""What fails within is answered without a word of how, told to whoever runs the server, and does not last."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra `serve`")

from tests.classifiers import random_classifier
from tests.photographs import save_photographs

from vision_transformers.classifier import Classifier
from vision_transformers.serve.answers import Answers
from vision_transformers.serve.application import Service, application
from vision_transformers.serve.batching import BatchingThread
from vision_transformers.serve.guard import Guard
from vision_transformers.serve.limits import Limits
from vision_transformers.serve.metrics import Metrics


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 503, "the memory is not enough"),
        (ValueError("in /home/somebody"), 500, "a request failed"),
    ],
)
def test_a_failure_is_answered_and_the_next_picture_is_computed(
    error: Exception,
    code: int,
    logged: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    (picture,) = save_photographs(tmp_path, 1)
    metrics, content = Metrics(), picture.read_bytes()
    batches = BatchingThread(2, 0.0, metrics.computed)
    service = Service(Answers(random_classifier(), "zoo"), batches, Limits(), metrics)
    guard = Guard(application(service), metrics, key=None, names=None)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "outcomes_of", fail)
        found, answer = asyncio.run(asked(guard, content))
    assert found == code
    assert set(answer) == {"error"}
    assert str(error) not in answer["error"]
    assert logged in caplog.text
    assert asyncio.run(asked(guard, content))[0] == 200
    batches.close()


async def asked(guard: Guard, content: bytes) -> tuple[int, Any]:
    """Code and JSON of POST /predict, over no network."""
    sent: list[Any] = []
    received = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:
        if not received:
            await asyncio.sleep(60)
        return received.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    address = {"path": "/predict", "raw_path": b"/predict", "query_string": b"", "root_path": ""}
    scope = {"type": "http", "method": "POST", "headers": [], **address}
    await guard(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])
