"""From a `ViTConfig` to the parts of the model: every option is a choice made here, none in a forward."""

from collections.abc import Callable
from functools import partial

from torch import nn

from vision_transformers.model.attention import MultiHeadAttention
from vision_transformers.model.config import Activation, ViTConfig
from vision_transformers.model.encoder import Encoder
from vision_transformers.model.feed_forward import FeedForward, QuickGELU, SwiGLU
from vision_transformers.model.head import ClassificationHead, DistillationHead
from vision_transformers.model.patches import ConvolutionalFeatureExtractor, LinearFeatureExtractor
from vision_transformers.model.pools import AttentionPool, FirstToken, FirstTokenAndMean, Mean
from vision_transformers.model.positions import (
    LearnablePositionalEncoding,
    NoPositionalEncoding,
    SineCosinePositionalEncoding,
)
from vision_transformers.model.rotary import NoRotation, RotaryPositions
from vision_transformers.model.stem import ConvolutionalStem
from vision_transformers.model.tokens import CLSToken, PrefixTokens
from vision_transformers.model.transformer import Transformer

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu-tanh": partial(nn.GELU, approximate="tanh"),
    "quick-gelu": QuickGELU,
}


def feature_extractor(
    config: ViTConfig,
) -> LinearFeatureExtractor | ConvolutionalFeatureExtractor | ConvolutionalStem:
    """What makes tokens of an image."""
    sizes = (config.model_dimension, config.patch_shape, config.number_of_channels)
    if config.patch_extractor == "stem":
        return ConvolutionalStem(
            *sizes, bias=config.patch_bias, normalization_epsilon=config.normalization_epsilon
        )
    if config.patch_extractor == "convolutional":
        return ConvolutionalFeatureExtractor(*sizes, bias=config.patch_bias)
    return LinearFeatureExtractor(
        *sizes,
        bias=config.patch_bias,
        normalize=config.patch_normalization,
        normalization_epsilon=config.normalization_epsilon,
    )


def prefix_tokens(config: ViTConfig) -> nn.Sequential:
    """Puts registers, then the distillation token, then the class token in front: the class comes first."""
    tokens = nn.Sequential()
    if config.number_of_register_tokens:
        tokens.add_module("registers", PrefixTokens(config.model_dimension, config.number_of_register_tokens))
    if config.distillation_token:
        tokens.add_module("distillation_token", PrefixTokens(config.model_dimension))
    if config.class_token:
        tokens.add_module("class_token", CLSToken(config.model_dimension))
    return tokens


def positional_encoding(config: ViTConfig) -> nn.Module:
    """What is added to the tokens."""
    if config.positions == "learnable":
        return LearnablePositionalEncoding(
            config.model_dimension,
            config.grid[0] * config.grid[1],
            config.number_of_prefix_positions,
            grid=config.grid,
            number_of_prefix_tokens=config.number_of_prefix_tokens,
            resize=config.position_resize,
        )
    if config.positions in ("sine-cosine", "sine-cosine-mae"):
        return SineCosinePositionalEncoding(
            config.model_dimension,
            config.number_of_prefix_tokens,
            include_last_frequency=config.positions == "sine-cosine",
        )
    return NoPositionalEncoding()


def rotary_positions(config: ViTConfig) -> nn.Module:
    """What rotates queries and keys."""
    if config.positions == "rotary":
        return RotaryPositions(config.head_dimension, config.rotary_base)
    return NoRotation()


def normalization(config: ViTConfig, is_there: bool = True, dimension: int | None = None) -> nn.Module:
    """A LayerNorm, or nothing."""
    if not is_there:
        return nn.Identity()
    return nn.LayerNorm(dimension or config.model_dimension, config.normalization_epsilon)


def transformer(config: ViTConfig) -> Transformer:
    """The stack of encoders."""
    return Transformer(
        config.model_dimension,
        config.hidden_dimension,
        config.number_of_layers,
        config.number_of_heads,
        config.dropout,
        layers=[_encoder(config, layer) for layer in range(config.number_of_layers)],
        normalization=normalization(config, config.final_normalization == "before-pool"),
    )


def classification_head(config: ViTConfig) -> ClassificationHead | DistillationHead:
    """Pool and classifier."""
    after_pool = config.final_normalization == "after-pool"
    if config.distillation_token:
        return DistillationHead(
            config.model_dimension,
            config.number_of_classes,
            normalization=normalization(config, after_pool),
        )
    return ClassificationHead(
        config.pooled_dimension,
        config.number_of_classes,
        pool=_pool(config),
        normalization=normalization(config, after_pool, config.pooled_dimension),
        pre_logits_dimension=config.pre_logits_dimension,
    )


def _encoder(config: ViTConfig, layer: int) -> Encoder:
    """Encoder number `layer`; stochastic depth grows from 0 at the first to its full rate at the last."""
    attention = MultiHeadAttention(
        config.model_dimension,
        config.number_of_heads,
        config.dropout,
        attention_dimension=config.attention_dimension,
        query_bias=config.query_bias,
        key_bias=config.key_bias,
        value_bias=config.value_bias,
        projection=config.attention_projection,
        projection_bias=config.attention_projection_bias,
        query_key_normalization=config.query_key_normalization,
        normalization_epsilon=config.normalization_epsilon,
    )
    return Encoder(
        config.model_dimension,
        config.hidden_dimension,
        config.number_of_heads,
        config.dropout,
        attention=attention,
        feed_forward=_feed_forward(config),
        layer_scale=config.layer_scale,
        stochastic_depth=config.stochastic_depth * layer / max(config.number_of_layers - 1, 1),
        normalization_epsilon=config.normalization_epsilon,
    )


def _feed_forward(config: ViTConfig) -> nn.Module:
    sizes = (config.model_dimension, config.hidden_dimension, config.dropout)
    if config.activation == "swiglu":
        return SwiGLU(*sizes)
    return FeedForward(*sizes, activation=_ACTIVATIONS[config.activation])


def _pool(config: ViTConfig) -> nn.Module:
    if config.pool == "attention":
        return AttentionPool(
            config.model_dimension,
            config.number_of_heads,
            _feed_forward(config),
            config.normalization_epsilon,
        )
    return {
        "class": FirstToken(),
        "mean": Mean(config.number_of_prefix_tokens),
        "mean-all": Mean(),
        "class-mean": FirstTokenAndMean(config.number_of_prefix_tokens),
    }[config.pool]
