"""The parts of the transformer, each used alone as a reader of the paper would."""

import pytest
import torch

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.encoder import Encoder
from vision_transformers.model.feed_forward import FeedForward, QuickGELU, SwiGLU
from vision_transformers.model.residual import LayerScale, StochasticDepth
from vision_transformers.model.scaled_dot_product import attention_weights
from vision_transformers.model.transformer import Transformer


def test_attention_weights_are_the_softmax_of_scaled_scores():
    queries, keys = torch.randn(2, 3, 4, 8).double(), torch.randn(2, 3, 5, 8).double()
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys) / 8**0.5
    expected = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    torch.testing.assert_close(attention_weights(queries, keys), expected)


def test_attention_weights_keep_the_graph():
    """Else explanations could not take gradients with respect to attention without hooks."""
    output, weights = MultiHeadAttention(8, 2)(torch.randn(1, 4, 8), need_weights=True)
    (gradient,) = torch.autograd.grad(output.sum(), weights)
    assert gradient.abs().sum() > 0


def test_fused_attention_gives_no_weights():
    assert MultiHeadAttention(8, 2)(torch.randn(1, 4, 8))[1] is None


@pytest.mark.parametrize("need_weights", [False, True], ids=["fused", "explicit"])
def test_attention_drops_weights_in_training_only(need_weights):
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    sequence = torch.randn(1, 6, 8)
    assert not torch.equal(attention(sequence, need_weights)[0], attention(sequence, need_weights)[0])
    attention.eval()
    assert torch.equal(attention(sequence, need_weights)[0], attention(sequence, need_weights)[0])


@pytest.mark.parametrize("kind", [Encoder, Transformer, MultiHeadAttention])
def test_heads_that_do_not_divide_the_width_are_refused(kind):
    sizes = {Encoder: (8, 16, 3), Transformer: (8, 16, 2, 3), MultiHeadAttention: (8, 3)}[kind]
    with pytest.raises(ValueError, match="number_of_heads is 3, which does not divide 8"):
        kind(*sizes)


def test_an_encoder_gives_its_output_and_weights_only_if_they_are_needed():
    encoder = Encoder(8, 16, 2).eval()
    sequence = torch.randn(3, 5, 8)
    output, weights = encoder(sequence)
    assert output.shape == sequence.shape
    assert weights is None
    same_output, weights = encoder(sequence, need_weights=True)
    assert weights.shape == (3, 2, 5, 5)
    torch.testing.assert_close(same_output, output)


def test_an_encoder_is_two_residual_lines():
    """Equations 2 and 3 of the paper, written out."""
    encoder = Encoder(8, 16, 2).eval()
    sequence = torch.randn(3, 5, 8)
    attended = sequence + encoder.attention(encoder.attention_normalization(sequence))[0]
    expected = attended + encoder.feed_forward(encoder.feed_forward_normalization(attended))
    assert torch.equal(encoder(sequence)[0], expected)


def test_need_weights_reaches_every_layer():
    """The fault of the project this one began from: it asked for weights and always got None."""
    transformer = Transformer(8, 16, number_of_layers=3, number_of_heads=2)
    _, weights = transformer(torch.randn(3, 5, 8), need_weights=True)
    assert [layer.shape for layer in weights] == [(3, 2, 5, 5)] * 3
    _, weights = transformer(torch.randn(3, 5, 8))
    assert weights == [None] * 3


def test_a_transformer_ends_with_a_layer_norm():
    output, _ = Transformer(8, 16, 2, 2)(torch.randn(3, 5, 8))
    torch.testing.assert_close(output.mean(dim=-1), torch.zeros(3, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.std(dim=-1, correction=0), torch.ones(3, 5), rtol=0, atol=1e-3)


def test_a_feed_forward_network_works_on_each_token_by_itself():
    for network in (FeedForward(8, 16), SwiGLU(8, 16)):
        sequence = torch.randn(3, 5, 8)
        torch.testing.assert_close(network(sequence)[:, 2], network(sequence[:, 2]))


def test_swiglu_gates_with_the_first_half():
    """Else checkpoints that have gate and up in one matrix would be read the wrong way round."""
    network = SwiGLU(8, 16)
    sequence = torch.randn(3, 8)
    gate, up = network.gate_up_layer(sequence).split(16, dim=-1)
    torch.testing.assert_close(network(sequence), network.output_layer(gate * gate.sigmoid() * up))


def test_quick_gelu_is_the_formula_of_clip():
    numbers = torch.linspace(-4, 4, 9)
    assert torch.equal(QuickGELU()(numbers), numbers * torch.sigmoid(1.702 * numbers))


def test_layer_scale_begins_at_the_value_asked_for():
    assert torch.equal(LayerScale(3, 0.25)(torch.ones(2, 4, 3)), torch.full((2, 4, 3), 0.25))


def test_stochastic_depth_drops_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    dropped = StochasticDepth(0.25)(torch.ones(4000, 2, 3))
    assert all(image.unique().numel() == 1 for image in dropped[:50])
    torch.testing.assert_close(dropped[:, 0, 0].unique(), torch.tensor([0, 1 / 0.75]))
    assert abs(dropped.mean().item() - 1) < 0.05


def test_stochastic_depth_does_nothing_in_evaluation():
    branch = torch.randn(4, 2, 3)
    assert torch.equal(StochasticDepth(0.9).eval()(branch), branch)
