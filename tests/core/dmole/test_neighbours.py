"""Neighbours as a router, against distances worked out by hand."""

import numpy as np
import pytest

from stages.core.base.errors import InputError
from stages.core.dmole import neighbours, routers

HALF = np.sqrt(0.5)
# image half and text half, both of width 2 and length 1
RIGHT, UP, SLANT = (1.0, 0.0), (0.0, 1.0), (HALF, HALF)


def rows(*pairs) -> np.ndarray:
    return np.array([[*image, *text] for image, text in pairs], dtype=np.float32)


OWN = rows((RIGHT, RIGHT), (UP, RIGHT), (SLANT, RIGHT))
WORDED = np.stack([rows((image, UP)) for image in (RIGHT, UP, SLANT)])  # (3, 1, 4)
NONE = np.empty((3, 0, 4), dtype=np.float32)


def test_the_unit_is_a_quantile_of_the_distances_within_the_task():
    # to the two others: right 1 and 1 - h, up 1 and 1 - h, slant twice 1 - h; h = sqrt(1/2)
    distances = [(2 - HALF) / 2, (2 - HALF) / 2, 1 - HALF]
    router = neighbours.fit(OWN, NONE, 2, "t", 0.5)
    assert router.unit == pytest.approx(distances[0])
    own = neighbours.own_losses(router)
    assert own == pytest.approx(np.array(distances) / distances[0])


def test_a_loss_adds_image_and_text_in_their_units():
    router = neighbours.fit(OWN, NONE, 2, "t", 0.5)
    image = (0 + 1 + (1 - HALF)) / 3 / router.unit  # RIGHT to all three
    found = neighbours.losses(router, rows((RIGHT, RIGHT), (RIGHT, UP), (RIGHT, SLANT)))
    assert found == pytest.approx([image, image + 1 / 0.3, image + (1 - HALF) / 0.3])


def test_another_wording_that_was_learnt_costs_nothing():
    router = neighbours.fit(OWN, WORDED, 2, "t", 0.5)
    same, other = neighbours.losses(router, rows((RIGHT, RIGHT), (RIGHT, UP)))
    assert same == pytest.approx(other)
    assert len(router.texts) == 2  # the three rows ask in the same words


def test_requests_that_differ_among_themselves_may_differ_at_test():
    # nearest request of another row: RIGHT and UP to SLANT, SLANT to either, all 1 - sqrt(1/2)
    varied = rows((RIGHT, RIGHT), (UP, UP), (SLANT, SLANT))
    router = neighbours.fit(varied, NONE, 2, "t", 0.5)
    assert router.spread == pytest.approx(1 - HALF)
    left = (-1.0, 0.0)  # nearest is UP, at distance 1
    image = (0 + 1 + (1 - HALF)) / 3 / router.unit
    found = neighbours.losses(router, rows((RIGHT, RIGHT), (RIGHT, left)))
    assert found == pytest.approx([image, image + (1 - (1 - HALF)) / 0.3])


def test_a_row_does_not_depend_on_its_neighbours():
    random = np.random.default_rng(0)
    z = random.normal(size=(40, 6)).astype(np.float32)
    router = neighbours.fit(z[:20], np.empty((20, 0, 6), dtype=np.float32), 3, "t", 0.9)
    together = neighbours.losses(router, z)
    order = random.permutation(40)
    assert (neighbours.losses(router, z[order]) == together[order]).all()
    assert (
        np.concatenate([neighbours.losses(router, z[i : i + 1]) for i in range(40)]) == together
    ).all()


def test_images_that_are_all_the_same_or_absent_leave_finite_losses():
    same = rows((RIGHT, RIGHT), (RIGHT, RIGHT))
    assert neighbours.losses(neighbours.fit(same, NONE[:2], 2, "t", 0.9), same) == pytest.approx(
        [0, 0]
    )
    blind = rows(((0, 0), RIGHT), ((0, 0), RIGHT))
    found = neighbours.losses(neighbours.fit(blind, NONE[:2], 2, "t", 0.9), blind)
    assert found == pytest.approx([1, 1])


def test_a_saved_router_decides_as_before(tmp_path):
    router = neighbours.fit(OWN, WORDED, 2, "t", 0.5)
    routers.save(router, tmp_path / "r.safetensors", {})
    again = routers.load(tmp_path / "r.safetensors")
    z = rows((SLANT, UP), (UP, SLANT))
    assert (routers.losses(again, z) == neighbours.losses(router, z)).all()
    assert (again.task, again.dim) == ("t", 4)


def test_one_row_has_no_neighbour():
    with pytest.raises(InputError, match="task 't': 1 row has no neighbours"):
        neighbours.fit(OWN[:1], NONE[:1], 2, "t", 0.5)
