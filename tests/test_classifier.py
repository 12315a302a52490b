"""A loaded model gives the same numbers for a picture wherever it stands and whatever it is given as."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.classifiers import CLASSES, random_classifier, save_random_model
from tests.photographs import noise, save_photographs, save_readable, save_unreadable

import vision_transformers
from vision_transformers.classifier import Classifier
from vision_transformers.errors import DataFailure, Failure, UsageFailure
from vision_transformers.model.config import LowRankConfig
from vision_transformers.model.low_rank import add_low_rank, is_low_rank
from vision_transformers.prediction import Prediction
from vision_transformers.weights.conversion import read_native


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return random_classifier(temperature=1.3)


def numbers(predictions: list[Prediction]) -> list[tuple[tuple[int, float], ...]]:
    return [tuple((guess.index, guess.probability) for guess in one.top) for one in predictions]


@pytest.mark.usefixtures("one_thread")
def test_a_prediction_is_the_same_to_the_bit_in_any_place_of_a_batch(classifier: Classifier) -> None:
    pictures = [noise(seed) for seed in range(20)]
    expected = numbers(classifier.predict(pictures, batch_size=8))
    for shift in (1, 5, 13):
        turned = pictures[shift:] + pictures[:shift]
        found = numbers(classifier.predict(turned, batch_size=8))
        assert found[-shift:] + found[:-shift] == expected


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_alone_or_in_other_batches_it_is_nearly_the_same(classifier: Classifier, batch_size: int) -> None:
    pictures = [noise(seed) for seed in range(20)]
    expected, found = (classifier.predict(pictures, top=7, batch_size=size) for size in (20, batch_size))
    for mine, theirs in zip(found, expected, strict=True):
        mine_by_class, theirs_by_class = ({g.index: g.probability for g in one.top} for one in (mine, theirs))
        assert mine_by_class == pytest.approx(theirs_by_class, abs=1e-5)


def test_what_is_computed_is_what_was_asked_for(classifier: Classifier) -> None:
    """One picture costs one, not a whole batch; the last of several batches is filled up."""
    sizes: list[int] = []
    seen = classifier.model.register_forward_pre_hook(lambda _, images: sizes.append(len(images[0])))
    classifier.predict(noise(1))
    classifier.predict([noise(seed) for seed in range(9)], batch_size=8)
    seen.remove()
    assert sizes == [1, 8, 8]


@pytest.mark.parametrize("number", [{"top": 0}, {"top": -1}, {"batch_size": 0}, {"workers": -1}])
def test_numbers_that_make_no_sense_are_told_before_anything_is_read(
    classifier: Classifier, number: dict[str, int]
) -> None:
    (name,) = number
    with pytest.raises(UsageFailure, match=f"{name} is {number[name]}: expected"):
        classifier.predict("nothing.jpg", **number)
    with pytest.raises(UsageFailure, match=f"{name} is {number[name]}: expected"):
        classifier.outcomes("nothing.jpg", **number)


def test_outcomes_of_one_path_are_of_one_picture(classifier: Classifier, tmp_path: Path) -> None:
    (path,) = save_photographs(tmp_path, 1)
    (outcome,) = classifier.outcomes(str(path))
    assert outcome.source == path
    assert outcome.prediction == classifier.predict(path)[0]


def test_a_head_of_ones_own_predicts() -> None:
    """It takes the sequence and gives logits, and need not pool: only features are then not to be had."""
    classifier = random_classifier()
    (expected,) = classifier.predict(noise(1))
    own = torch.nn.Sequential(classifier.model.head.pool, classifier.model.head.classifier)
    classifier.model.head = own
    (found,) = classifier.predict(noise(1))
    assert [guess.index for guess in found.top] == [guess.index for guess in expected.top]
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)


def test_a_head_for_other_classes_gives_no_answers_under_the_old_names() -> None:
    classifier = random_classifier()
    classifier.model.head.classifier = torch.nn.Linear(32, 3)
    with pytest.raises(Failure, match=r"3 classes, but 7 class names.*reset_classes"):
        classifier.predict(noise(1))


@pytest.mark.parametrize("options", [{}, {"distillation_token": True}, {"pool": "attention"}])
def test_other_classes_are_learned_in_a_loop_of_ones_own_and_saved(
    options: dict[str, Any], tmp_path: Path
) -> None:
    classifier = random_classifier(temperature=2.0, dropout=0.5, **options)
    before = {name: weight.clone() for name, weight in classifier.model.state_dict().items()}
    classifier.reset_classes(("cat", "dog"))
    after = classifier.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "classifier." in name}
    assert classifier.temperature == 1
    model = classifier.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(
        model(classifier.inputs([noise(1), noise(2)])), torch.tensor([0, 1])
    ).backward()
    optimizer.step()
    guesses = [numbers(classifier.predict(noise(1))) for _ in range(2)]
    assert guesses[0] == guesses[1], "dropout has no part in an answer"
    assert model.training, "but in what is learned after it"
    classifier.save(tmp_path / "saved")
    (found,) = vision_transformers.load(tmp_path / "saved").predict(noise(1))
    assert {guess.label for guess in found.top} == {"cat", "dog"}
    assert found.probability == pytest.approx(guesses[0][0][0][1])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("even", "class names are 'even': expected a list"),
        (["even", "even"], "two classes cannot have one name: 'even'"),
        (["even", " "], "a class name is ' '"),
    ],
)
def test_names_that_no_saved_model_could_have_are_refused_before_the_head_is_gone(
    names: list[str] | str, message: str
) -> None:
    classifier = random_classifier()
    before = classifier.model.head.classifier.weight
    with pytest.raises(UsageFailure, match=message):
        classifier.reset_classes(names)
    assert classifier.model.head.classifier.weight is before
    assert len(classifier.classes) == classifier.model.config.number_of_classes == 7


def test_what_was_measured_of_the_old_head_is_not_said_of_a_new_one(tmp_path: Path) -> None:
    classifier = random_classifier()
    measured = {"recipe": "digits", "metrics": {"test_accuracy": 1.0}}
    classifier.description = replace(classifier.description, training=measured)
    classifier.reset_classes(["even", "odd"])
    classifier.save(tmp_path / "saved")
    assert read_native(tmp_path / "saved").description.training == {"recipe": "digits"}


def test_inputs_are_what_the_model_reads(classifier: Classifier, tmp_path: Path) -> None:
    """For what is not here: `explain`, another library's methods, a loop of one's own."""
    pictures = [*save_photographs(tmp_path, 2), noise(1)]
    images = classifier.inputs(pictures)
    assert images.shape == (3, 3, 16, 16)
    logits = classifier.model(images)
    assert logits.argmax(dim=1).tolist() == [one.index for one in classifier.predict(pictures)]
    assert torch.equal(classifier.inputs(noise(1)), images[2:])
    assert classifier.inputs([]).shape == (0, 3, 16, 16)
    with pytest.raises(DataFailure, match=r"nothing\.jpg"):
        classifier.inputs("nothing.jpg")


def test_features_go_on_into_what_learns(classifier: Classifier) -> None:
    """A probe of one's own is trained on them."""
    probe = torch.nn.Linear(classifier.feature_dimension, 2)
    probe(classifier.features(noise(1))).sum().backward()
    assert probe.weight.grad is not None


