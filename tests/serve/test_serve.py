"""`vit serve`: the numbers of `vit predict`, limits that hold, and an end that loses nothing."""

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra `serve`")
pytest.importorskip("uvicorn", reason="needs the extra `serve`")

from tests.classifiers import CLASSES, random_classifier, save_random_model
from tests.commands import Vit
from tests.photographs import noise, save_photographs, save_readable, save_unreadable
from tests.serve.chromium import ChromiumPage
from tests.serve.servers import Served, serving

from vision_transformers.cli.explanations import explain_picture
from vision_transformers.cli.main import main
from vision_transformers.data.decoding import decode
from vision_transformers.explain.methods import DEFAULT
from vision_transformers.serve import connections
from vision_transformers.serve.server import open_port

KEY = "Schlüssel: 1"
ROUTES = ("/", "/predict", "/explain", "/model", "/metrics", "/docs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model, and pictures as people have them; nobody changes it."""
    folder = tmp_path_factory.mktemp("serve")
    save_random_model(folder / "zoo", temperature=1.5)
    save_photographs(folder / "photos", 8)
    save_readable(folder / "readable")
    save_unreadable(folder / "unreadable")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(noise(7, 90, 40)).save(folder / "readable" / "turned.jpg", exif=turned)
    return folder


@pytest.fixture(scope="module")
def served(vit: Vit, folder: Path) -> Iterator[Served]:
    """A server with small limits; nobody ends it."""
    limits = ["--max-megabytes", "1", "--max-megapixels", "1", "--body-seconds", "1", "--batch-size", "4"]
    with serving(vit, folder, folder / "zoo", *limits, "--wait-milliseconds", "20") as served:
        yield served


def pictures(folder: Path) -> list[Path]:
    return sorted([*(folder / "photos").iterdir(), *(folder / "readable").iterdir()])


def rows(vit: Vit, folder: Path) -> list[dict[str, object]]:
    """What `vit predict` says of every picture, computed one at a time, as for a single client."""
    options = ["--batch-size", "1", "--workers", "0", "--device", "cpu", "--format", "jsonl"]
    paths = [str(path) for path in pictures(folder)]
    finished = vit.run(folder, ["predict", "zoo", *paths, *options])
    return [json.loads(line) for line in finished.output.splitlines()]


def test_an_answer_is_the_row_of_vit_predict_to_the_bit(vit: Vit, folder: Path, served: Served) -> None:
    for path, row in zip(pictures(folder), rows(vit, folder), strict=True):
        answer = served.predict(path)
        assert (answer.code, {"path": str(path), **answer.json}) == (200, row)
    assert len(served.predict(path, "?top=2").json["top"]) == 2
    assert len(served.predict(path, "?top=99").json["top"]) == len(CLASSES)


def test_a_picture_of_too_many_pixels_is_refused_before_they_are_decoded(
    served: Served, tmp_path: Path
) -> None:
    """A file of some kilobytes would take gigabytes of memory."""
    Image.new("L", (1001, 1000)).save(tmp_path / "large.png")
    Image.new("L", (1000, 1000)).save(tmp_path / "allowed.png")
    answer = served.predict(tmp_path / "large.png")
    assert answer.code == 422
    assert "1,001 x 1,000 pixels, more than 1 megapixels" in answer.json["error"]
    assert served.predict(tmp_path / "allowed.png").code == 200
    assert served.ask("GET", "/model").json["limits"]["megapixels"] == 1


def test_pictures_that_come_together_get_their_own_numbers_and_broken_ones_spoil_nothing(
    vit: Vit, folder: Path, served: Served
) -> None:
    bad = sorted((folder / "unreadable").iterdir())
    good = pictures(folder)
    mixed = [path for place, path in enumerate(good) for path in (path, bad[place % len(bad)])]
    expected = {Path(str(row["path"])): row for row in rows(vit, folder)}
    lines = 'bucket{work="predict",le="1.0"}', 'count{work="predict"}'
    alone, batches = (served.metric(f"vit_batch_pictures_{line}") for line in lines)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(served.predict, mixed))
    for path, answer in zip(mixed, answers, strict=True):
        if path in expected:
            assert answer.json["label"] == expected[path]["label"]
            np.testing.assert_allclose(answer.json["probability"], expected[path]["probability"], rtol=1e-5)
        else:
            assert answer.code == 422
            assert answer.json["error"].startswith(("the image cannot be decoded: ", "the body is empty: "))
            assert str(folder) not in answer.json["error"]
    alone_now, batches_now = (served.metric(f"vit_batch_pictures_{line}") for line in lines)
    assert batches_now - batches > alone_now - alone, "each was alone"


