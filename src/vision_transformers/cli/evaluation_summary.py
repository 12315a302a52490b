"""What `vit evaluate` prints at its end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_transformers.report.predictions import printable

WORST_CLASSES = 3


def print_summary(metrics: dict[str, Any], folder: Path) -> None:
    """What was measured, and the files of `folder` that have all of it."""
    calibration, classes = metrics["calibration"], len(metrics["classes"])
    print(
        f"{printable(metrics['data'])} {metrics['split']}: {metrics['samples']:,} images, {classes} classes"
    )
    if "warning" in metrics:
        print(f"warning        {metrics['warning']}")
    for name in ("top_1", "top_5"):
        if name in metrics:
            share = metrics[name]
            interval = f"95 % interval {share['lower']:.2%} to {share['upper']:.2%}"
            print(f"{name.replace('_', '-')}          {share['accuracy']:.2%} ({interval})")
    if "baseline" in metrics:
        print(*_beside_the_baseline(metrics["baseline"]), sep="\n")
    print(f"loss           {metrics['loss']:.4f}")
    print(f"macro F1       {metrics['macro']['f1']:.2%}")
    after = (
        f", {calibration['error_after']:.2%} at its temperature {calibration['temperature']:.3f}"
        if "error_after" in calibration
        else " (the model has no temperature)"
    )
    print(f"calibration    error {calibration['error']:.2%}{after}")
    occurring = [row for row in metrics["per_class"] if row["support"]]
    worst = sorted(occurring, key=lambda row: float(row["recall"]))[:WORST_CLASSES]
    recalls = [f"{printable(row['class'])} {row['recall']:.2%}" for row in worst]
    print(f"worst recall   {', '.join(recalls)}")
    for kind, accuracies in metrics.get("probe", {}).items():
        print(f"{kind:<15}{', '.join(f'{name} {value:.2%}' for name, value in accuracies.items())}")
    print(f"speed          {metrics['images_per_second']:,.0f} images/s")
    print(f"page           {folder / 'index.html'}")
    print(f"numbers        {folder / 'metrics.json'}, each picture's in {folder / 'predictions.csv'}")


def _beside_the_baseline(metrics: Mapping[str, Any]) -> list[str]:
    """Of what `JudgedBaseline.beside` says."""
    difference, top_1 = metrics["difference"], metrics["top_1"]
    points = [f"{100 * difference[name]:+.2f}" for name in ("accuracy", "lower", "upper")]
    lines = [
        f"baseline       {top_1['accuracy']:.2%} by {metrics['model']}",
        f"difference     {points[0]} points (95 % interval {points[1]} to {points[2]}): "
        f"{metrics['gained']:,} images gained, {metrics['lost']:,} lost, McNemar's p "
        f"{metrics['p_value']:.2g}",
    ]
    return [*lines, f"warning        {metrics['warning']}"] if "warning" in metrics else lines
