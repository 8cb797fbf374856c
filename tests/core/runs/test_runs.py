"""Ownership of artefacts by hand-made variants, and the slices that stages see."""

import json

import pytest

from stages.core.base.config import complete
from stages.core.base.errors import InputError
from stages.core.runs.checks import check_runs
from stages.core.runs.runs import Runs, split_scope
from stages.core.runs.stage_table import OVERRIDES, STAGES


def plan(**changes: object) -> Runs:
    """The plan of the tiny stream with changed top-level keys."""
    config = {
        "stream": "tiny",
        "manifests": "tests/data/tiny",
        "tasks": ["tiny_caption", "tiny_choice", "tiny_ground"],
        "backbone": {"path": "results/backbones/tiny"},
    }
    return Runs(complete(config | changes, "test"))


@pytest.mark.parametrize(
    ("methods", "settings", "matched"),
    [
        (["dmole", "seq_ft"], {}, True),
        (["dmole", "seq_ft"], {"match_size": "slots"}, False),
        (["dmole", "seq_ft"], {"preset": "paper"}, False),
        (["seq_ft"], {}, False),  # nothing to be equal to
    ],
)
def test_size_follows_the_allocations_where_a_run_has_some(methods, settings, matched) -> None:
    made = plan(methods=methods, **settings)
    assert made.matches_allocations("seq_ft") is matched
    assert made.tasks_of("match_size", "seq_ft") == ["tiny_caption"] * matched
    assert made.tasks_of("allocate_experts", "seq_ft") == []
    assert not made.matches_allocations("dmole")
    assert not made.matches_allocations("zero_shot")


def test_another_order_owns_what_depends_on_it() -> None:
    order = ["tiny_ground", "tiny_choice", "tiny_caption"]
    after = {"route_samples", *AFTER_TRAINING}
    assert owned("dmole", {"tasks": order}) == {"choose_parent", *after}
    assert owned("seq_ft", {"tasks": order}) - {"choose_parent"} == after  # it has no parents
    made = with_change("seq_ft", {"tasks": order})
    assert made.states_at_test("changed", "tiny_choice") == order


def with_change(method: str, changed: dict, **others: object) -> Runs:
    variants = {"changed": {"method": method, "set": changed}}
    return plan(variants=variants, methods=["changed"], **others)


TAKEN = set(OVERRIDES.values())  # asked for only where the configuration names a file
PER_TASK = [s for s, entry in STAGES.items() if not entry.summary and s not in TAKEN]


def owned(method: str, changed: dict) -> set[str]:
    """The stages of which a variant has artefacts of its own."""
    made = with_change(method, changed)
    return {stage for stage in PER_TASK if made.owner(stage, "changed") == "changed"}


AFTER_TRAINING = {"train_expert", "predict"}
AFTER_ROUTERS = {"fit_router", "choose_parent", "route_samples", *AFTER_TRAINING}
ALL = set(PER_TASK) - {"prepare_data", "predict_backbone", "extract_test_features"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"routing.second": "rank"}, {"route_samples", "predict"}),
        ({"routing.threshold_scale": 2.0}, {"route_samples", "predict"}),
        ({"budget.ratio": 0.25}, {"allocate_experts", "match_size", *AFTER_TRAINING}),
        ({"method_options": {"replay": {"samples": 3}}}, set()),  # of another method
        ({"allocation.strategy": "random"}, {"allocate_experts", "match_size", *AFTER_TRAINING}),
        ({"training.epochs": 2}, AFTER_TRAINING),
        ({"transfer.enabled": False}, {"choose_parent", "route_samples", *AFTER_TRAINING}),
        ({"transfer.accept": "lower_loss"}, {"route_samples", *AFTER_TRAINING}),
        ({"transfer.learning_rate_factor": 0.5}, AFTER_TRAINING),
        ({"threshold.calibration": "train"}, AFTER_ROUTERS),
        (
            {"features.normalize": False},
            {"extract_features", "extract_test_features", *AFTER_ROUTERS},
        ),
        (
            {"profile.loss": "token_mean"},
            {"profile_gradients", "allocate_experts", "match_size", *AFTER_TRAINING},
        ),
        ({"subset.min_samples": 9}, ALL),
        ({"prediction.batch_size": 3}, {"predict_backbone", "predict"}),
        ({"prediction.steps": "ends"}, set()),  # routers choose, which costs few answers
        ({"budget.ratio": 0.5}, set()),  # the value it has anyway
    ],
)
def test_a_variant_of_dmole_owns_what_depends_on_its_changes(changed: dict, expected: set) -> None:
    assert owned("dmole", changed) == expected


