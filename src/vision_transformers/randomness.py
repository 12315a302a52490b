"""All randomness is a pure function of a recipe's seed and a position, never of what ran before.

So the number of loader workers changes nothing, and a run is resumed from two integers. Seeds are
derived by a hash, not by a sum: `seed + epoch` would give two runs with neighbouring seeds the same
numbers, one epoch apart.
"""

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor


def derive_seed(*position: int | str) -> int:
    """A seed of 63 bits for a position such as `(seed, "order", epoch)`; equal positions, equal seeds."""
    digest = hashlib.blake2b(repr(position).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*position: int | str) -> torch.Generator:
    """A generator on the CPU that begins at `derive_seed(*position)`."""
    return torch.Generator().manual_seed(derive_seed(*position))


def seed_everything(seed: int, device: torch.device) -> None:
    """Seeds PyTorch's own generators, from which layers draw on this device.

    On a CPU its generator alone: `torch.manual_seed` looks for all others, which takes half a millisecond.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def uniform(
    seed: int | Int[Tensor, ""], indices: Int[Tensor, " batch"], draws: int
) -> Float[Tensor, "batch draws"]:
    """Numbers in [0, 1) that depend on (seed, index, draw) alone, made on the device of `indices`.

    A counter-based generator (the finaliser of SplitMix64, Steele et al. 2014) as tensor operations:
    an image's numbers are the same in any batch, on any device, in any order.

    Args:
        seed: one for each epoch, from `derive_seed`.
        indices: the images' places in their data set.
        draws: how many numbers each image needs.
    """
    draw = torch.arange(1, draws + 1, device=indices.device)
    counter = indices[:, None] * _signed(0x9E3779B97F4A7C15) + draw * _signed(0xD1B54A32D192ED03)
    bits = _mix(_mix(counter + seed) ^ seed)
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def _mix(bits: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """SplitMix64's finaliser; 64-bit products wrap around, and shifts are made logical by a mask."""
    bits = (bits ^ _shift_right(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(0x94D049BB133111EB)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Int[Tensor, "..."], places: int) -> Int[Tensor, "..."]:
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    """The 64-bit two's complement of an unsigned number."""
    return number - (1 << 64) if number >> 63 else number
