import torch

from vision_transformers.model.feed_forward import FeedForward
from vision_transformers.model.head import ClassificationHead, DistillationHead
from vision_transformers.model.pools import AttentionPool, FirstTokenAndMean, Mean
from vision_transformers.model.vit import ViT


def test_the_head_reads_the_first_token_only():
    head = ClassificationHead(8, 5)
    sequence = torch.randn(3, 6, 8)
    logits = head(sequence)
    assert logits.shape == (3, 5)
    assert torch.equal(logits, head(torch.cat([sequence[:, :1], torch.randn(3, 9, 8)], dim=1)))
    assert not torch.equal(logits, head(sequence.flip(1)))


def test_no_classes_give_the_pooled_vector():
    sequence = torch.randn(3, 6, 8)
    assert torch.equal(ClassificationHead(8, 0)(sequence), sequence[:, 0])
    assert torch.equal(ClassificationHead(8, 0, pool=Mean(2))(sequence), sequence[:, 2:].mean(dim=1))


def test_means_leave_the_prefix_out():
    """Else registers and the class token would leak into the mean of the patches."""
    sequence = torch.randn(3, 6, 8)
    torch.testing.assert_close(Mean(2)(sequence), sequence[:, 2:].mean(dim=1))
    torch.testing.assert_close(Mean()(sequence), sequence.mean(dim=1))
    joined = FirstTokenAndMean(2)(sequence)
    torch.testing.assert_close(joined, torch.cat([sequence[:, 0], sequence[:, 2:].mean(dim=1)], dim=1))


def test_the_distillation_head_is_the_mean_of_two_classifiers():
    head = DistillationHead(8, 5)
    sequence = torch.randn(3, 6, 8)
    first, second = head.classifier(sequence[:, 0]), head.distillation_classifier(sequence[:, 1])
    torch.testing.assert_close(head(sequence), (first + second) / 2)
    without_classes = DistillationHead(8, 0)
    torch.testing.assert_close(without_classes(sequence), sequence[:, :2].mean(dim=1))


def test_another_pool_may_read_all_tokens():
    """One that a person put there would else be given as many as the one before it reads."""
    model = ViT((4, 4), 16, 1, 2, 24, 1, 5, (8, 8), distillation_token=True)
    model.head.pool = torch.nn.Flatten()
    assert model.tokens_read is None


def test_pre_logits_end_with_tanh():
    head = ClassificationHead(8, 0, pre_logits_dimension=4)
    output = head(100 * torch.randn(3, 6, 8))
    assert output.shape == (3, 4)
    assert output.abs().max() <= 1


def test_the_attention_pool_does_not_depend_on_the_order_of_tokens():
    pool = AttentionPool(8, 2, FeedForward(8, 16))
    sequence = torch.randn(3, 6, 8)
    assert pool(sequence).shape == (3, 8)
    torch.testing.assert_close(pool(sequence), pool(sequence.flip(1)))
