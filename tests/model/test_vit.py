import copy
import inspect
import subprocess
import sys

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from vision_transformers.model.config import ViTConfig
from vision_transformers.model.head import ClassificationHead
from vision_transformers.model.presets import preset
from vision_transformers.model.vit import ViT


def test_the_signature_is_the_one_that_is_documented():
    """Positional calls in people's programs depend on names, order and defaults."""
    parameters = list(inspect.signature(ViT.__init__).parameters.values())[1:]
    assert [parameter.name for parameter in parameters] == [
        "patch_shape",
        "model_dimension",
        "number_of_layers",
        "number_of_heads",
        "hidden_dimension",
        "number_of_channels",
        "number_of_classes",
        "max_image_shape",
        "dropout",
        "options",
    ]
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    assert defaults == {"max_image_shape": (28, 28), "dropout": 0.0}
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


def test_positional_arguments_go_where_their_names_say():
    model = ViT((4, 7), 16, 2, 4, 24, 3, 5, (16, 28), 0.1)
    assert model.config == ViTConfig(
        patch_shape=(4, 7),
        model_dimension=16,
        number_of_layers=2,
        number_of_heads=4,
        hidden_dimension=24,
        number_of_channels=3,
        number_of_classes=5,
        max_image_shape=(16, 28),
        dropout=0.1,
    )
    assert model(torch.randn(3, 3, 16, 28)).shape == (3, 5)


def test_the_default_model_is_for_digits_of_28_pixels():
    assert ViT((7, 7), 16, 1, 2, 24, 1, 10)(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_need_weights_gives_logits_and_one_tensor_a_layer():
    model = ViT((4, 4), 16, 3, 2, 24, 1, 5, (8, 12))
    logits, weights = model(torch.randn(2, 1, 8, 12), need_weights=True)
    assert logits.shape == (2, 5)
    assert [layer.shape for layer in weights] == [(2, 2, 7, 7)] * 3


@pytest.mark.parametrize("positions", ["learnable", "sine-cosine", "rotary", "none"])
def test_added_positions_are_what_is_added(positions):
    model = ViT((4, 4), 16, 1, 2, 24, 1, 5, (8, 12), positions=positions).double()
    sequence = torch.randn(2, 7, 16, dtype=torch.float64)
    table = model.added_positions((2, 3))
    assert table.shape == (1, 7, 16)
    assert torch.equal(sequence + table, model.positions(sequence, (2, 3)))


@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "number_of_register_tokens": 2}], ids=str)
def test_the_tokens_after_each_layer_are_what_that_layer_gives(options):
    """As segmentation and detection read several layers; timm calls them intermediate layers."""
    model, images = ViT((4, 4), 16, 3, 2, 24, 1, 5, (8, 12), **options), torch.randn(2, 1, 8, 12)
    given = []
    for layer in model.transformer.layers:
        layer.register_forward_hook(lambda _layer, _inputs, outputs: given.append(outputs[0]))
    states = model.states(images)
    assert all(map(torch.equal, states, given))
    assert [state.shape for state in states] == [(2, model.number_of_prefix_tokens + 6, 16)] * 3
    assert torch.equal(model.transformer.normalization(states[-1]), model.encode(images)[0])


@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "number_of_register_tokens": 2}], ids=str)
def test_feature_maps_have_the_patches_of_those_layers_in_their_places(options):
    model, images = ViT((4, 4), 16, 3, 2, 24, 1, 5, (8, 12), **options), torch.randn(2, 1, 8, 12)
    last, first = model.feature_maps(images, layers=(-1, 0))
    assert first.shape == last.shape == (2, 16, 2, 3)
    tokens = model.encode(images)[0]
    assert torch.equal(last[:, :, 1, 2], tokens[:, -1])
    assert torch.equal(last[:, :, 0, 0], tokens[:, model.number_of_prefix_tokens])
    normalised = model.transformer.normalization(model.states(images)[0])
    assert torch.equal(first[:, :, 0, 1], normalised[:, model.number_of_prefix_tokens + 1])


def test_layers_after_the_last_that_is_taken_are_not_computed():
    model = ViT((4, 4), 16, 3, 2, 24, 1, 5, (8, 12))
    model.transformer.layers[2] = nn.Linear(1, 1)  # would fail
    states = model.transformer.states(torch.randn(2, 7, 16), weights_of=[1])
    assert next(states)[1] is None
    assert next(states)[1].shape == (2, 2, 7, 7)


def test_an_unknown_option_names_the_nearest():
    """A misspelt option that is swallowed trains another model than the one asked for."""
    with pytest.raises(TypeError, match="no option 'layer_scal': did you mean 'layer_scale'"):
        ViT((4, 4), 16, 1, 2, 24, 1, 5, layer_scal=1.0)
    with pytest.raises(TypeError, match="no option 'image_shape': did you mean 'max_image_shape'"):
        preset("ViT-S/16", image_shape=(384, 384))


