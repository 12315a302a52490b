"""`vit evaluate MODEL DATA [OPTIONS]`: measure a model on a data set, write numbers and a page."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vision_transformers.cli.checks import check_least
from vision_transformers.cli.evaluation_folder import check_output, usual_output
from vision_transformers.cli.evaluation_summary import print_summary
from vision_transformers.cli.subject import Split, Subject, find_subject
from vision_transformers.config import to_json
from vision_transformers.errors import UsageFailure
from vision_transformers.training.record import Record

if TYPE_CHECKING:
    from vision_transformers.classifier import Classifier
    from vision_transformers.cli.baseline import JudgedBaseline
    from vision_transformers.data.labelled import Labelled
    from vision_transformers.evaluation.judgement import Judgement
    from vision_transformers.evaluation.label_errors import LabelErrors
    from vision_transformers.report.judged_pictures import JudgedPicture


@dataclass(frozen=True)
class EvaluateOptions:
    """A model, what to judge it by, and how."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run or a model folder."""
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """digits, mnist, fashion-mnist, cifar10, cifar100, or a folder: PATH/<class>/* or PATH/test/<class>/*."""
    split: Split | None = None
    """Which part; if not given, test, else validation, else all. The run's data is split as it was."""
    output: Path | None = None
    """Where to write; else RUN/evaluation/<data>-<split>, or ./evaluation-<model>-<data>-<split>."""
    probe: Annotated[
        tuple[Literal["knn", "linear"], ...], tyro.conf.arg(help_behavior_hint="(default: neither)")
    ] = ()
    """Also judge the frozen features: by nearest neighbours, logistic regression, or both."""
    baseline: Path | None = None
    """Another run or model: judge it by the same images, and say whether MODEL is better or was lucky."""
    data_root: str | None = None
    """Folder with the files of a known data set; else as in the run, else $VISION_TRANSFORMERS_DATA."""
    batch_size: int = 64
    """Images that are computed together."""
    workers: int = 2
    """Processes that decode files; 0 decodes between the batches."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products."""


def main(arguments: list[str]) -> int:
    """Evaluates as the arguments say; returns the exit code."""
    options = _parse(arguments)
    metrics, folder = _evaluate(options)
    print_summary(metrics, folder)
    return 0


def _parse(arguments: list[str]) -> EvaluateOptions:
    description = "Measure a model on a data set: numbers, and a page with the pictures it fails on."
    options = tyro.cli(EvaluateOptions, prog="vit evaluate", description=description, args=arguments)
    check_least(options, batch_size=1, workers=0)
    if options.output is not None:
        check_output(options.output)
    return options


def _evaluate(options: EvaluateOptions) -> tuple[dict[str, Any], Path]:
    from vision_transformers.cli.galleries import galleries
    from vision_transformers.evaluation.judgement import judge
    from vision_transformers.evaluation.label_errors import find_label_errors
    from vision_transformers.report.evaluation_page import write_evaluation
    from vision_transformers.report.metrics import read_metrics

    subject = find_subject(
        options.model, options.data, options.split, options.data_root, options.device, options.precision
    )
    _check_probes(options, subject.labelled)
    other = _find_baseline(options, subject)
    folder = options.output or usual_output(options.model, subject)
    classifier = subject.classifier
    judgement = judge(classifier, subject.images, options.batch_size, options.workers)
    label_errors = find_label_errors(judgement.probabilities, judgement.labels)
    metrics = _metrics(options, subject, judgement) | {"label_errors": _named(label_errors, subject)}
    baseline = _judged_baseline(options, other)
    if baseline is not None:
        metrics["baseline"] = baseline.beside(judgement)
    preprocessing = classifier.preprocessing
    pictures = galleries(subject.images, judgement, label_errors, classifier.classes, preprocessing, baseline)
    run = subject.run
    curves = read_metrics(run.metrics) if run is not None and run.metrics.exists() else []
    folder.mkdir(parents=True, exist_ok=True)
    judged = _judged_pictures(subject, judgement, baseline)
    write_evaluation(folder, metrics, pictures, judged, curves, _origin(classifier, subject.record))
    return metrics, folder


