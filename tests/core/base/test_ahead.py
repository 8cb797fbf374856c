"""What is made ahead comes in order, whoever makes it."""

import os

import pytest
import torch

from stages.core.base.ahead import ahead
from stages.core.base.errors import InputError


def square(number):
    if number == 5:
        raise InputError("row 5 is bad.")
    return {"ids": [number], "square": torch.tensor([number**2]), "by": os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
def test_items_come_in_order_with_what_is_made_of_them(workers):
    found = list(ahead([3, 1, 4], square, workers))
    assert [item for item, _ in found] == [3, 1, 4]
    assert [int(made["square"]) for _, made in found] == [9, 1, 16]
    assert [made["ids"] for _, made in found] == [[3], [1], [4]]
    makers = {made["by"] for _, made in found}
    assert (makers == {os.getpid()}) == (workers == 0)
    assert len(makers) == max(workers, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_at_its_turn_as_it_was(workers):
    found = ahead([2, 5, 3], square, workers)
    assert next(found)[0] == 2
    with pytest.raises(InputError) as caught:
        next(found)
    assert str(caught.value) == "row 5 is bad."


def test_nothing_to_make():
    assert list(ahead([], square, 2)) == []
