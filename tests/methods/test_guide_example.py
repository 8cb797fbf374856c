"""The method of docs/add-a-method.md, as it stands there, through the battery of every method."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stages.methods import registry as methods
from tests.helpers import battery
from tests.methods import test_every_method
from tests.methods.test_every_method import (  # noqa: F401 - run here with the stream below
    data,
    last,
    loaded,
    test_a_saved_state_gives_the_same_logits,
    test_an_answer_does_not_depend_on_its_batch,
    test_answers_become_likelier,
    test_as_many_trainable_parameters_as_the_budget,
    test_states_of_earlier_tasks_keep_their_bytes,
    test_what_learns_moves_and_nothing_else,
)

GUIDE = Path(__file__).parents[2] / "docs/add-a-method.md"


@pytest.fixture(scope="module")
def stream(tiny_folder, data, tmp_path_factory):  # noqa: F811 - the imported fixture
    """The finished jobs of the example, which the guide calls pull."""
    guide = GUIDE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    (name,) = re.findall(r"`stages/methods/(\w+)\.py`, draws", guide.replace("\n", " "))
    module = ModuleType(f"stages.methods.{name}")
    known = methods.names()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(methods, "names", lambda: [*known, name])
        exec(code, vars(module))
        yield test_every_method.stream_of(name, tiny_folder, data, tmp_path_factory.mktemp(name))


def test_the_example_differs_from_sequential_lora(stream, tiny_folder, data, tmp_path):  # noqa: F811
    plain = battery.train("seq_ft", "things", tiny_folder, data, tmp_path, battery.config(epochs=8))
    pulled, free = (job.summary["loss"][-1][1] for job in (stream[0]["things"], plain))
    assert pulled > free  # the pull is part of the loss, and holds the answers back
