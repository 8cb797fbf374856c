"""The report's sections, one module each: numbers in, tables and pictures with captions out.

``page`` is the vocabulary of the page, ``style`` the look of pictures, ``results`` the reading of
artefacts. To add a section, write a module with ``section(results) -> Section`` and list it here.
"""

from stages.core.report import (
    activation,
    comparison,
    evolution,
    losses,
    matrices,
    metrics,
    overview,
    parameters,
    routing,
    runtimes,
    sensitivity,
    tree,
)

SECTIONS = (
    overview.section,
    comparison.section,
    metrics.section,
    matrices.section,
    matrices.unparsed_section,
    parameters.section,
    sensitivity.section,
    evolution.budget_section,
    evolution.section,
    routing.section,
    activation.section,
    losses.section,
    tree.section,
    runtimes.section,
)
"""In the order of the page."""
