"""The one command: which tools there are, near misses, completion in a real shell."""

import os
import subprocess
import sys

import pytest

from stages.tools import cmit


def test_every_tool_is_a_module_with_a_command_line() -> None:
    found = cmit.tools()
    assert {"plan", "inspect", "measure", "convert-backbone"} <= set(found)
    assert "display" not in found and "cmit" not in found


def test_a_tool_runs_as_its_module_does(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cmit.main(["inspect", str(tmp_path / "none.json")])
    assert ended.value.code == 1
    assert "none.json" in capsys.readouterr().err


def test_a_near_miss_is_suggested(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cmit.main(["inspct"])
    assert ended.value.code == 1
    assert "unknown tool 'inspct'. Did you mean 'inspect'" in capsys.readouterr().err


def test_without_a_name_the_tools_are_listed(capsys) -> None:
    cmit.main([])
    shown = capsys.readouterr().out
    assert all(name in shown for name in cmit.tools())


def complete(words: list[str]) -> set[str]:
    """What bash offers after these words."""
    line = " ".join(f"'{word}'" for word in words)
    script = cmit.completion("bash")
    script += f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _cmit; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_bash_completes_names_and_flags() -> None:
    assert complete(["cmit", "pl"]) == {"plan"}
    assert complete(["cmit", "plan", "--gp"]) == {"--gpu", "--gpus"}
    assert complete(["cmit", "completion", "z"]) == {"zsh"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from stages.tools import cmit; cmit.main(['--help']);"
        "sys.exit(bool({'torch', 'transformers', 'snakemake', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_without_the_clone_the_command_says_what_to_do(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(cmit, "SCHEMAS", tmp_path / "workflow" / "schemas")
    with pytest.raises(SystemExit) as ended:
        cmit.main(["plan", "--config", "demo"])
    assert ended.value.code == 1
    assert "pip install -e ." in capsys.readouterr().err


@pytest.mark.parametrize(("asked_for", "shown"), [("", False), ("default", True)])
def test_warnings_for_developers_are_shown_on_request(asked_for: str, shown: bool) -> None:
    code = (
        "import warnings; from stages.tools import cmit, plan;"
        "plan.main = lambda argv: warnings.warn('will change', FutureWarning);"
        "cmit.main(['plan'])"
    )
    environment = {**os.environ, "PYTHONWARNINGS": asked_for}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert ("will change" in done.stderr) == shown
