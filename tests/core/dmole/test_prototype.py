"""The prototype router, against means and distances worked out by hand."""

import numpy as np
import pytest

from stages import fit_router
from stages.core.base.errors import InputError
from stages.core.dmole import prototype, routers
from stages.tools import display

OWN = np.array([[0, 0], [2, 0], [4, 6]], dtype=np.float32)  # mean (2, 2)


def test_a_loss_is_the_mean_squared_difference_to_the_mean():
    router = prototype.fit(OWN, "t")
    assert router.mean.tolist() == [2, 2]
    found = routers.losses(router, np.array([[2, 2], [5, 2], [0, 0]], dtype=np.float32))
    assert found.tolist() == [0, 9 / 2, 4]


def test_own_losses_are_those_of_the_mean_of_the_others():
    # the mean of the others: (3, 3), (2, 3), (1, 0)
    found = prototype.own_losses(prototype.fit(OWN, "t"), OWN)
    assert found == pytest.approx([9, 9 / 2, (9 + 36) / 2])


def test_the_threshold_is_a_factor_of_their_quantile():
    settings = {"quantile": 0.5, "factor": 2.0}
    _, content = fit_router.fit_prototype(OWN, "t", 0, router={"samples": None}, threshold=settings)
    assert content["threshold"] == pytest.approx(2 * 9)
    assert (content["kind"], content["numbers"]) == ("prototype", 2)
    said = "\n".join(map(str, display.router(content)))
    assert "prototype: the mean of 3 rows, 2 numbers" in said
    assert (
        "threshold 18 = 2 × 9 (the 0.5 quantile of the losses of its rows, each left out)" in said
    )


def test_rows_that_are_all_the_same_leave_a_threshold_above_zero():
    same = np.ones((4, 3), dtype=np.float32)
    settings = {"quantile": 0.95, "factor": 1.7}
    _, content = fit_router.fit_prototype(
        same, "t", 0, router={"samples": None}, threshold=settings
    )
    assert content["threshold"] > 0


def test_a_saved_router_decides_as_before(tmp_path):
    router = prototype.fit(OWN, "t")
    routers.save(router, tmp_path / "t.safetensors", {})
    again = routers.load(tmp_path / "t.safetensors")
    assert (again.kind, again.task, again.mean.tolist()) == ("prototype", "t", [2, 2])


def test_one_row_is_an_error():
    with pytest.raises(InputError, match=r"raise subset\.min_samples"):
        prototype.fit(OWN[:1], "t")
