"""A file that computes something else than its classifier is found out, in any of its batches."""

import numpy as np
import pytest

from vision_transformers.errors import Failure

pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra `export`")

from vision_transformers.export.verification import Agreement, Outputs


def outputs(*rows: list[float]) -> Outputs:
    logits = np.array(rows, dtype=np.float32)
    return {"logits": logits, "features": logits}


def agreement_of(*batches: tuple[Outputs, Outputs]) -> Agreement:
    agreement = Agreement()
    for expected, found in batches:
        agreement.add(expected, found)
    return agreement


EQUAL = (outputs([1.0, 2.0]), outputs([1.0, 2.0]))


@pytest.mark.parametrize("found", [1.5, 2.5])
def test_the_largest_difference_counts_in_both_directions_and_from_every_batch(found: float) -> None:
    agreement = agreement_of((outputs([1.0, 2.0]), outputs([1.0, found])), EQUAL)
    assert agreement.differences["logits"].largest == 0.5
    with pytest.raises(Failure, match="computes something else"):
        agreement.check(0.1)
    agreement.check(0.3)


def test_what_is_not_a_number_agrees_with_nothing() -> None:
    agreement = agreement_of((outputs([1.0, 2.0]), outputs([1.0, float("nan")])), EQUAL)
    with pytest.raises(Failure, match="nan"):
        agreement.check(1.0)


def test_the_tolerance_is_a_part_of_the_largest_output() -> None:
    agreement_of((outputs([100.0, 0.0]), outputs([100.0, 0.0005]))).check(0.01)
    with pytest.raises(Failure, match="computes something else"):
        agreement_of((outputs([0.001, 0.0]), outputs([0.001, 0.0005]))).check(0.01)


def test_one_guess_too_few_is_too_few() -> None:
    wrong, right = (outputs([1.0, 0.0]), outputs([0.0, 1.0])), (outputs([1.0, 0.0]), outputs([1.0, 0.0]))
    agreement = agreement_of(wrong, right, right, right)
    assert (agreement.same_class, agreement.pictures) == (3, 4)
    agreement.check_guesses(0.75)
    with pytest.raises(Failure, match="another class for 1 of 4"):
        agreement.check_guesses(0.76)