def test_a_method_without_routers_is_not_touched_by_their_keys() -> None:
    shared_stages = {"fit_router", "choose_parent"}
    assert owned("seq_ft", {"router.hidden": 4}) - shared_stages == set()
    assert owned("seq_ft", {"routing.second": "none"}) == set()
    assert owned("seq_ft", {"transfer.accept": "lower_loss"}) == set()


def test_other_steps_are_other_routes_of_a_method_without_routers() -> None:
    assert owned("seq_ft", {"prediction.steps": "ends"}) == {"route_samples", "predict"}


def test_a_budget_changes_the_rank_of_sequential_lora() -> None:
    assert owned("seq_ft", {"budget.ratio": 0.25}) - {"allocate_experts"} == {
        "match_size",
        *AFTER_TRAINING,
    }


def test_scopes_of_the_three_owners() -> None:
    made = with_change("dmole", {"budget.ratio": 0.25})
    assert made.scope("fit_router", "seed3/changed") == "seed3"
    assert made.scope("route_samples", "seed3/changed") == "seed3/dmole"
    assert made.scope("train_expert", "seed3/changed") == "seed3/changed"
    assert made.scope("allocate_experts", "seed3/dmole") == "seed3"
    assert made.scope("sample_subset", "seed3") == "seed3"


def test_the_backbones_own_answers_are_shared_by_methods_and_seeds() -> None:
    made = with_change("dmole", {"prediction.batch_size": 3})
    assert made.scope("predict_backbone", "seed3/dmole") == ""
    assert made.scope("predict_backbone", "seed3/changed") == "changed"


def test_features_of_test_rows_do_not_depend_on_the_subset() -> None:
    subset = with_change("dmole", {"subset.min_samples": 9})
    raw = with_change("dmole", {"features.normalize": False})
    assert subset.owner("extract_test_features", "changed") == ""
    assert raw.owner("extract_test_features", "changed") == "changed"


@pytest.mark.parametrize(
    ("scope", "parts"),
    [
        ("seed0", ("seed0", "")),
        ("seed12/dmole", ("seed12", "dmole")),
        ("changed", ("", "changed")),
        ("", ("", "")),
        ("seedling", ("", "seedling")),
    ],
)
def test_split_scope(scope: str, parts: tuple[str, str]) -> None:
    assert split_scope(scope) == parts


def test_a_training_slice_has_no_other_tasks_and_no_other_methods() -> None:
    per_task = {"tiny_choice": {"epochs": 5}, "tiny_ground": {"epochs": 3}}
    options = {"dmole": {"a": 1}, "seq_ft": {"b": 2}}
    made = plan(training={"per_task": per_task}, method_options=options)
    part = made.slice_of("train_expert", "dmole", "tiny_choice")
    assert part["training"]["per_task"] == {"tiny_choice": {"epochs": 5}}
    assert part["method_options"] == {"dmole": {"a": 1}}
    assert "path" not in part["backbone"]
    assert made.config["training"]["per_task"] == per_task


def test_jobs_of_a_method_follow_its_needs() -> None:
    made = plan(methods=["dmole", "seq_ft", "zero_shot", "individual"])
    tasks = made.config["tasks"]
    assert made.tasks_of("fit_router", "dmole") == tasks
    assert made.tasks_of("fit_router", "seq_ft") == []
    assert made.tasks_of("choose_parent", "seq_ft") == []
    assert made.tasks_of("train_expert", "zero_shot") == []
    assert made.tasks_of("predict", "zero_shot") == tasks


