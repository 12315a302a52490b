"""Labels that somebody got wrong are found among real ones."""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from vision_transformers.evaluation.label_errors import find_label_errors


def test_labels_that_were_changed_on_purpose_come_first() -> None:
    digits = load_digits()
    random = torch.Generator().manual_seed(0)
    true = torch.from_numpy(digits.target).long()
    labels = true.clone()
    changed = torch.randperm(len(labels), generator=random)[:60]
    labels[changed] = (labels[changed] + torch.randint(1, 10, (60,), generator=random)) % 10
    classifier = LogisticRegression(max_iter=200)
    probabilities = cross_val_predict(
        classifier, digits.data / 16, labels.numpy(), cv=4, method="predict_proba"
    )
    errors = find_label_errors(torch.from_numpy(probabilities), labels)
    assert torch.isin(errors.places[:40], changed).float().mean() > 0.9
    assert torch.isin(changed, errors.places).float().mean() > 0.75
    assert (errors.likely[:40] == true[errors.places[:40]]).float().mean() > 0.9
    assert (errors.likely != labels[errors.places]).all()


def test_a_class_without_images_and_a_certain_model_are_no_trouble() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.05, 0.95, 0.0], [0.1, 0.9, 0.0]])
    assert find_label_errors(probabilities, torch.tensor([0, 1, 1])).places.tolist() == []
    assert find_label_errors(probabilities, torch.tensor([0, 0, 1])).places.tolist() == [1]


def test_the_likeliest_error_has_the_least_normalised_margin() -> None:
    """Neither the least probability of its own label alone, nor the largest of another class."""
    probabilities = torch.tensor(
        [
            [0.05, 0.48, 0.47],
            [0.2, 0.7, 0.1],
            [0.29, 0.71, 0.0],
            [0.9, 0.1, 0.0],
            [0.2, 0.4, 0.4],
            [0.1, 0.1, 0.8],
        ]
    )
    labels = torch.tensor([0, 0, 0, 0, 1, 2])
    assert find_label_errors(probabilities, labels).places.tolist() == [1, 0, 2]  # -0.50, -0.43, -0.42


def test_a_model_that_is_certain_of_everything_still_shows_the_wrong_label() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    errors = find_label_errors(probabilities, torch.tensor([0, 0, 1, 1]))
    assert errors.places.tolist() == [1]
    assert errors.likely.tolist() == [1]


def test_a_guess_less_sure_than_its_class_is_on_average_accuses_no_label() -> None:
    """Class 1 is given 0.8 on average to its own images; an image of class 0 is given 0.7."""
    probabilities = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.1, 0.9], [0.3, 0.7]])
    assert find_label_errors(probabilities, torch.tensor([0, 0, 1, 1])).places.tolist() == []
