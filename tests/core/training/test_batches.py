"""How an optimiser step divides."""

import pytest

from stages.core.base.errors import InputError
from stages.core.training.batches import micro_batch_size


@pytest.mark.parametrize(
    ("batch", "most", "processes", "micro"),
    [(16, 4, 1, 4), (16, 4, 4, 4), (16, 4, 8, 2), (16, 4, 16, 1), (3, 8, 1, 3), (6, 3, 2, 3)],
)
def test_each_process_has_as_many_samples(batch, most, processes, micro):
    settings = {"batch_size": batch, "micro_batch_size": most}
    assert micro_batch_size(settings, processes) == micro


@pytest.mark.parametrize(("batch", "most", "processes"), [(10, 4, 1), (6, 2, 4), (2, 1, 4)])
def test_a_step_that_does_not_divide_is_refused(batch, most, processes):
    settings = {"batch_size": batch, "micro_batch_size": most}
    with pytest.raises(InputError, match=rf"per_task.x.batch_size {batch}: .*\({processes}\)"):
        micro_batch_size(settings, processes, "training.per_task.x")
