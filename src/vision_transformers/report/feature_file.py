"""Features of many pictures in one `.npz`, of which no more than a batch is in memory."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float32

from vision_transformers.files import TEMPORARY, explained, fill_file


class FeatureFile:
    """Arrays `paths` (unicode) and `features` (float32, pictures x dimension); used as a context.

    Rows lie in a temporary folder beside the file, which appears whole at the end, or not at all.
    `np.load(path)` reads it, without pickle.

    Args:
        path: the file to make; its ending is `.npz`.
        dimension: length of a row.
    """

    def __init__(self, path: Path, dimension: int) -> None:
        self.path, self.dimension = path, dimension
        self.count = 0
        self.longest = 1

    def __enter__(self) -> "FeatureFile":
        with self._explaining():
            self.scratch = tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}features-", dir=self.path.parent)
            self.rows = open(Path(self.scratch.name) / "rows", "wb")
            self.names = open(Path(self.scratch.name) / "names", "wb")
        return self

    def write(self, path: str, features: Float32[np.ndarray, " dimension"]) -> None:
        """Adds a row.

        Raises:
            Failure: it cannot be written.
        """
        with self._explaining():
            self.rows.write(features.tobytes())
            self.names.write(f"{json.dumps(path)}\n".encode())
        self.count += 1
        self.longest = max(self.longest, len(path))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.scratch, self._explaining():
            self.rows.close()
            self.names.close()
            if kind is None:
                fill_file(self.path, self._assemble)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Names this file in the system's errors: it need not be the only one that is written."""
        try:
            yield
        except OSError as error:
            raise explained(error, self.path) from error

    def _assemble(self, temporary: Path) -> None:
        folder = Path(self.scratch.name)
        features = np.zeros((0, self.dimension), np.float32)
        paths = np.zeros(0, f"<U{self.longest}")
        if self.count:
            shape = (self.count, self.dimension)
            features = np.memmap(folder / "rows", np.float32, "r", shape=shape)
            paths = np.memmap(folder / "padded", paths.dtype, "w+", shape=(self.count,))
            with open(folder / "names", "rb") as names:
                for place, name in enumerate(names):
                    paths[place] = json.loads(name)
        with open(temporary, "wb") as file:
            np.savez(file, paths=paths, features=features)