def test_a_path_a_picture_an_array_and_a_tensor_are_the_same_picture(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(noise(1)).save(path)
    array = noise(1)
    forms = [str(path), path, Image.open(path), array, torch.from_numpy(array.copy()).permute(2, 0, 1)]
    found = [numbers(classifier.predict(form)) for form in forms]
    assert found == [found[0]] * len(forms)
    assert len(found[0]) == 1


def test_arrays_and_tensors_of_many_pictures_are_many(classifier: Classifier) -> None:
    arrays = np.stack([noise(seed) for seed in range(3)])
    expected = numbers(classifier.predict(list(arrays)))
    assert numbers(classifier.predict(arrays)) == expected
    assert numbers(classifier.predict(torch.from_numpy(arrays).permute(0, 3, 1, 2))) == expected


def test_probabilities_are_those_of_the_model_at_its_temperature(classifier: Classifier) -> None:
    picture = noise(4, 16, 16)
    images = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (classifier.preprocessing.mean, classifier.preprocessing.std)
    )
    with torch.no_grad():
        expected = (classifier.model((images - mean) / std)[0] / 1.3).softmax(dim=0)
    (found,) = classifier.predict(picture, top=7)
    assert found.label == CLASSES[int(expected.argmax())]
    assert [guess.probability for guess in found.top] == pytest.approx(
        expected.sort(descending=True).values.tolist(), abs=1e-6
    )
    assert sum(guess.probability for guess in found.top) == pytest.approx(1)


