"""Which optimizer changes which parameter, and the state of all of them as named tensors."""

import torch
from torch import Tensor, nn

from vision_transformers.training.recipe import Optimizer


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
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )
        self.parts: list[torch.optim.Optimizer] = [adamw]
        if matrices:
            muon = torch.optim.Muon(
                matrices,
                lr=config.muon_learning_rate,
                weight_decay=config.muon_weight_decay,
                momentum=config.muon_momentum,
            )
            self.parts.append(muon)
        self.peaks = [part.param_groups[0]["lr"] for part in self.parts]

    def step(self, rate: float) -> None:
        """Changes the parameters at `rate` of the peak learning rates, then forgets the gradients."""
        for part, peak in zip(self.parts, self.peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * rate
            part.step()
            part.zero_grad()

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


def _copy(value: Tensor, device: torch.device) -> Tensor:
    return torch.empty_like(value, device=device).copy_(value)


def _divide(
    model: nn.Module, config: Optimizer
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices for Muon; then, for AdamW, what decays and what does not.

    Weights of linear layers and convolutions decay; norms, biases, learned tokens and positions do not.
    """
    muon, decayed, others = [], [], []
    for module_name, module in model.named_modules():
        is_layer = isinstance(module, nn.Linear | nn.Conv2d)
        for name, parameter in module.named_parameters(recurse=False):
            if not (is_layer and name == "weight"):
                others.append(parameter)
            elif config.name == "muon" and module_name.startswith("transformer.layers."):
                muon.append(parameter)
            else:
                decayed.append(parameter)
    return muon, decayed, others