def test_a_model_is_made_again_from_its_config():
    model = ViT((4, 4), 16, 1, 2, 24, 1, 5, layer_scale=0.1, number_of_register_tokens=2, positions="rotary")
    again = ViT.from_config(model.config)
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    image = torch.randn(2, 1, 28, 28)
    assert torch.equal(again(image), model(image))


def test_the_layout_of_the_sequence_is_asked_of_the_model():
    """To guess it from a square root fails for registers and for images that are not square."""
    model = ViT((4, 4), 16, 1, 2, 24, 1, 5, (8, 12), number_of_register_tokens=3, distillation_token=True)
    image = torch.randn(2, 1, 12, 20)
    assert model.number_of_prefix_tokens == 5
    assert model.grid(image) == (3, 5)
    assert model.features(image)[0].shape == (2, 5 + 3 * 5, 16)


@pytest.mark.parametrize("positions", ["learnable", "sine-cosine", "rotary", "none"])
@pytest.mark.parametrize("extractor", ["linear", "convolutional"])
def test_an_image_that_the_patch_does_not_divide_is_refused_with_the_nearest_sizes(positions, extractor):
    model = ViT((4, 4), 16, 1, 2, 24, 1, 5, positions=positions, patch_extractor=extractor)
    with pytest.raises(ValueError, match=r"height 30 .* the nearest are 28 or 32"):
        model(torch.randn(1, 1, 30, 28))


def test_images_that_are_no_batch_or_no_floats_are_refused_in_words() -> None:
    """In a process of its own, for here the signatures are checked before."""
    code = """
import torch, vision_transformers
model = vision_transformers.ViT((7, 7), 16, 1, 2, 24, 1, 5)
for image in (torch.randn(1, 28, 28), torch.zeros(2, 1, 28, 28, dtype=torch.uint8)):
    try:
        model(image)
    except ValueError as error:
        print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "the shape (1, 28, 28): expected (batch, channels, height, width)" in told
    assert "torch.uint8: expected floats" in told


def test_positions_distinguish_images_with_the_same_patches():
    """A model without positions cannot tell a picture from its shuffled patches; with them it must."""
    image = torch.randn(1, 1, 28, 28)
    for positions in ("learnable", "sine-cosine", "sine-cosine-mae", "rotary", "none"):
        model = ViT((4, 4), 16, 2, 2, 24, 1, 5, positions=positions).eval()
        moved = model.encode(image.roll(4, dims=2))[0][:, 0]
        difference = (model.encode(image)[0][:, 0] - moved).abs().max()
        assert (difference < 1e-5) == (positions == "none"), positions


@pytest.mark.parametrize(
    ("options", "read"),
    [
        ({}, 1),
        ({"distillation_token": True}, 2),
        ({"positions": "rotary", "number_of_register_tokens": 2}, 1),
        ({"activation": "swiglu", "layer_scale": 0.1, "query_key_normalization": True}, 1),
        ({"pool": "class-mean"}, None),
        ({"pool": "attention", "class_token": False}, None),
    ],
)
@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_leaving_out_what_the_head_does_not_read_changes_neither_logits_nor_gradients(
    options, read, precision
):
    torch.manual_seed(0)
    model = ViT((4, 4), 16, 3, 2, 24, 1, 5, (8, 12), **options).to(precision)
    torch.nn.init.normal_(model.head.classifier.weight)
    images = torch.randn(3, 1, 8, 12, dtype=precision)
    assert model.tokens_read == read
    tolerance = 0.04 if precision == torch.bfloat16 else 1e-10  # bfloat16 rounds in another order
    sequence, _ = model.encode(images)
    pairs = []
    for logits in (model.head(sequence), model(images)):
        model.zero_grad()
        logits.square().sum().backward()
        pairs.append({"logits": logits} | {name: p.grad for name, p in model.named_parameters()})
    for name, whole in pairs[0].items():
        # A bias of keys changes nothing, so that its gradient is what rounding leaves of it.
        difference = (pairs[1][name] - whole).detach().double().abs().max()
        assert difference <= tolerance * max(float(whole.detach().double().abs().max()), 1e-3), name
    assert model.encode(images, number_of_queries=1)[0].shape == (3, 1, 16)


@pytest.mark.parametrize(
    "place", ["transformer", "transformer.layers.1", "transformer.layers.1.feed_forward", "head.pool"]
)
def test_whoever_watches_what_comes_of_the_last_layer_sees_every_token(place):
    """Class activation maps and feature extractors hook modules, and reckon with all tokens."""
    model = ViT((4, 4), 16, 2, 2, 24, 1, 5, (8, 12)).eval()
    images = torch.randn(2, 1, 8, 12)
    expected, seen = model(images), []
    handle = model.get_submodule(place).register_forward_hook(
        lambda _module, given, _output: seen.append(given[0].shape)
    )
    torch.testing.assert_close(model(images), expected)
    assert seen == [(2, 7, 16)]
    handle.remove()
    assert model.tokens_read == 1


def test_a_last_layer_is_not_taken_for_a_head() -> None:
    """As timm and torchvision have it: logits of each token would be compared with an image's label."""
    model = ViT((4, 4), 16, 2, 2, 24, 3, 5, (8, 12))
    with pytest.raises(TypeError, match=r"replace model\.head\.classifier, or call model\.reset_classifier"):
        model.head = torch.nn.Linear(16, 3)
    model.head.classifier = torch.nn.Linear(16, 3)
    assert model(torch.randn(2, 3, 8, 12)).shape == (2, 3)