def test_features_are_what_the_head_reads(classifier: Classifier) -> None:
    pictures = [noise(seed) for seed in range(5)]
    features = classifier.features(pictures)
    assert features.shape == (5, classifier.feature_dimension) == (5, 32)
    logits = classifier.model.head.classifier(features).detach()
    top = [one.index for one in classifier.predict(pictures)]
    assert logits.argmax(dim=1).tolist() == top
    assert classifier.features([]).shape == (0, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_are_asked_for_as_they_are_needed(
    classifier: Classifier, tmp_path: Path, workers: int
) -> None:
    """Memory holds some batches, however many pictures there are."""
    paths = save_photographs(tmp_path, 4)
    asked = 0

    def endless() -> Iterator[Path]:
        nonlocal asked
        while True:
            asked += 1
            yield paths[asked % len(paths)]

    outcomes = classifier.outcomes(endless(), batch_size=4, workers=workers)
    for _ in range(12):
        assert next(outcomes).prediction is not None
    assert asked <= 12 + 4 * (2 + 2 * workers)
    del outcomes


def test_workers_change_nothing(classifier: Classifier, tmp_path: Path) -> None:
    paths = save_photographs(tmp_path, 21)
    alone, together = (
        numbers(classifier.predict(paths, batch_size=4, workers=workers)) for workers in (0, 2)
    )
    assert alone == together


def test_every_kind_of_picture_is_read_and_every_bad_file_is_a_failure_in_its_place(
    classifier: Classifier, tmp_path: Path
) -> None:
    good, bad = save_readable(tmp_path / "good"), save_unreadable(tmp_path / "bad")
    mixed = [path for pair in zip(good, bad, strict=False) for path in pair]
    outcomes = list(classifier.outcomes(mixed, batch_size=4))
    assert [outcome.source for outcome in outcomes] == mixed
    for outcome in outcomes:
        assert (outcome.failure is None) == (outcome.source in good)
        assert (outcome.prediction is not None) == (outcome.source in good)
    with pytest.raises(DataFailure, match=r"bomb\.png"):
        classifier.predict(mixed)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_judged_as_it_is_seen(
    classifier: Classifier, tmp_path: Path, orientation: int
) -> None:
    """The eight ways in which a camera may have been held (EXIF)."""
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(noise(1))
    stored = upright if orientation == 1 else upright.transpose(undone[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    turned, straight = classifier.predict([tmp_path / "turned.png", tmp_path / "upright.png"])
    assert numbers([turned]) == numbers([straight])


def test_what_was_saved_is_loaded_and_gives_the_same_bits(classifier: Classifier, tmp_path: Path) -> None:
    pictures = [noise(seed) for seed in range(5)]
    classifier.save(tmp_path / "model")
    loaded = vision_transformers.load(tmp_path / "model", device="cpu")
    assert loaded.description == classifier.description
    assert numbers(loaded.predict(pictures)) == numbers(classifier.predict(pictures))
    with pytest.raises(UsageFailure, match="is there already"):
        classifier.save(tmp_path / "model")


def test_low_rank_matrices_are_merged_into_what_is_saved(tmp_path: Path) -> None:
    classifier = random_classifier()
    add_low_rank(classifier.model.transformer.layers, LowRankConfig(rank=2))
    for name, parameter in classifier.model.named_parameters():
        if is_low_rank(name):
            torch.nn.init.normal_(parameter, std=0.1)
    classifier.save(tmp_path / "model")
    found = vision_transformers.load(tmp_path / "model", device="cpu").features(noise(1))
    torch.testing.assert_close(found, classifier.features(noise(1)))


def test_a_model_that_its_description_does_not_fit_any_more_is_not_saved(tmp_path: Path) -> None:
    """Nobody could load it: told while there still is a model to mend."""
    other_head, compiled = random_classifier(), random_classifier()
    other_head.model.head.classifier = torch.nn.Linear(32, 3)
    with pytest.raises(Failure, match=r"classifier\.weight is \[3, 32\] there and \[7, 32\] in the arch"):
        other_head.save(tmp_path / "model")
    compiled.model = torch.compile(compiled.model)
    with pytest.raises(Failure, match=r"_orig_mod.* is not in the architecture"):
        compiled.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_description_of_another_model_is_refused(classifier: Classifier) -> None:
    description = classifier.description
    other = replace(description, model=replace(description.model, activation="quick-gelu"))
    with pytest.raises(Failure, match="activation is 'gelu', not 'quick-gelu'"):
        Classifier(classifier.model, other, "cpu")


def test_a_device_of_pytorch_is_a_device(tmp_path: Path) -> None:
    """A second model goes beside the first: `load(path, device=first.device)`."""
    folder = save_random_model(tmp_path / "model")
    first = vision_transformers.load(folder, device=torch.device("cpu"))
    assert vision_transformers.load(folder, device=first.device).device == first.device
    with pytest.raises(UsageFailure, match="'meta' cannot be used here"):
        vision_transformers.load(folder, device=torch.device("meta"))


def test_precision_is_what_is_asked_for(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "model")
    assert vision_transformers.load(folder, device="cpu", precision="bfloat16").precision == "bfloat16"
    assert vision_transformers.load(folder, device="cpu", precision="auto").precision == "float32"


def test_float_pixels_are_refused_with_what_to_give(classifier: Classifier) -> None:
    with pytest.raises(DataFailure, match="give 8 bits, 0 to 255"):
        classifier.predict(torch.rand(3, 16, 16))


def test_a_model_without_a_head_gives_features_only() -> None:
    classifier = random_classifier(classes=())
    with pytest.raises(UsageFailure, match="features only"):
        classifier.predict(noise(1))
    assert classifier.features(noise(1)).shape == (1, 32)


@pytest.mark.parametrize("format", ["timm", "huggingface", "torchvision"])
def test_what_is_saved_for_another_library_is_read_from_it_again(format: str, tmp_path: Path) -> None:
    classifier = random_classifier(positions="sine-cosine")
    classifier.save(tmp_path / "theirs", format=format)
    read = vision_transformers.load(tmp_path / "theirs", format=format)
    (expected,), (found,) = classifier.predict([noise(1)]), read.predict([noise(1)])
    assert found.label == expected.label
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    with pytest.raises(UsageFailure, match="format 'tim' is not known"):
        classifier.save(tmp_path / "other", format="tim")
    assert not (tmp_path / "other").exists()


def test_it_computes_in_what_its_model_is_in() -> None:
    """Also where another module stands for the model, such as one that shares out a batch."""
    classifier = random_classifier()
    (expected,) = classifier.predict(noise(1))
    classifier.model.bfloat16()
    (found,) = classifier.predict(noise(1))
    assert found.probability == pytest.approx(expected.probability, abs=0.05)
    classifier.model.float()
    classifier.model = torch.nn.Sequential(classifier.model)  # type: ignore[assignment]
    assert classifier.inputs(noise(1)).dtype == torch.float32


def test_it_moves_with_its_model_and_has_the_precision_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, torch.device]] = []

    def resolved(precision: str, device: torch.device) -> str:
        asked.append((precision, device))
        return "bfloat16"

    classifier = random_classifier()
    monkeypatch.setattr("vision_transformers.classifier.resolve_precision", resolved)
    monkeypatch.setattr("vision_transformers.classifier.resolve_device", torch.device)
    assert classifier.to("meta") is classifier
    assert classifier.device == torch.device("meta")
    assert (asked, classifier.precision) == ([("float32", torch.device("meta"))], "bfloat16")


def test_another_number_of_names_than_classes_is_told(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "model")
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"emu"', '"emu", "elk"'))
    with pytest.raises(Failure, match="7 classes, but 8 class names"):
        vision_transformers.load(folder)


def test_a_size_of_pictures_that_patches_do_not_divide_is_told_at_once(
    tmp_path: Path,
) -> None:
    """Not by a traceback, after pictures were read."""
    folder = save_random_model(tmp_path / "model")
    content = json.loads((folder / "config.json").read_text())
    content["preprocessing"]["size"] = [16, 18]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(Failure, match=r"config\.json.*width 18 is not a multiple.*the nearest are 16 or 20"):
        vision_transformers.load(folder)


def test_what_is_no_model_is_told_with_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="there is no model"):
        vision_transformers.load(tmp_path / "nothing")
    with pytest.raises(UsageFailure, match="neither a run nor a model folder"):
        vision_transformers.load(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(UsageFailure, match="is not finished"):
        vision_transformers.load(tmp_path)