def _check_probes(options: EvaluateOptions, labelled: "Labelled") -> None:
    """Whether there is what probes are fitted to.

    Raises:
        UsageFailure: there is not.
    """
    if not options.probe:
        return
    if "train" not in labelled.parts:
        raise UsageFailure(f"--probe needs training images, and {labelled.name} has no split train")
    there = {labelled.classes[label] for label in labelled.parts["train"].labels.tolist()}
    if "linear" in options.probe and len(there) == 1:
        raise UsageFailure(
            f"--probe linear tells classes apart, and the split train has images of {there.pop()!r} alone: "
            "add those of another class, or choose --probe knn"
        )


def _find_baseline(options: EvaluateOptions, subject: Subject) -> Subject | None:
    if options.baseline is None:
        return None
    from vision_transformers.cli.baseline import find_baseline

    return find_baseline(subject, options.data, options.data_root, options.baseline)


def _judged_baseline(options: EvaluateOptions, baseline: Subject | None) -> "JudgedBaseline | None":
    if baseline is None:
        return None
    from vision_transformers.cli.baseline import judged
    from vision_transformers.evaluation.judgement import judge

    judgement = judge(baseline.classifier, baseline.images, options.batch_size, options.workers)
    return judged(baseline, str(options.baseline), judgement)


def _metrics(options: EvaluateOptions, subject: Subject, judgement: "Judgement") -> dict[str, Any]:
    """The content of `metrics.json`."""
    from vision_transformers.evaluation.scores import scores

    classifier, labelled = subject.classifier, subject.labelled
    metrics = {
        "format_version": 1,
        "model": str(options.model),
        "data": labelled.name,
        "split": subject.split,
        "origin": labelled.description,
        "places": subject.places,
        **scores(judgement.sums, classifier.classes, classifier.description.temperature),
        "images_per_second": judgement.images_per_second,
        "batch_size": options.batch_size,
        "precision": options.precision,
        "device": str(classifier.device),
    }
    if subject.warning is not None:
        metrics["warning"] = subject.warning
    if options.probe:
        metrics["probe"] = _probes(options, subject)
    return metrics


def _named(errors: "LabelErrors", subject: Subject) -> list[dict[str, str]]:
    """All of them, for programs."""
    classes, images = subject.classifier.classes, subject.images
    return [
        {"image": images.name(place), "label": classes[int(images.labels[place])], "likely": classes[likely]}
        for place, likely in zip(errors.places.tolist(), errors.likely.tolist(), strict=True)
    ]


def _judged_pictures(
    subject: Subject, judgement: "Judgement", baseline: "JudgedBaseline | None"
) -> Iterator["JudgedPicture"]:
    """All of them, in their order."""
    from vision_transformers.report.judged_pictures import JudgedPicture

    classes, labels = subject.classifier.classes, judgement.labels.tolist()
    for place, label in enumerate(labels):
        theirs = None if baseline is None else baseline.guess(place)
        yield JudgedPicture(
            subject.images.name(place), classes[label], judgement.guess(place, classes), theirs
        )


def _probes(options: EvaluateOptions, subject: Subject) -> dict[str, dict[str, float]]:
    """The accuracy of each probe that was asked for, fitted to the training part."""
    from vision_transformers.data.labelled import in_order_of
    from vision_transformers.evaluation.probe import probe

    classifier, labelled = subject.classifier, subject.labelled
    train = in_order_of(labelled, labelled.parts["train"], classifier.classes)
    sizes = (options.batch_size, options.workers)
    return {kind: probe(classifier, kind, train, subject.images, *sizes) for kind in options.probe}


def _origin(classifier: "Classifier", record: Record | None) -> dict[str, str]:
    """How the model was made, for the page."""
    if record is None:
        training = classifier.description.training
        return {name: _text(value) for name, value in training.items()} or {"model": "nothing is known"}
    environment = record.environments[-1]
    versions = {
        "vision_transformers": environment.vision_transformers,
        "torch": environment.torch,
        "python": record.versions.python,
    }
    return {
        "recipe": f"{record.recipe.name}, seed {record.recipe.seed}",
        "begun by": shlex.join(record.command),
        "machine": f"{environment.processor}, {environment.threads} threads, {environment.precision}"
        + (", compiled" if environment.compile else ""),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "parameters": f"{sum(value.numel() for value in classifier.model.parameters()):,}",
        "every field": json.dumps(to_json(record.recipe), indent=2),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2)
