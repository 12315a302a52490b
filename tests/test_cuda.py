"""On a GPU everything is as on a CPU, up to rounding; skipped where there is none."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.commands import Vit
from tests.training.runs import FROM_FOLDER, IN_MEMORY, make_images, result, run_through_kills

from vision_transformers.classifier import load
from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.vary_batch import vary_batch
from vision_transformers.model.vit import ViT
from vision_transformers.report.metrics import read_metrics
from vision_transformers.training.muon import Muon

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def learned(vit: Vit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on digits, and a picture."""
    folder = tmp_path_factory.mktemp("learned")
    Image.fromarray(shades(1)[0, 0].numpy()).save(folder / "picture.png")
    arguments = "train digits --epochs 15 --device cuda --compile off --run-folder run"
    finished = vit.run(folder, arguments.split(" "))
    assert finished.code == 0, finished.errors
    return folder


def shades(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 12, 16), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("options", [{}, {"distillation_token": True}, {"pool": "attention"}])
def test_logits_are_those_of_the_cpu(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = ViT((4, 4), 64, 3, 2, 96, 3, 5, (32, 32), **options).eval()
    torch.nn.init.normal_(model.head.classifier.weight)  # type: ignore[arg-type]
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
        found = model.to(CUDA)(images.to(CUDA)).cpu()
        with torch.autocast("cuda", torch.bfloat16):
            rough = model(images.to(CUDA)).float().cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (rough - expected).norm() < 0.03 * expected.norm()


def test_images_are_varied_as_on_the_cpu() -> None:
    """Exactly where pixels are moved; where they are interpolated, up to one of 256 shades for nearly all."""
    pixels, indices = shades(64), torch.arange(64)
    moved = Augmentation(shift=3, flip=True, erasing=0.5)
    bent = Augmentation(rotation=20.0, scaling=0.2, shear=10.0, elastic=1.0, resized_crop=(0.3, 1.0))
    for augmentation, allowed in ((moved, 0), (bent, 1)):
        on_cpu = vary_batch(pixels, indices, augmentation, 0, 0).int()
        on_gpu = vary_batch(pixels.to(CUDA), indices.to(CUDA), augmentation, 0, 0).cpu().int()
        differing = (on_gpu - on_cpu).abs() > allowed
        assert differing.float().mean() <= (0 if not allowed else 0.001)


def test_muon_takes_the_steps_that_it_takes_on_the_cpu() -> None:
    steps = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        matrices = [torch.randn(24, 16, generator=generator) for _ in range(3)]
        matrix = torch.nn.Parameter(matrices[0].to(device, copy=True))
        optimizer = Muon([matrix], lr=0.1)
        for gradient in matrices[1:]:
            matrix.grad = gradient.to(device)
            optimizer.step()
        steps.append(matrix.detach().cpu() - matrices[0])
    assert (steps[0] - steps[1]).norm() < 0.02 * steps[0].norm()


@pytest.mark.parametrize("compile", ["off", "on"])
def test_kills_do_not_change_a_deterministic_run(vit: Vit, tmp_path: Path, compile: str) -> None:
    if compile == "on" and shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    begin = [*IN_MEMORY, *f"--steps 40 --device cuda --deterministic --compile {compile}".split()]
    finished = vit.run(tmp_path, [*begin, "--run-folder", "undisturbed"])
    assert finished.code == 0, finished.errors
    run_through_kills(vit, tmp_path / "killed", begin, kills=2, seed=2)
    assert result(tmp_path / "killed") == result(tmp_path / "undisturbed")


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_run_as_the_recipe_for_cifar_asks_for_it(vit: Vit, tmp_path: Path) -> None:
    """Compiled and recorded, in bfloat16, with this package's kernels and RandAugment on the GPU."""
    options = (
        "train digits --epochs 15 --device cuda --compile on --augmentation.rand-augment 1 --run-folder run "
        "--model.no-class-token --model.pool attention --model.positions rotary --average-decay 0.9"
    )
    finished = vit.run(tmp_path, options.split())
    assert finished.code == 0, finished.errors
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["test_accuracy"] > 0.8


def test_a_folder_is_learned_from(vit: Vit, tmp_path: Path) -> None:
    """Pictures come from loader workers to the GPU."""
    make_images(tmp_path / "images")
    options = "--steps 6 --data.workers 2 --device cuda --compile off --run-folder run"
    finished = vit.run(tmp_path, [*FROM_FOLDER, *options.split(" ")])
    assert finished.code == 0, finished.errors


@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate run digits --device cuda",
        "explain run picture.png --format html --device cuda",
        "benchmark run --device cuda --batch-size 8 --seconds 0.1",
    ],
)
def test_commands_work_there(vit: Vit, learned: Path, arguments: str) -> None:
    finished = vit.run(learned, arguments.split(" "))
    assert finished.code == 0, finished.errors


def test_low_rank_matrices_are_learned_there_and_merged(vit: Vit, learned: Path) -> None:
    options = "--init run --low-rank.rank 2 --steps 2 --device cuda --compile off --run-folder low-rank"
    finished = vit.run(learned, ["train", "digits", *options.split(" ")])
    assert finished.code == 0, finished.errors
    assert (learned / "low-rank" / "low-rank" / "low-rank.safetensors").exists()


def test_what_was_trained_there_is_the_same_model_on_a_cpu(learned: Path) -> None:
    assert read_metrics(learned / "run" / "metrics.jsonl")[-1]["test_accuracy"] > 0.9
    pictures = [Image.fromarray(shade) for shade in shades(8)[:, 0].numpy()]
    guesses = [load(learned / "run", device=device).predict(pictures) for device in ("cpu", "cuda")]
    for on_cpu, on_gpu in zip(*guesses, strict=True):
        assert on_cpu.label == on_gpu.label
        assert on_cpu.probability == pytest.approx(on_gpu.probability, abs=1e-3)
