"""What a configuration may hold."""

import pytest

from stages.core.base.config import check, from_argument
from stages.core.base.errors import InputError


def test_deep_nesting_on_the_command_line_is_a_fault():
    with pytest.raises(InputError, match="--config"):
        from_argument('{"a":' * 10**5)


def test_keys_of_several_types_are_unknown_keys():
    with pytest.raises(InputError, match="c: 1: unknown key 1"):
        check({1: "a", "x": "b", None: "c"}, "config", "c")
