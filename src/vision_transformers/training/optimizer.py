"""Which optimizer changes which parameter, and the state of all of them as named tensors."""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from vision_transformers.runtime.recording import Recording
from vision_transformers.training.muon import Muon
from vision_transformers.training.recipe import Optimizer

IN_HEAD = sys.maxsize


class Optimizers:
    """Muon on the matrices of the blocks where asked for, AdamW on the rest, stepped as one.

    Args:
        model: its parameters are changed in place.
        config: names, rates and decays.
    """

    def __init__(self, model: nn.Module, config: Optimizer) -> None:
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        matrices, decayed, others = _divide(model, config)
        adamw = torch.optim.AdamW(
            [
                *self._by_depth(decayed, config.learning_rate, config, weight_decay=config.weight_decay),
                *self._by_depth(others, config.learning_rate, config, weight_decay=0.0),
            ],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
            capturable=next(model.parameters()).is_cuda,
        )
        self.parts: list[torch.optim.Optimizer] = [adamw]
        if matrices:
            muon = Muon(
                self._by_depth(matrices, config.muon_learning_rate, config),
                lr=config.muon_learning_rate,
                weight_decay=config.muon_weight_decay,
                momentum=config.muon_momentum,
            )
            self.parts.append(muon)
        self.groups = [group for part in self.parts for group in part.param_groups]
        self.peaks = [group["lr"] for group in self.groups]
        device = next(model.parameters()).device
        self.on_gpu = RatesOnGPU(self.groups, device) if device.type == "cuda" else None
        # It is right where nothing is recorded, too, and there is nothing that a person could change.
        adamw._warned_capturable_if_run_uncaptured = True

    def step(self, rate: float, record: bool = False) -> None:
        """Changes the parameters; the gradients stay, for the caller to forget.

        Args:
            rate: the part of the peak learning rates, 0 to 1.
            record: whether, on a GPU, to record the step and replay it: from then on gradients must be in the
                same places in memory.
        """
        if self.on_gpu is None:
            for group, peak in zip(self.groups, self.peaks, strict=True):
                group["lr"] = peak * rate
        else:
            self.on_gpu.set(rate)
        if self.on_gpu is not None and record:
            self.on_gpu.recording(self._take)
        else:
            self._take()

    def _take(self) -> None:
        for part in self.parts:
            part.step()

    def _by_depth(
        self, parameters: list[nn.Parameter], peak: float, config: Optimizer, **options: float
    ) -> list[dict[str, Any]]:
        """Groups with the peak learning rate of their depth; one group where that is the same for all."""
        if config.layer_decay == 1 or not parameters:
            return [{"params": parameters, "lr": peak, **options}]
        depths = {parameter: depth(name) for parameter, name in self.names.items()}
        head = 1 + max(value for value in depths.values() if value != IN_HEAD)
        grouped: dict[int, list[nn.Parameter]] = {}
        for parameter in parameters:
            grouped.setdefault(min(depths[parameter], head), []).append(parameter)
        return [
            {"params": members, "lr": peak * config.layer_decay ** (head - level), **options}
            for level, members in sorted(grouped.items())
        ]

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state, named `<parameter>/<what it is>`."""
        return {
            f"{self.names[parameter]}/{key}": value
            for part in self.parts
            for parameter, values in part.state.items()
            for key, value in values.items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes a state back, bit for bit, into memory of its own.

        Tensors read from a file need not be aligned as PyTorch's own are, and kernels may sum in an order
        that depends on it: so each is copied.
        """
        for part in self.parts:
            for group in part.param_groups:
                for parameter in group["params"]:
                    prefix = f"{self.names[parameter]}/"
                    part.state[parameter] = {
                        name.removeprefix(prefix): _copy(value, parameter.device)
                        for name, value in state.items()
                        if name.startswith(prefix)
                    }


class RatesOnGPU:
    """Learning rates where a recorded step reads them anew each time, and its recording.

    Args:
        groups: of parameters; each gets its rate as a number on the GPU.
        device: the GPU.
    """

    def __init__(self, groups: list[dict[str, Any]], device: torch.device) -> None:
        self.peaks = torch.tensor([group["lr"] for group in groups], device=device)
        self.rates = self.peaks.clone()
        for group, rate in zip(groups, self.rates.unbind(), strict=True):
            group["lr"] = rate
        self.recording = Recording(device)

    def set(self, rate: float) -> None:
        """Each to this part of its peak."""
        torch.mul(self.peaks, rate, out=self.rates)


def depth(name: str) -> int:
    """How many layers lie below a parameter: 0 for patches, tokens, positions; `IN_HEAD` after the last."""
    if name.startswith("transformer.layers."):
        return int(name.split(".")[2]) + 1
    return IN_HEAD if name.startswith(("head.", "transformer.normalization.")) else 0


def _copy(value: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(value, device=device).copy_(value)


def _divide(
    model: nn.Module, config: Optimizer
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices for Muon; then, for AdamW, what decays and what does not.

    Weights of linear layers and convolutions decay; norms, biases, learned tokens and positions do not. What
    is frozen is in none of them.
    """
    muon, decayed, others = [], [], []
    for module_name, module in model.named_modules():
        is_layer = isinstance(module, nn.Linear | nn.Conv2d)
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if not (is_layer and name == "weight"):
                others.append(parameter)
            elif config.name == "muon" and module_name.startswith("transformer.layers."):
                muon.append(parameter)
            else:
                decayed.append(parameter)
    return muon, decayed, others
