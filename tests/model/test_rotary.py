import numpy as np
import torch

from vision_transformers.model.rotary import RotaryPositions, rotate

HEAD_DIMENSION = 16
GRID = (3, 5)


def rotated(vectors: np.ndarray, base: float) -> np.ndarray:
    """DINOv3's formula for (patches, head_dimension), in float64 and plain loops."""
    result = np.empty_like(vectors)
    half, quarter = HEAD_DIMENSION // 2, HEAD_DIMENSION // 4
    periods = [base ** (2 * k / half) for k in range(quarter)]
    for patch, vector in enumerate(vectors):
        row, column = divmod(patch, GRID[1])
        y = 2 * (row + 0.5) / GRID[0] - 1
        x = 2 * (column + 0.5) / GRID[1] - 1
        angles = [2 * np.pi * y / period for period in periods] + [
            2 * np.pi * x / period for period in periods
        ]
        for k, angle in enumerate(angles):
            first, second = vector[k], vector[k + half]
            result[patch, k] = first * np.cos(angle) - second * np.sin(angle)
            result[patch, k + half] = second * np.cos(angle) + first * np.sin(angle)
    return result


def test_rotation_is_dinov3s_formula():
    """To rotate pairs instead of halves runs without an error and ruins DINOv3's features."""
    vectors = torch.randn(2, 3, 15, HEAD_DIMENSION)
    rotation = RotaryPositions(HEAD_DIMENSION, base=100.0)(GRID, vectors.device)
    ours = rotate(vectors, rotation).numpy()
    for image in range(2):
        for head in range(3):
            expected = rotated(vectors[image, head].double().numpy(), 100.0)
            np.testing.assert_allclose(ours[image, head], expected, rtol=0, atol=1e-5)


def test_prefix_tokens_are_not_rotated():
    vectors = torch.randn(2, 3, 4 + 15, HEAD_DIMENSION)
    rotation = RotaryPositions(HEAD_DIMENSION)(GRID, vectors.device)
    ours = rotate(vectors, rotation)
    assert torch.equal(ours[:, :, :4], vectors[:, :, :4])
    assert torch.equal(ours[:, :, 4:], rotate(vectors[:, :, 4:], rotation))


def test_rotation_keeps_lengths_and_data_type():
    vectors = torch.randn(2, 3, 15, HEAD_DIMENSION)
    rotation = RotaryPositions(HEAD_DIMENSION)(GRID, vectors.device)
    torch.testing.assert_close(rotate(vectors, rotation).norm(dim=-1), vectors.norm(dim=-1))
    assert rotate(vectors.bfloat16(), rotation).dtype == torch.bfloat16


def test_without_rotation_nothing_changes():
    vectors = torch.randn(2, 3, 15, HEAD_DIMENSION)
    assert rotate(vectors, None) is vectors
