"""Where somebody's files lie: on the disk, or on the Hugging Face Hub. A place, never a format."""

import re
from pathlib import Path

from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import expanded

HUB = "hf:"
OF_TRAINING = (".pth.tar", ".ckpt")
"""Ends of files that hold more than weights."""
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", *OF_TRAINING)
"""Ends of files of weights."""
_FILES = ("*.json", *(f"*{suffix}" for suffix in SUFFIXES))


def local_path(place: str) -> Path:
    """The path of a place, after `hf:OWNER/NAME@REVISION` was downloaded; the revision may be left out.

    Raises:
        UsageFailure: the place is no such name, or huggingface_hub, an extra, is not installed.
        Failure: it cannot be downloaded.
    """
    if not place.startswith(HUB):
        return expanded(place)
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", place)
    if match is None:
        raise UsageFailure(
            f"{place} is no place on the Hub: expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise UsageFailure(
            'hf: needs huggingface_hub: install it with `pip install "vision_transformers[hub]"`'
        ) from error
    try:
        return Path(snapshot_download(match[1], revision=match[2], allow_patterns=list(_FILES)))
    except HFValidationError as error:
        raise UsageFailure(f"{place} is no place on the Hub: {error}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Failure(f"{place} cannot be downloaded: {error}") from error
