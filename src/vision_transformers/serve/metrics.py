"""What the server counts, in the text format of Prometheus (its exposition format, version 0.0.4)."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PICTURES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Counter:
    """How often something happened, by labels."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)

    def add(self, *values: str) -> None:
        """Once more, for these values of the labels."""
        self._counts[values] += 1

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield from _head(self.name, self.help, "counter")
        for values, count in self._counts.items():
            yield f"{self.name}{_labels(self.labels, values)} {count}"


class Histogram:
    """How many values there were up to each bound, by one label; and their sum."""

    def __init__(self, name: str, help: str, label: str, bounds: Sequence[float]) -> None:
        self.name, self.help, self.label, self.bounds = name, help, label, bounds
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def add(self, label: str, value: float) -> None:
        """One more value."""
        self._counts[label][bisect_left(self.bounds, value)] += 1
        self._sums[label] += value

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield from _head(self.name, self.help, "histogram")
        for label, counts in self._counts.items():
            total = 0
            for bound, count in zip([*self.bounds, "+Inf"], counts, strict=True):
                total += count
                yield f"{self.name}_bucket{_labels((self.label, 'le'), (label, str(bound)))} {total}"
            yield f"{self.name}_sum{_labels((self.label,), (label,))} {self._sums[label]}"
            yield f"{self.name}_count{_labels((self.label,), (label,))} {total}"


class Gauge:
    """What is so at the moment of asking."""

    def __init__(self, name: str, help: str, value: Callable[[], float]) -> None:
        self.name, self.help, self.value = name, help, value

    def lines(self) -> Iterator[str]:
        """As Prometheus reads it."""
        yield from _head(self.name, self.help, "gauge")
        yield f"{self.name} {self.value()}"


class Metrics:
    """All of it. No label takes what a client wrote: routes and works are known by name, codes by number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = Counter("vit_requests_total", "Requests that were answered.", ("route", "code"))
        self._request_seconds = Histogram(
            "vit_request_seconds", "Seconds from a request's head to its answer's end.", "route", _SECONDS
        )
        self._batch_pictures = Histogram(
            "vit_batch_pictures", "Pictures that the model computed together.", "work", _PICTURES
        )
        self._batch_seconds = Histogram(
            "vit_batch_seconds", "Seconds that the model took for a batch.", "work", _SECONDS
        )
        self._gauges: list[Gauge] = []

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Also tells a value that is asked for each time."""
        self._gauges.append(Gauge(name, help, value))

    def answered(self, route: str, code: int, seconds: float) -> None:
        """Counts a request."""
        with self._lock:
            self._requests.add(route, str(code))
            self._request_seconds.add(route, seconds)

    def computed(self, work: str, pictures: int, seconds: float) -> None:
        """Counts a batch."""
        with self._lock:
            self._batch_pictures.add(work, float(pictures))
            self._batch_seconds.add(work, seconds)

    def text(self) -> str:
        """What `GET /metrics` answers."""
        parts: list[Counter | Histogram | Gauge] = [
            *(self._requests, self._request_seconds, self._batch_pictures, self._batch_seconds),
            *self._gauges,
        ]
        with self._lock:
            return "".join(f"{line}\n" for part in parts for line in part.lines())


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}"