def test_states_that_may_answer() -> None:
    made = plan(methods=["dmole", "seq_ft", "zero_shot", "individual"])
    tasks = made.config["tasks"]
    assert made.states_at_test("dmole", "tiny_choice") == tasks
    assert made.states_at_test("seq_ft", "tiny_choice") == tasks
    assert made.states_at_test("individual", "tiny_choice") == ["tiny_choice"]
    assert made.states_at_test("zero_shot", "tiny_choice") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["dmol"]}, "unknown method or variant 'dmol'. Did you mean 'dmole'"),
        (
            {"variants": {"v": {"method": "dmol", "set": {}}}},
            "variants.v.method: unknown method 'dmol'. Did you mean 'dmole'",
        ),
        ({"variants": {"dmole": {"method": "dmole", "set": {}}}}, "a method has this name"),
        (
            {"variants": {"v": {"method": "dmole", "set": {"budget.ration": 1}}}},
            "variants.v.set: unknown key 'budget.ration'. Did you mean 'budget.ratio'",
        ),
        (
            {"variants": {"v": {"method": "dmole", "set": {"budget.ratio": 2}}}},
            "variants.v: budget.ratio: 2 is greater than the maximum of 1",
        ),
        (
            {"variants": {"v": {"method": "dmole", "set": {"rows.train": 5}}}},
            "variants.v.set: unknown key 'rows.train'",
        ),
        (
            {
                "variants": {
                    "v": {
                        "method": "dmole",
                        "set": {"routing.second": "parent", "transfer.enabled": False},
                    }
                }
            },
            "v: routing.second is 'parent', but there are no parents",
        ),
        ({"tasks": ["tiny_chioce"]}, "unknown task 'tiny_chioce'. Did you mean 'tiny_choice'"),
        (
            {"training": {"per_task": {"tiny_chioce": {}}}},
            "training.per_task: unknown task 'tiny_chioce'. Did you mean 'tiny_choice'",
        ),
        ({"method_options": {"replya": {}}}, "unknown method 'replya'. Did you mean 'replay'"),
        ({"method_options": {"replay": {"sample": 3}}}, "method_options.replay: unknown option"),
        ({"manifests": "tests/data/none"}, "tests/data/none"),
        (
            {"variants": {"v": {"method": "dmole", "set": {"budget": {"ratio": 0.25}}}}},
            "variants.v.set.budget: would replace the whole section; name its keys",
        ),
        ({"output": "README.md"}, "output: README.md is a file; name a folder"),
        ({"output": "README.md/below"}, "output: README.md is a file"),
        (
            {"training": {"batch_size": 10, "micro_batch_size": 4}},
            "training.batch_size 10: must be a multiple of micro_batch_size (4) x gpus",
        ),
        (
            {"training": {"per_task": {"tiny_choice": {"batch_size": 7, "micro_batch_size": 2}}}},
            "training.per_task.tiny_choice.batch_size 7",
        ),
        (
            {"training": {"batch_size": 6, "micro_batch_size": 2}, "gpus": {"training": 4}},
            "gpus.training (4)",
        ),
        (
            {
                "training": {"micro_batch_size": 8},
                "variants": {"v": {"method": "dmole", "set": {"training.batch_size": 9}}},
            },
            "variants.v: training.batch_size 9",
        ),
        (
            {"gpus": {"training": 8, "nodes": 3}},
            "gpus.training 8: must be a multiple of gpus.nodes.",
        ),
    ],
)
def test_faults_are_named_with_their_place(changes: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_runs(plan(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [2**32]}, "seeds.0: 4294967296 is greater than the maximum"),
        ({"seeds": [-1]}, "seeds.0: -1 is less than the minimum"),
        ({"router": {"learning_rate": float("nan")}}, "router.learning_rate: nan is no number"),
        ({"threshold": {"factor": float("inf")}}, "threshold.factor: inf is no number"),
        (
            {"variants": {"v": {"method": "dmole", "set": {"budget.ratio": float("-inf")}}}},
            "variants.v.set.budget.ratio: -inf is no number",
        ),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(**changes)
    assert message in str(caught.value)


# --- the size to match ---


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("individual", ["tiny_caption", "tiny_choice", "tiny_ground"]),  # each from the backbone
        ("joint", ["tiny_ground"]),  # one training, at the last task
        ("replay", ["tiny_caption"]),  # one adapter, trained on
        ("o_lora", ["tiny_caption"]),
    ],
)
def test_which_experts_of_dmole_decide_the_size(method: str, first: list[str]) -> None:
    assert plan(methods=["dmole", method]).tasks_of("match_size", method) == first


