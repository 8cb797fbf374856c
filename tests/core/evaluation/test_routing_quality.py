"""Routing quality against counts by hand, and AUROC against a published example."""

import numpy as np
import pytest

from stages.core.evaluation import routing_quality
from tests.helpers.routing import RUN, TASKS


def test_auroc_counts_ordered_pairs_and_half_of_ties():
    # pairs (unseen, seen): (2,1) won, (2,2) tied, (3,1) won, (3,2) won
    found = routing_quality.auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    assert found == pytest.approx(3.5 / 4)
    assert routing_quality.auroc(np.array([]), np.array([1.0])) is None


def test_auroc_of_the_documented_example_of_scikit_learn():
    # roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) is 0.75
    found = routing_quality.auroc(np.array([0.35, 0.8]), np.array([0.1, 0.4]))
    assert found == pytest.approx(0.75)


def test_routing_quality_of_a_step_with_an_unseen_task():
    found = routing_quality.quality(RUN, TASKS, [1])
    assert (found.n_seen, found.n_unseen) == (2, 2)
    assert (found.own_nearest, found.own_first, found.seen_rejected) == (1.0, 0.5, 0.5)
    assert found.unseen_rejected == 1.0
    # unseen 2, 3 against seen 0.5, 2: three pairs won, one tied
    assert found.auroc == pytest.approx(3.5 / 4)


def test_routing_quality_of_the_last_step():
    found = routing_quality.quality(RUN, TASKS, [2])
    assert (found.n_seen, found.n_unseen, found.auroc) == (4, 0, None)
    assert (found.own_nearest, found.own_first, found.seen_rejected) == (0.75, 0.5, 0.25)
    assert found.unseen_rejected is None


def test_routing_quality_ignores_the_pretrained_step():
    assert routing_quality.quality(RUN, TASKS, [0, 1]) == routing_quality.quality(RUN, TASKS, [1])
