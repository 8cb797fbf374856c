"""Which of a job's processes is named when it fails."""

from types import SimpleNamespace

import pytest

from stages.core.base.torchrun import first_death


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        # by process: exit code (below zero the signal's number), second of its end
        ({0: (1, 5), 1: (1, 4)}, "process 1 of this job failed; what it said is above."),
        ({0: (1, 4), 1: (-9, 5)}, "process 1 of this job was killed by SIGKILL, as when memory"),
        ({0: (-15, 4), 1: (1, 5)}, "process 1 of this job failed"),
        ({2: (-15, 4), 3: (-11, 5)}, "process 3 of this job was killed by SIGSEGV."),
        ({1: (-15, 4)}, "process 1 of this job was killed by SIGTERM."),
    ],
)
def test_the_cause_is_named_not_its_consequences(codes, said):
    failures = {
        rank: SimpleNamespace(exitcode=code, timestamp=end) for rank, (code, end) in codes.items()
    }
    assert first_death(failures).startswith(said)
