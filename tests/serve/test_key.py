"""A key is found in what clients send of it, whatever it is made of."""

import base64
import os

import pytest

pytest.importorskip("starlette", reason="needs the extra `serve`")

from starlette.datastructures import Headers

from vision_transformers.serve.key import Key


@pytest.mark.parametrize(
    "key",
    ["secret", "a:b: c", "voil\u00e0", os.fsdecode(b"caf\xe9"), " of a file\n"],
    ids=["plain", "colons", "end", "bytes", "blank"],
)
def test_a_key_is_found_as_bearer_and_as_password(key: str) -> None:
    sent = os.fsencode(key).strip()  # HTTP takes the blanks of a header's ends away
    basic = base64.b64encode(b"anybody:" + os.fsencode(key))
    for authorization in (b"Bearer " + sent, b"Basic " + basic):
        assert Key(key).is_in(Headers(raw=[(b"authorization", authorization)]))
    for authorization in (b"Bearer " + sent + b"?", b"Bearer", b"Basic " + sent):
        assert not Key(key).is_in(Headers(raw=[(b"authorization", authorization)]))


def test_clients_may_write_the_scheme_as_they_like() -> None:
    """RFC 9110, section 11.1: proxies and libraries send `bearer` as well as `Bearer`."""
    for authorization in ("bearer secret", "BEARER secret", f"basic {base64.b64encode(b':secret').decode()}"):
        assert Key("secret").is_in(Headers({"Authorization": authorization}))


def test_a_key_is_not_shown_where_objects_are() -> None:
    """As in logs and tracebacks, which people send to each other."""
    assert "secret" not in f"{Key('secret')!r} {[Key('secret')]}"
