"""The order in which rows are seen."""

import torch

from stages.core.training.sampler import ByLength

LENGTHS = [7, 3, 9, 1, 5, 8, 2, 6, 4, 10, 12, 11]


def order(seed, epoch):
    return list(ByLength([LENGTHS], 4, seed, lambda: epoch))


def test_every_row_once_and_never_the_same_order():
    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(found) == list(range(12)) for found in orders)
    assert len({tuple(found) for found in orders}) == 4


def test_the_order_depends_on_seed_and_epoch_alone():
    """A killed run and the one that resumes it are at different places of the random state."""
    torch.manual_seed(0)
    first = order(5, 2)
    torch.rand(100)
    assert order(5, 2) == first


def test_the_longest_row_comes_first():
    """Memory that does not suffice shows in the first step."""
    assert all(order(seed, 0)[0] == LENGTHS.index(12) for seed in range(5))


def test_silent_rows_come_last():
    """Whatever the epoch; the order of the others does not know of them."""
    for epoch in (0, 1):
        found = list(ByLength([LENGTHS], 4, 0, lambda epoch=epoch: epoch, silent=3))
        assert found == [*order(0, epoch), 12, 13, 14]


def test_epochs_with_rows_of_their_own():
    """Each epoch sees its own part of the data set, in the order of its own lengths."""
    lengths = [LENGTHS, LENGTHS[::-1]]
    found = [list(ByLength(lengths, 4, 5, lambda e=e: e, silent=1)) for e in (0, 1)]
    assert found[0] == [*order(5, 0), 12]
    second = list(ByLength([LENGTHS[::-1]], 4, 5, lambda: 1))
    assert found[1] == [*(13 + index for index in second), 25]
