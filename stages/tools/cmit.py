"""One command for all tools: ``cmit NAME ...`` is ``python -m stages.tools.NAME ...``.

cmit                                        # what there is
cmit plan --config cmit
cmit inspect results/demo/seed0/allocations/numbers_ocr.json
eval "$(cmit completion bash)"              # or zsh: names, flags and files by Tab
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from stages.core.base import cli
from stages.core.base.config import CLONE, SCHEMAS
from stages.core.base.errors import InputError, unknown

HERE = Path(__file__).parent
SHELLS = ("bash", "zsh")


def tools() -> dict[str, Path]:
    """Every tool with a command line, by the name that is typed; nothing is imported."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        functions = {n.name for n in ast.parse(path.read_text()).body if hasattr(n, "name")}
        if path.stem != "cmit" and "main" in functions:
            found[path.stem.replace("_", "-")] = path
    return found


def flags(tool: Path) -> list[str]:
    """The long flags that a tool's text adds to its parser, sorted."""
    calls = (node for node in ast.walk(ast.parse(tool.read_text())) if isinstance(node, ast.Call))
    added = (c for c in calls if getattr(c.func, "attr", "") in ("add_argument", "add_parser"))
    words = {a.value for c in added for a in c.args if isinstance(a, ast.Constant)}
    return sorted(word for word in words if str(word).startswith("--"))


def overview() -> str:
    """Every tool with the first line of its docstring."""
    lines = ["usage: cmit NAME ...    (cmit NAME --help says more)", ""]
    for name, path in tools().items():
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        lines.append(f"  {name:<20} {first}")
    return "\n".join([*lines, f"  {'completion':<20} Print completion for a shell: bash or zsh."])


def completion(shell: str) -> str:
    """A script that completes names and flags, and files otherwise.

    Raises:
        InputError: an unknown shell.
    """
    if shell not in SHELLS:
        raise unknown("shell", shell, SHELLS, "cmit completion")
    names = " ".join([*tools(), "completion"])
    cases = "\n".join(
        f'    {name}) words="{" ".join(flags(path))} --help" ;;' for name, path in tools().items()
    )
    body = f"""_cmit() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  case "${{COMP_WORDS[1]}}" in
{cases}
    completion) words="{" ".join(SHELLS)}" ;;
  esac
  [ "$COMP_CWORD" -gt 1 ] || words="{names}"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _cmit cmit"""
    return body if shell == "bash" else f"autoload -U bashcompinit && bashcompinit\n{body}"


def run(argv: Sequence[str]) -> None:
    """Run a tool, or print what there is.

    Raises:
        InputError: no such tool (the nearest name is suggested), or the package without its clone.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return
    name, *rest = argv
    if name == "completion":
        print(completion(rest[0] if rest else ""))
        return
    if not SCHEMAS.is_dir():
        raise InputError(
            f"the workflow is not beside the package, at {CLONE / 'workflow'}; install it from a "
            "clone of the project with pip install -e . (with the -e)."
        )
    if name not in tools():
        raise unknown("tool", name, [*tools(), "completion"], "cmit")
    sys.argv[0] = f"cmit {name}"
    # Of libraries, for those who develop them; PYTHONWARNINGS=default brings them back.
    warnings.simplefilter("ignore", FutureWarning, append=True)
    import_module(f"stages.tools.{tools()[name].stem}").main(rest)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    cli.run(run, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    main()
