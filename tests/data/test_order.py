import pytest
import torch

from vision_transformers.data.order import Order


def epoch_of(order: Order, epoch: int) -> list[int]:
    numbers = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
    return [index for number in numbers for index in order.indices(number).tolist()]


def test_an_epoch_visits_no_image_twice_and_drops_only_the_rest():
    order = Order(seed=0, number_of_images=23, batch_size=5)
    assert order.batches_per_epoch == 4
    for epoch in range(3):
        visited = epoch_of(order, epoch)
        assert len(visited) == len(set(visited)) == 20
        assert set(visited) <= set(range(23))


def test_every_image_is_visited_when_nothing_is_left_over():
    assert sorted(epoch_of(Order(seed=0, number_of_images=20, batch_size=5), 1)) == list(range(20))


def test_images_left_over_are_others_in_each_epoch():
    order = Order(seed=0, number_of_images=23, batch_size=5)
    left_over = [frozenset(range(23)) - frozenset(epoch_of(order, epoch)) for epoch in range(5)]
    assert len(set(left_over)) > 1


def test_epochs_and_seeds_are_shuffled_differently():
    order = Order(seed=0, number_of_images=50, batch_size=10)
    assert epoch_of(order, 0) != epoch_of(order, 1)
    for epoch in (0, 1):
        assert epoch_of(order, epoch) != epoch_of(Order(seed=1, number_of_images=50, batch_size=10), 0)


def test_a_batch_depends_on_its_number_alone():
    """Else a resumed run would train on other batches than one that was not interrupted."""
    forward = [Order(3, 23, 5).indices(number).tolist() for number in range(12)]
    torch.rand(7)
    backward = [Order(3, 23, 5).indices(number).tolist() for number in reversed(range(12))]
    assert forward == backward[::-1]


def test_a_caller_who_changes_a_batch_does_not_change_the_order():
    order = Order(seed=0, number_of_images=10, batch_size=5)
    before = order.indices(0).clone()
    order.indices(0).zero_()
    assert torch.equal(order.indices(0), before)


def test_numbers_count_over_the_whole_run():
    order = Order(seed=0, number_of_images=23, batch_size=5)
    assert [order.epoch(number) for number in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_size_without_full_batches_is_refused(batch_size):
    with pytest.raises(ValueError, match=rf"{batch_size} and there are 10"):
        Order(seed=0, number_of_images=10, batch_size=batch_size)


def test_processes_share_a_batch_out_whole_and_in_equal_parts():
    """Else some images would count more than others in the gradient of all."""
    parts = [Order(3, 23, 6, share, 3).own_indices(2) for share in range(3)]
    assert torch.equal(torch.cat(parts), Order(3, 23, 6).indices(2))
    assert {len(part) for part in parts} == {2}
    with pytest.raises(ValueError, match="a batch of 6 images has no 4 equal parts"):
        Order(3, 23, 6, 0, 4)