def test_a_variant_with_another_order_matches_its_own_first_task() -> None:
    order = ["tiny_ground", "tiny_choice", "tiny_caption"]
    variants = {"turned": {"method": "seq_ft", "set": {"tasks": order}}}
    made = plan(methods=["dmole", "turned"], variants=variants)
    assert made.tasks_of("match_size", "turned") == ["tiny_ground"]


# --- files in place of artefacts ---

TAKES = {"allocation": {"tiny_choice": "a.json"}, "router": {"tiny_ground": "r.json"}}


def test_an_override_stands_in_for_one_artefact_of_one_task() -> None:
    made = plan(methods=["dmole"], overrides=TAKES)
    scope = "seed0/dmole"
    assert made.path("allocation", scope, "tiny_choice") == (
        "seed0/allocations/tiny_choice.override.json"
    )
    assert made.path("allocation", scope, "tiny_ground") == "seed0/allocations/tiny_ground.json"
    assert made.path("router", scope, "tiny_ground") == "seed0/routers/tiny_ground.override.json"
    assert made.all_files("router") == [
        "seed0/routers/tiny_caption.json",
        "seed0/routers/tiny_choice.json",
        "seed0/routers/tiny_ground.override.json",
    ]
    assert made.tasks_of("override_allocation", "dmole") == ["tiny_choice"]
    assert made.tasks_of("allocate_experts", "dmole") == ["tiny_caption", "tiny_ground"]
    assert made.tasks_of("fit_router", "dmole") == made.tasks("dmole")  # for the autoencoders


def test_a_stage_sees_the_override_of_its_own_task_alone() -> None:
    made = plan(overrides=TAKES)
    assert made.slice_of("override_allocation", "", "tiny_choice") == {
        "overrides": {"allocation": {"tiny_choice": "a.json"}}
    }
    assert made.slice_of("override_allocation", "", "tiny_ground") == {
        "overrides": {"allocation": {}}
    }


def test_a_variant_with_an_override_shares_what_comes_before() -> None:
    made = with_change("dmole", {"overrides.allocation": TAKES["allocation"]})
    assert made.path("allocation", "seed0/changed", "tiny_choice") == (
        "seed0/changed/allocations/tiny_choice.override.json"
    )
    assert made.path("allocation", "seed0/changed", "tiny_ground") == (
        "seed0/allocations/tiny_ground.json"
    )
    assert owned("dmole", {"overrides.allocation": TAKES["allocation"]}) == AFTER_TRAINING


TRANSFER = {
    "task": "tiny_choice",
    "step": 2,
    "parent": "tiny_caption",
    "losses": {},
    "require_threshold": False,
    "thresholds": None,
    "provenance": {},
}


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("tiny_choice", {"parent": "tiny_ground"}, "'tiny_ground' is not learnt before"),
        ("tiny_ground", {}, "of task 'tiny_choice', expected 'tiny_ground'"),
        ("tiny_choise", {}, "unknown task 'tiny_choise'. Did you mean 'tiny_choice'"),
        ("tiny_choice", None, "file not found"),
    ],
)
def test_a_wrong_override_is_refused_before_the_first_job(
    tmp_path, task: str, content: dict | None, message: str
) -> None:
    file = tmp_path / "mine.json"
    if content is not None:
        file.write_text(json.dumps(TRANSFER | content))
    with pytest.raises(InputError, match=rf"overrides\.transfer.*{message}"):
        check_runs(plan(overrides={"transfer": {task: str(file)}}))


def test_a_good_override_passes(tmp_path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(TRANSFER))
    check_runs(plan(overrides={"transfer": {"tiny_choice": str(file)}}))


def test_held_out_rows_stand_in_for_the_test_rows() -> None:
    made = plan(rows={"train": 9, "test": 7, "held_out": 5})
    content = made.manifest("tiny_choice").content
    assert content["test"] == content["train"] == plan().manifest("tiny_choice").content["train"]
    assert (made.row_limit("train"), made.row_limit("test")) == (9, 5)
    assert plan(rows={"held_out": 5}).row_limit("test") == 5
    assert plan(rows={"test": 7}).row_limit("test") == 7
    assert plan().row_limit("test") is None
