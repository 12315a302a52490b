"""Whether a picture's file is there to its end, by its last bytes: what a download that broke off lacks."""

import io
import os

_LAST = {
    "JPEG": b"\xff\xd9",  # ITU-T T.81, B.1.1.3
    "MPO": b"\xff\xd9",
    "PNG": b"IEND\xaeB`\x82",  # with the checksum of the empty chunk
    "GIF": b";",
}


def may_lack_its_end(file: io.BufferedReader | io.BytesIO, format: str) -> bool:
    """Whether a file does not end as whole files of its format do; programs may have added bytes after them.

    Args:
        file: is left where it was.
        format: Pillow's name for it; of those without an end that can be told, such as TIFF, none lacks it.
    """
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 16))
    last = file.read()
    file.seek(0)
    first = file.read(8)
    file.seek(place)
    if format == "WEBP":  # RIFF, and the number of bytes that follow
        return size < 8 + int.from_bytes(first[4:8], "little")
    if format == "BMP":  # BM, and the number of all bytes
        return size < int.from_bytes(first[2:6], "little")
    return not last.endswith(_LAST.get(format, b""))