@pytest.mark.usefixtures("one_thread")
def test_an_explanation_is_that_of_vit_explain(folder: Path, served: Served) -> None:
    path = folder / "readable" / "turned.jpg"
    picture = decode(path, 3, 255)
    explanation = explain_picture(random_classifier(temperature=1.5), picture, "", [DEFAULT], CLASSES[2])
    answer = served.ask("POST", f"/explain?class={CLASSES[2]}", path.read_bytes())
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), explanation.overlay())
    numbers = served.ask("POST", "/explain?format=json", path.read_bytes()).json
    assert numbers["label"] == served.predict(path).json["label"]
    assert np.array(numbers["map"]).shape == (4, 4)


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("GET", "/nothing", 404, "there is nothing at '/nothing': known are /, /predict, /explain, /model"),
        ("POST", "/predict/", 404, "did you mean '/predict'?"),
        ("GET", "/predict", 405, "/predict takes POST, not GET"),
        ("POST", "/model", 405, "/model takes GET, HEAD, not POST"),
        ("POST", "/predict?topk=2", 400, "there is no parameter 'topk': did you mean 'top'?"),
        ("POST", "/predict?top=0", 400, "expected a whole number of 1 or more"),
        ("POST", "/predict?top=9999999999", 400, "expected a whole number of 1 or more"),
        ("POST", "/explain?class=oul", 400, "did you mean 'owl'?"),
        ("POST", "/explain?format=gif", 400, "known are png, json"),
        ("POST", "/predict", 422, "the body is empty: it should be the bytes of a picture's file"),
        ("POST", "/explain", 422, "the body is empty"),
    ],
)
def test_what_makes_no_sense_is_answered_in_json(
    served: Served, method: str, path: str, code: int, words: str
) -> None:
    answer = served.ask(method, path)
    assert (answer.code, answer.headers["content-type"]) == (code, "application/json")
    assert words in answer.json["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert not served.ask("HEAD", path).content


def test_a_form_is_told_how_to_send_a_picture(served: Served) -> None:
    answer = served.ask("POST", "/predict", b"--x--", {"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.code == 415
    assert "curl --data-binary" in answer.json["error"]
    assert served.ask("POST", "/predict", b"\x1f\x8b", {"Content-Encoding": "gzip"}).code == 415
    curl = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = served.ask("POST", "/predict", b"\x89PNG without line breaks, as of curl -d @PICTURE", curl)
    assert answer.code == 422
    assert answer.json["error"].endswith("curl needs --data-binary, not -d")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        *(("localhost:8000", 200), ("LOCALHOST", 200), ("127.0.0.1", 200), ("[::1]:80", 200)),
        *(("rebound.example:8000", 421), ("localhost.example", 421), ("127.0.0.1.example", 421), ("", 421)),
    ],
)
def test_a_page_of_another_site_whose_name_is_made_to_mean_this_machine_gets_nothing(
    served: Served, host: str, code: int
) -> None:
    answer = served.ask("GET", "/model", headers={"Host": host})
    assert answer.code == code
    assert code == 200 or "`Host: localhost`" in answer.json["error"]
    assert served.ask("GET", "/health/ready", headers={"Host": host}).code == 200


def test_a_body_that_is_too_large_is_refused_without_reading_it(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with served.connect() as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(16 * chunk)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
    just_small_enough = bytes(1_000_000)
    assert served.ask("POST", "/predict", just_small_enough).code == 422
    assert served.ask("POST", "/predict", just_small_enough + b"1").code == 413


def test_a_body_that_takes_too_long_is_refused_and_nobody_waits_for_it(folder: Path, served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nsome")
        assert served.predict(folder / "photos" / "000.jpg").code == 200
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_takes_too_long_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    config = uvicorn.Config(
        lambda *_: None, http=connections.Connection, ws="none", lifespan="off", log_config=None
    )

    async def seconds_until_closed() -> float:
        config.load()
        server = uvicorn.Server(config)
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: connections.Connection(config, server.server_state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        begun_at = loop.time()
        while not reader.at_eof() and loop.time() < begun_at + 5:
            writer.write(b"G")
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()
        listening.close()
        return loop.time() - begun_at

    assert asyncio.run(seconds_until_closed()) < 2


def test_the_model_is_described_without_where_it_lies(folder: Path, served: Served) -> None:
    answer = served.ask("GET", "/model")
    assert answer.json["name"] == "zoo"
    assert answer.json["classes"] == list(CLASSES)
    assert answer.json["preprocessing"]["size"] == [16, 16]
    assert answer.json["limits"] == {"megabytes": 1, "megapixels": 1, "body_seconds": 1, "queue": 64}
    assert str(folder) not in answer.content.decode()


def test_metrics_are_counted_and_take_nothing_that_a_client_wrote(served: Served) -> None:
    before = served.metric('vit_requests_total{route="none",code="404"}')
    served.ask("GET", '/evil"}')
    assert served.metric('vit_requests_total{route="none",code="404"}') == before + 1
    text = served.ask("GET", "/metrics").content.decode()
    assert "evil" not in text
    assert all(len(line.split()) == 2 for line in text.splitlines() if not line.startswith("#"))
    assert served.metric('vit_request_seconds_bucket{route="none",le="+Inf"}') == before + 1
    assert served.metric("vit_queue_pictures") == 0


def test_a_key_is_asked_for_everywhere_but_by_probes(vit: Vit, folder: Path) -> None:
    wrong = "Bearer", "Bearer ", "Bearer Schlüssel", f"Basic {KEY}", "Basic !", f"Digest {KEY}"
    basic = base64.b64encode(f"anybody:{KEY}".encode()).decode()
    with serving(vit, folder, folder / "zoo", "--key", KEY) as served:
        assert "curl -u :KEY --data-binary" in served.process.output.read_text()
        for path in ROUTES:
            answers = [served.ask("GET", path)]
            answers += [served.ask("GET", path, headers={"Authorization": _sent(one)}) for one in wrong]
            assert {answer.code for answer in answers} == {401}
            assert answers[0].headers["www-authenticate"].startswith("Basic ")
        for right in (f"Bearer {KEY}", f"Basic {basic}"):
            sent = {"Authorization": _sent(right), "Host": "of.a.proxy"}
            assert served.ask("GET", "/model", headers=sent).code == 200
            assert served.ask("GET", "/model", headers={"Authorization": _sent(right)}).code == 200
        assert served.ask("GET", "/health/live").code == served.ask("GET", "/health/ready").code == 200


def _sent(text: str) -> str:
    """As `curl` sends it: in UTF-8, which http.client takes for Latin-1."""
    return text.encode().decode("latin-1")


@pytest.fixture
def patient(vit: Vit, folder: Path) -> Iterator[Served]:
    """A server whose pictures wait for company, so that there are some in flight; at most two at one time."""
    options = ["--batch-size", "4", "--wait-milliseconds", "800", "--queue", "2"]
    with serving(vit, folder, folder / "zoo", *options) as served:
        yield served


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


def request_for(picture: Path) -> bytes:
    content = picture.read_bytes()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def test_a_full_queue_refuses_at_once_while_those_in_it_are_answered(folder: Path, patient: Served) -> None:
    path = folder / "photos" / "000.jpg"
    with ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(patient.predict, path) for _ in range(2)]
        until(lambda: patient.metric("vit_queue_pictures") == 2)
        begun_at = time.monotonic()
        refused = patient.predict(path)
        assert time.monotonic() - begun_at < 0.4
        assert (refused.code, refused.headers["retry-after"]) == (429, "1")
        assert patient.ask("GET", "/health/ready").code == 200
        assert [one.result().code for one in waiting] == [200, 200]
    assert patient.predict(path).code == 200, "it still refuses"


def test_a_client_that_leaves_gives_its_place_back_and_costs_no_computation(
    folder: Path, patient: Served
) -> None:
    with patient.connect() as client:
        client.sendall(request_for(folder / "photos" / "000.jpg"))
        until(lambda: patient.metric("vit_queue_pictures") == 1)
    until(lambda: patient.metric("vit_queue_pictures") == 0)
    assert patient.metric('vit_requests_total{route="/predict",code="499"}') == 1
    assert patient.predict(folder / "photos" / "001.jpg").code == 200
    assert patient.metric('vit_batch_pictures_sum{work="predict"}') == 1


def test_sigterm_answers_what_was_asked_and_takes_on_nothing_more(folder: Path, patient: Served) -> None:
    path = folder / "photos" / "000.jpg"
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(patient.predict, path)
        until(lambda: patient.metric("vit_queue_pictures") == 1)
        os.kill(patient.process.pid, signal.SIGTERM)
        until(lambda: patient.ask("GET", "/health/ready").code == 503)
        assert patient.ask("GET", "/health/live").code == 200
        assert patient.predict(path).code == 503
        assert waiting.result().code == 200
    finished = patient.process.wait()
    assert finished.code == 0
    assert "vit: answering what was asked; another signal ends at once" in finished.errors
    assert "Traceback" not in finished.errors


def test_sigterm_answers_what_was_asked_though_nobody_reads_what_the_server_says(
    vit: Vit, folder: Path
) -> None:
    read, written = os.pipe()
    wait = ["--wait-milliseconds", "800"]
    with (
        serving(vit, folder, folder / "zoo", *wait, errors=written) as served,
        ThreadPoolExecutor(1) as clients,
    ):
        os.close(read)
        os.close(written)
        waiting = clients.submit(served.predict, folder / "photos" / "000.jpg")
        until(lambda: served.metric("vit_queue_pictures") == 1)
        os.kill(served.process.pid, signal.SIGTERM)
        assert waiting.result().code == 200
        assert served.process.wait().code == 0


def test_an_end_that_would_take_too_long_says_what_was_left(vit: Vit, folder: Path) -> None:
    options = ["--wait-milliseconds", "60000", "--drain-seconds", "0"]
    with serving(vit, folder, folder / "zoo", *options) as served, ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(served.predict, folder / "photos" / "000.jpg")
        until(lambda: served.metric("vit_queue_pictures") == 1)
        os.kill(served.process.pid, signal.SIGTERM)
        assert waiting.result().code == 503
        finished = served.process.wait()
    assert finished.code == 1
    assert "not all answered within 0 seconds: 1 left" in finished.errors
    assert "Traceback" not in finished.errors


def test_a_second_signal_ends_it_at_once(vit: Vit, folder: Path) -> None:
    wait = ["--wait-milliseconds", "60000"]
    with serving(vit, folder, folder / "zoo", *wait) as served, served.connect() as client:
        client.sendall(request_for(folder / "photos" / "000.jpg"))
        until(lambda: served.metric("vit_queue_pictures") == 1)
        os.kill(served.process.pid, signal.SIGINT)
        time.sleep(1.05)
        os.kill(served.process.pid, signal.SIGINT)
        assert served.process.wait().code == -signal.SIGINT


def test_a_port_in_use_is_told(vit: Vit, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = vit.run(folder, ["serve", "zoo", "--port", f"{port}"])
    assert finished.code == 1
    assert f"port {port} of 127.0.0.1 cannot be used: Address already in use. Choose" in finished.errors


def test_an_answer_is_not_held_back_until_the_client_confirms_its_first_packet() -> None:
    """asyncio sets TCP_NODELAY only where a socket says that it is TCP; else each answer takes 40 ms more."""
    with open_port("127.0.0.1", 0) as opened:
        assert opened.proto == socket.IPPROTO_TCP


def test_the_name_of_a_model_does_not_clear_the_terminal(vit: Vit, tmp_path: Path) -> None:
    save_random_model(tmp_path / "zoo\x1b[2J")
    with serving(vit, tmp_path, tmp_path / "zoo\x1b[2J") as served:
        assert "zoo\\x1b[2J, 7 classes" in served.process.output.read_text()


def test_a_server_for_everybody_without_a_key_is_warned_of(vit: Vit, folder: Path) -> None:
    for options, warned in ((["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", "--key", "k"], False)):
        with serving(vit, folder, folder / "zoo", *options) as served:
            assert ("everybody who reaches this machine" in served.process.errors.read_text()) == warned
            said = served.process.output.read_text()
            assert f"http://{socket.gethostname()}:{served.port}/" in said, "no browser opens 0.0.0.0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "--port", "0"], "there is no model nothing"),
        (["zoo", "--port", "70000"], "--port is 70000: expected 65535 or less"),
        (["zoo", "--host", "no such host"], "is no address of this machine"),
        (["zoo", "--host", "a..b"], "is no address of this machine"),
        (["zoo", "--host", "192.0.2.1"], "is no address of this machine"),  # of no machine: RFC 5737
        (["zoo", "--queue", "0"], "--queue is 0: expected 1 or more"),
        (["zoo", "--key", ""], "--key is empty"),
        (["zoo", "--key", " "], "the key is empty"),
    ],
)
def test_what_cannot_be_served_is_told(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("vision_transformers.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "zoo"]) == 2
    assert 'pip install "vision_transformers[serve]"' in capsys.readouterr().err


def test_the_page_shows_predictions_explanations_and_errors(
    folder: Path, served: Served, tmp_path: Path
) -> None:
    picture, broken = folder / "photos" / "000.jpg", folder / "unreadable" / "page.jpg"
    guess = served.predict(picture).json
    with ChromiumPage(tmp_path, served.address) as page:
        page.until("document.getElementById('model').textContent.startsWith('zoo knows 7 classes')")
        page.choose("#files", picture)
        page.until("document.querySelectorAll('.bars button').length === 5")
        shown = page.value("document.querySelector('.bars').innerText")
        assert guess["label"] in shown
        assert f"{100 * guess['probability']:.1f} %" in shown
        plain = page.value("document.querySelector('article img').src")
        page.value("document.querySelector('.bars button').focus()")
        page.press("Enter", 13)
        page.until(f"![{plain!r}, ''].includes(document.querySelector('article img').src)")
        page.until("document.querySelector('article img').complete")
        assert f"speaks for {guess['label']}" in page.value("document.querySelector('article img').alt")
        assert page.trouble == []
        page.choose("#files", broken)
        page.until("document.querySelector('.error')?.textContent.includes('cannot be decoded')")
        assert len(page.trouble) == 1, "the code 422, which browsers note by themselves"
        assert "422" in page.trouble[0]


def test_the_page_works_with_a_key(vit: Vit, folder: Path, tmp_path: Path) -> None:
    """Also where the key stands in the address, from which the page must not ask."""
    with serving(vit, folder, folder / "zoo", "--key", "secret") as served:
        address = served.address.replace("//", "//anybody:secret@")
        with ChromiumPage(tmp_path, address) as page:
            page.until("document.getElementById('model')?.textContent.startsWith('zoo knows 7 classes')")
