"""Positions that are added to the tokens: E_pos of Equation 1, learned or computed."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vision_transformers.model import initialization
from vision_transformers.model.config import PositionResize
from vision_transformers.model.position_resize import resize_positions


class LearnablePositionalEncoding(nn.Module):
    """One learned vector for each position (section 3.1, Equation 1).

    Args:
        model_dimension: width of a token.
        sequence_length_limit: positions of patches.
        number_of_prefix_positions: further positions, for prefix tokens, before those of the patches.
        grid: rows and columns of the patches' positions, for `forward` with a grid.
        number_of_prefix_tokens: prefix tokens in the sequence, if more than have a position.
        resize: the rule for another grid.

    Raises:
        ValueError: the grid has another number of patches than of positions, or there are fewer prefix tokens
            than positions for them.
    """

    def __init__(
        self,
        model_dimension: int,
        sequence_length_limit: int = 196,
        number_of_prefix_positions: int = 1,
        *,
        grid: tuple[int, int] | None = None,
        number_of_prefix_tokens: int | None = None,
        resize: PositionResize = "bicubic-antialias",
    ) -> None:
        super().__init__()
        self.number_of_prefix_positions = number_of_prefix_positions
        prefix_tokens = (
            number_of_prefix_positions if number_of_prefix_tokens is None else number_of_prefix_tokens
        )
        if prefix_tokens < number_of_prefix_positions:
            raise ValueError(
                f"number_of_prefix_tokens is {prefix_tokens}: expected {number_of_prefix_positions} or more, "
                "as many as have a position"
            )
        if grid is not None and grid[0] * grid[1] != sequence_length_limit:
            raise ValueError(
                f"sequence_length_limit is {sequence_length_limit}: a grid of {grid[0]} x {grid[1]} patches "
                f"needs {grid[0] * grid[1]}"
            )
        self.prefix_tokens_without_position = prefix_tokens - number_of_prefix_positions
        self.grid = grid
        self.resize: PositionResize = resize
        self.position_embeddings = nn.Parameter(
            torch.empty(1, number_of_prefix_positions + sequence_length_limit, model_dimension)
        )
        initialization.token_(self.position_embeddings)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"], grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """Adds the positions of a grid of patches; without a grid, adds the first rows of the table.

        Raises:
            ValueError: without a grid, the sequence is longer than the table.
        """
        if grid is not None:
            return sequence + self.positions(grid)
        length, limit = sequence.shape[1], self.position_embeddings.shape[1]
        if length > limit:
            raise ValueError(f"the sequence has {length} tokens, more than the {limit} learned positions")
        return sequence + self.position_embeddings[:, :length]

    def positions(self, grid: tuple[int, int]) -> Float[Tensor, "1 tokens model_dimension"]:
        """What is added to prefix tokens and patches, resized in two dimensions if the grid is another.

        Prefix rows stay as they are; a prefix token without a position gets zeros.

        Raises:
            ValueError: the table was made without a grid.
        """
        if self.grid is None:
            raise ValueError(
                "these positions were made without a grid: give grid=(rows, columns) when making them"
            )
        is_resized = self._is_left_open(grid) or grid != self.grid
        if not is_resized and not self.prefix_tokens_without_position:
            return self.position_embeddings
        prefix = self.position_embeddings[:, : self.number_of_prefix_positions]
        patches = self.position_embeddings[:, self.number_of_prefix_positions :]
        if is_resized:
            patches = resize_positions(patches, self.grid, grid, self.resize)
        return torch.cat([prefix, F.pad(patches, (0, 0, self.prefix_tokens_without_position, 0))], dim=1)

    def _is_left_open(self, grid: tuple[int, int]) -> bool:
        """Whether an exported program is to take any grid: then it always resizes, to the table's own, too.

        Not by DINOv2's rule, which changes positions even then: where the example has the table's own grid,
        the program takes no other.
        """
        return self.resize != "bicubic-offset" and any(isinstance(size, torch.SymInt) for size in grid)


class SineCosinePositionalEncoding(nn.Module):
    """Computed positions of patches in two dimensions; prefix tokens get none.

    A patch in row y and column x has [sin(xw), cos(xw), sin(yw), cos(yw)], for model_dimension / 4
    frequencies w from 1 down to 1/10000. Two tables are in use: "better plain ViT baselines"
    (arXiv 2205.01580) has 1/10000 itself as the last frequency, MAE (arXiv 2111.06377) stops one before.

    Args:
        model_dimension: width of a token; 4 divides it.
        number_of_prefix_tokens: prefix tokens in the sequence.
        include_last_frequency: whether 1/10000 is the last frequency or the one after it.
    """

    def __init__(
        self, model_dimension: int, number_of_prefix_tokens: int, *, include_last_frequency: bool = True
    ) -> None:
        super().__init__()
        self.number_of_prefix_tokens = number_of_prefix_tokens
        self.number_of_frequencies = model_dimension // 4
        self.frequency_steps = self.number_of_frequencies - (1 if include_last_frequency else 0)

    def forward(
        self, sequence: Float[Tensor, "batch tokens model_dimension"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """Adds the positions of a grid of patches."""
        return sequence + self.positions(grid, sequence.device).to(sequence.dtype)

    def positions(
        self, grid: tuple[int, int], device: torch.device
    ) -> Float[Tensor, "1 tokens model_dimension"]:
        """What is added to prefix tokens (zeros) and patches."""
        steps = torch.arange(self.number_of_frequencies, dtype=torch.float32, device=device)
        frequencies = 10000.0 ** (-steps / self.frequency_steps)
        rows, columns = (torch.arange(size, dtype=torch.float32, device=device) for size in grid)
        vertical = (rows[:, None] * frequencies).repeat_interleave(grid[1], dim=0)
        horizontal = (columns[:, None] * frequencies).repeat(grid[0], 1)
        table = torch.cat([horizontal.sin(), horizontal.cos(), vertical.sin(), vertical.cos()], dim=1)
        return F.pad(table, (0, 0, self.number_of_prefix_tokens, 0))[None]


class NoPositionalEncoding(nn.Module):
    """For a model without added positions: none at all, or rotary ones inside the attention."""

    def forward(
        self,
        sequence: Float[Tensor, "batch tokens model_dimension"],
        grid: tuple[int, int],  # noqa: ARG002 - every positional encoding is called alike
    ) -> Float[Tensor, "batch tokens model_dimension"]:
        """The sequence as it is."""
        return sequence
