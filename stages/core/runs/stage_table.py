"""The one table of stages: what each reads and writes, and by whom its artefacts are shared.

Everything else follows from it: where an artefact is, which run owns one, what the Snakefile asks
for, a stage's slice of the configuration, how many jobs a run has. A rule names artefacts of this
table and holds no path of its own; ``tests/workflow/test_stage_table.py`` compares the inputs and
outputs of every job of a dry run with it.

A *run* is a name from ``methods``: a method, or a variant of one. Nothing here imports torch.
"""

from __future__ import annotations

from stages.core.base.edits import EDITABLE
from stages.core.runs.stage import (
    Artefact,
    Stage,
    earlier,
    has_transfer,
    matched,
    needs,
    own,
    parent_answers,
    parents_weighed,
    rows_to_train_on,
    sized_like,
    starting_states,
    states_at_test,
    stream,
    threshold_required,
    weighed_parent_answers,
    where,
)

WHOLE_KEYS = (
    "backbone.revision",
    "backbone.dtype",
    "backbone.image_size",
    "backbone.max_tiles",
    "backbone.max_length",
)
BACKBONE_KEYS = (*WHOLE_KEYS, "backbone.quantization")

ALLOCATION_KEYS = (
    "budget",
    "allocation",
    "expert.rank",
    "expert.alpha",
    "expert.qkv",
    "profile.loss",
    "profile.include_bias",
)

TRANSFER_KEYS = ("transfer.accept", "transfer.learning_rate_factor")  # of training

