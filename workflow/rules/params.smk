"""Params: what a job is tracked by, so that an edit of it runs the job again, and flags."""

import json

from stages.core.base.provenance import source_hash


def config_of(stage):
    """Params function: the config keys that a stage reads, as JSON text."""

    def text(wildcards):
        part = runs.slice_of(stage, run_of(wildcards), wildcards.get("task"))
        return json.dumps(part, sort_keys=True)

    return text


def source_of(module):
    """Hash of a module's code with all it imports: an edit there reruns the jobs."""
    return source_hash(f"stages.{module}")


def source_with_method(stage):
    """Params function: the same, together with the method's file."""
    return lambda wildcards: source_hash(
        f"stages.{stage}", f"stages.methods.{method_of(wildcards)}"
    )


def given(*names):
    """Params function: the inputs of these names as flags, without those that are empty."""
    return lambda wildcards, input: [
        word for name in names if input[name] for word in (f"--{name}", *_listed(input[name]))
    ]


def _listed(files):
    return [files] if isinstance(files, str) else files