def test_somebody_elses_head_gets_every_token():
    model = ViT((4, 4), 16, 2, 2, 24, 1, 5, (8, 12))
    model.head = torch.nn.Flatten()
    assert model(torch.randn(2, 1, 8, 12)).shape == (2, 7 * 16)
    assert model.encode(torch.randn(2, 1, 8, 12))[0].shape == (2, 7, 16)


class ReadsAll(ClassificationHead):
    """A subclass that reads more than the class that it comes from."""

    def pooled(self, sequence):
        return sequence.mean(1)


def test_a_head_of_another_class_gets_every_token():
    model = ViT((4, 4), 16, 2, 2, 24, 1, 5, (8, 12)).eval()
    images = torch.randn(2, 1, 8, 12)
    tokens, _ = model.features(images)
    model.head = ReadsAll(16, 0)
    torch.testing.assert_close(model(images), tokens.mean(1))


@pytest.mark.filterwarnings(
    "ignore:.*torch.ao.quantization:DeprecationWarning", "ignore:.*quantize_per_tensor"
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_token": False, "positions": "none", "pool": "attention"},
        {"patch_extractor": "stem", "activation": "swiglu", "positions": "rotary", "key_bias": False},
    ],
    ids=str,
)
def test_linear_layers_may_be_quantised(options, monkeypatch):
    """By PyTorch's own tool; every faster way is then left, and nothing is rounded to integers on the way."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # nobody else's class is in a signature
    torch.manual_seed(0)
    model = ViT((4, 4), 32, 2, 2, 64, 3, 5, (16, 16), **options).eval()
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = model(images)
        quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
        assert not any(type(module) is nn.Linear for module in quantised.modules())
        found = quantised(images), quantised(images, need_weights=True)[0]
    assert all((logits - expected).abs().max() < 0.2 * expected.std() for logits in found)


def test_integer_weights_do_not_make_integers_of_tokens():
    """Some libraries hold weights as int8 parameters of a layer of their own."""

    class Int8Linear(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.scale = nn.Parameter(layer.weight.detach().abs().max() / 127, requires_grad=False)
            self.weight = nn.Parameter(
                (layer.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False
            )

        def forward(self, input):
            return torch.nn.functional.linear(input, self.weight * self.scale)

    model = ViT((4, 4), 32, 1, 2, 64, 3, 5, (16, 16), class_token=False, pool="mean", positions="none")
    images = torch.randn(3, 3, 16, 16)
    expected = model(images)
    model.patches.projector = Int8Linear(model.patches.projector)
    assert (model(images) - expected).abs().max() < 0.1 * expected.std()


def test_logits_beside_features_are_those_of_the_head_that_is_there() -> None:
    """With hooks on it, of a class of one's own, or somebody's."""

    class Colder(ClassificationHead):
        def forward(self, sequence: Tensor) -> Tensor:
            return super().forward(sequence) / 2

    class Theirs(nn.Module):
        tokens_read = None

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def pooled(self, sequence: Tensor) -> Tensor:
            return sequence.mean(dim=1)

        def forward(self, sequence: Tensor) -> Tensor:
            return self.layer(self.pooled(sequence))

    images = torch.randn(2, 3, 8, 8)
    for head in (None, Colder(16, 5), Theirs()):
        model = ViT((4, 4), 16, 2, 2, 24, 3, 5, (8, 8)).eval()
        if head is not None:
            model.head = head
        else:
            model.head.register_forward_hook(lambda *called: called[2] + 1)
        logits, _ = model.logits_and_features(images)
        torch.testing.assert_close(logits, model(images))


def test_a_replica_that_names_no_parameters_computes_the_same() -> None:
    """As those of `torch.nn.DataParallel`: their weights are plain attributes."""
    model = ViT((4, 4), 16, 2, 2, 24, 3, 5, (8, 8)).eval()
    replica = copy.deepcopy(model)
    for module in replica.modules():
        for name, parameter in list(module._parameters.items()):
            del module._parameters[name]
            setattr(module, name, None if parameter is None else parameter.detach())
    images = torch.randn(2, 3, 8, 8)
    assert list(replica.parameters()) == []
    torch.testing.assert_close(replica(images), model(images))