STAGES: dict[str, Stage] = {
    "prepare_data": Stage(
        config=("max_pixels", "image", "rows", "data_root"),
        writes={
            "train_rows": Artefact("data/{task}/{split}.parquet", "data", "train", opened=False),
            "test_rows": Artefact("data/{task}/{split}.parquet", "data", "test", opened=False),
        },
        shared=True,
        seedless=True,
        fixed=True,
    ),
    "sample_subset": Stage(
        config=("subset",),
        reads={"train_rows": own},
        writes={"subset": Artefact("subsets/{task}.parquet", "data", opened=False)},
        shared=True,
        local=True,
    ),
    "profile_gradients": Stage(
        config=("profile", *WHOLE_KEYS),  # weights of 4 bits have no gradient
        reads={"subset": own},
        writes={"profile": Artefact("profiles/{task}.parquet", "profile")},
        backbone=True,
        shared=True,
    ),
    "allocate_experts": Stage(
        config=ALLOCATION_KEYS,
        reads={"profile": own},
        writes={"allocation": Artefact("allocations/{task}.json", "allocation")},
        shared=True,
        local=True,
    ),
    "match_size": Stage(
        config=ALLOCATION_KEYS,
        reads={"profile": own},
        writes={"size": Artefact("sizes/{task}.json", "size", opened=False)},
        shared=True,
        local=True,
    ),
    "extract_features": Stage(
        config=("features", "router.wordings", *BACKBONE_KEYS),
        reads={"subset": own},
        writes={"subset_features": Artefact("features/{task}.parquet", "features", opened=False)},
        backbone=True,
        shared=True,
    ),
    "extract_test_features": Stage(
        config=("features", "router.wordings", *BACKBONE_KEYS),
        reads={"test_rows": own},
        writes={"test_features": Artefact("features/{task}.parquet", "features", opened=False)},
        backbone=True,
        shared=True,
        seedless=True,
        rule="extract_features",
    ),
    "fit_router": Stage(
        config=("router", "threshold"),
        reads={"subset_features": own},
        writes={
            "router_weights": Artefact("routers/{task}.safetensors", "weights", opened=False),
            "router": Artefact("routers/{task}.json", "router"),
        },
        shared=True,
    ),
    "choose_parent": Stage(
        config=("transfer.enabled", "transfer.require_threshold"),
        reads={
            "subset_features": own,
            "router_weights": earlier,
            "router": where(threshold_required, earlier),
        },
        writes={"transfer": Artefact("transfers/{task}.json", "transfer")},
        shared=True,
        ordered=True,
        local=True,
    ),
    "override_allocation": Stage(
        config=("overrides.allocation",),
        writes={"allocation": Artefact("allocations/{task}.override.json", "allocation")},
        shared=True,
        local=True,
        rule="take_override",
    ),
    "override_router": Stage(
        config=("overrides.router",),
        writes={"router": Artefact("routers/{task}.override.json", "router")},
        shared=True,
        local=True,
        rule="take_override",
    ),
    "override_transfer": Stage(
        config=("overrides.transfer",),
        writes={"transfer": Artefact("transfers/{task}.override.json", "transfer")},
        shared=True,
        ordered=True,
        local=True,
        rule="take_override",
    ),
    "train_expert": Stage(
        config=("expert", "training", "budget.ratio", *TRANSFER_KEYS, *BACKBONE_KEYS),
        reads={
            "train_rows": rows_to_train_on,
            "allocation": where(needs("allocation"), own),
            "size": where(matched, sized_like),
            "transfer": where(has_transfer, own),
            "subset": where(parents_weighed, own),
            "expert": starting_states,
        },
        writes={"expert": Artefact("experts/{task}", "expert")},
        backbone=True,
        ordered=True,
    ),
    "route_samples": Stage(
        config=("routing", "prediction.steps"),
        reads={
            "test_rows": own,
            "test_features": where(needs("router"), own),
            "router_weights": where(needs("router"), stream),
            "router": where(needs("router"), stream),
            "transfer": where(parent_answers, stream),
            "expert": where(weighed_parent_answers, stream),
        },
        writes={"routes": Artefact("routes/{task}.parquet", "routes")},
        ordered=True,
        local=True,
    ),
    "predict_backbone": Stage(
        config=("prediction.batch_size", *BACKBONE_KEYS),
        reads={"test_rows": own},
        writes={
            "backbone_predictions": Artefact(
                "backbone_predictions/{task}.parquet", "predictions", opened=False
            )
        },
        backbone=True,
        shared=True,
        seedless=True,
    ),
    "predict": Stage(
        config=("prediction.batch_size", *BACKBONE_KEYS),
        reads={
            "test_rows": own,
            "routes": own,
            "backbone_predictions": own,
            "expert": states_at_test,
        },
        writes={"predictions": Artefact("predictions/{task}.parquet", "predictions")},
        backbone=True,
    ),
    "list_runs": Stage(
        writes={"runs": Artefact("runs.json", "runs")}, local=True, fixed=True, summary=True
    ),
    "score": Stage(
        config=("score",),
        reads={"runs": stream, "test_rows": stream, "routes": stream, "predictions": stream},
        writes={
            "scores": Artefact("scores.parquet", "scores"),
            "sample_scores": Artefact("sample_scores.parquet", "sample_scores"),
            "metrics": Artefact("metrics.json", "metrics"),
        },
        local=True,
        fixed=True,
        summary=True,
    ),
    "measure_separability": Stage(
        reads=dict.fromkeys(
            ("runs", "train_rows", "test_rows", "subset_features", "test_features"), stream
        ),
        writes={"separability": Artefact("separability.json", "separability")},
        local=True,
        fixed=True,
        summary=True,
    ),
    "compare": Stage(
        reads=dict.fromkeys(
            ("runs", "scores", "sample_scores", "metrics", "router", "expert", "routes"), stream
        ),
        writes={
            "comparison": Artefact("comparison.json", "comparison"),
            "comparison_text": Artefact("comparison.md", "markdown"),
        },
        local=True,
        fixed=True,
        summary=True,
    ),
    "report": Stage(
        reads={
            "runs": stream,
            "scores": stream,
            "metrics": stream,
            "comparison": stream,
            "separability": stream,
            "profile": stream,
            "allocation": stream,
            "router": stream,
            "transfer": stream,
            "expert": stream,
            "routes": stream,
            "test_rows": stream,
            "predictions": stream,
            "sample_scores": stream,
        },
        writes={
            "report": Artefact("report.html", "html"),
            "figures": Artefact("figures", "a folder of SVG files"),
        },
        local=True,
        fixed=True,
        summary=True,
    ),
}
"""In the order of the pipeline. A stage sees the slice ``config`` of the configuration, and an edit
of another key does not rerun it; ``train_expert`` also sees its method's entry of
``method_options``, nothing of ``transfer`` in a run without parents, and routes of a method without
routers see nothing. ``backbone``: the
backbone's files are among its inputs."""

OVERRIDES = {name: f"override_{name}" for name in EDITABLE}
"""The stages that take an artefact from a file of the configuration, where it names one."""

_WRITERS = {
    name: stage
    for stage, entry in STAGES.items()
    for name in entry.writes
    if stage not in OVERRIDES.values()
}


def writer(name: str) -> str:
    """The stage that writes an artefact."""
    return _WRITERS[name]


def artefact(name: str) -> Artefact:
    """An artefact by its name."""
    return STAGES[writer(name)].writes[name]


def rule_of(stage: str) -> str:
    """The rule, and the module, of a stage."""
    return STAGES[stage].rule or stage
