"""Projects shared by the workflow's tests; a test that changes one takes a copy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.project import Project


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project without results."""
    return Project.fresh(tmp_path_factory.mktemp("fresh") / "project")


@pytest.fixture(scope="session")
def pretended(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All outputs are there and up to date, though empty."""
    project = fresh.copy(tmp_path_factory.mktemp("pretended") / "project")
    project.pretend()
    return project


@pytest.fixture
def finished(pretended: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of it to change."""
    yield pretended.copy(tmp_path / "project")
