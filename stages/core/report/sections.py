"""The report's sections, one module each: numbers in, tables and pictures with captions out.

``page`` is the vocabulary of the page, ``svg`` that of pictures, ``style`` has the colours. To add
a section, write a module with ``section(results) -> Section`` and list it here; one that gives None
is left out.
"""

from stages.core.report import (
    activation,
    comparison,
    evolution,
    examples,
    general,
    losses,
    matrices,
    metrics,
    overview,
    parameters,
    result,
    robust,
    routing,
    runtimes,
    sensitivity,
    separability,
    training,
    tree,
)

SECTIONS = (
    result.section,
    comparison.section,
    matrices.section,
    metrics.section,
    examples.section,
    training.section,
    routing.section,
    separability.section,
    robust.section,
    general.section,
    activation.section,
    losses.section,
    sensitivity.section,
    evolution.budget_section,
    evolution.section,
    tree.section,
    matrices.unparsed_section,
    parameters.section,
    runtimes.section,
    overview.section,
)
"""In the order of the page; the first has the first screen for itself."""
