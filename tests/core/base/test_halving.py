"""Half as many at a time where a GPU's memory does not suffice."""

import pytest
import torch

from stages.core.base.errors import InputError
from stages.core.base.halving import halving, in_parts


def up_to(most):
    """A run whose memory holds so many samples; notes what was asked of it."""
    asked = []

    def run(size):
        asked.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"done with {size}"

    return run, asked


def test_the_size_is_halved_until_it_fits(capsys):
    run, asked = up_to(3)
    assert halving(run, 14, "task a") == ("done with 3", 3)
    assert asked == [14, 7, 3]
    said = capsys.readouterr().err.splitlines()
    assert said == [f"task a: out of GPU memory; going on with {n} at a time" for n in (7, 3)]


def test_a_size_that_fits_is_not_changed(capsys):
    assert halving(up_to(8)[0], 8, "task a")[1] == 8
    assert capsys.readouterr().err == ""


def test_one_sample_that_does_not_fit_is_an_error():
    with pytest.raises(InputError, match="task a: out of GPU memory with a single sample"):
        halving(up_to(0)[0], 2, "task a")


def test_parts_come_in_order_and_nothing_is_left_out():
    def run(part):
        if len(part) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(part)

    assert in_parts(run, range(7), "features") == [[0, 1, 2], [3, 4, 5], [6]]
    assert in_parts(run, range(2), "features") == [[0, 1]]
