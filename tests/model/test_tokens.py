import torch

from vision_transformers.model.tokens import CLSToken, PrefixTokens


def test_the_class_token_comes_first_and_is_the_same_for_every_image():
    sequence = torch.randn(3, 5, 8)
    token = CLSToken(8)
    longer = token(sequence)
    assert longer.shape == (3, 6, 8)
    assert torch.equal(longer[:, 1:], sequence)
    assert torch.equal(longer[:, 0], token.tokens[0].expand(3, 8))


def test_several_prefix_tokens_keep_their_order():
    tokens = PrefixTokens(8, 4)
    assert torch.equal(tokens(torch.randn(2, 5, 8))[0, :4], tokens.tokens[0])
