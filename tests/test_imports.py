"""Who may import whom (CONTRIBUTING.md), and that `import hybrid_fast` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hybrid_fast

PACKAGE = Path(hybrid_fast.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"


def rooms() -> dict[str, set[str]]:
    """Read the table of rooms in CONTRIBUTING.md: name of each room to what it may import."""
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| (.*) \|$", CONTRIBUTING.read_text("utf-8"), re.MULTILINE
    )
    names = {name for name, _ in rows}
    few = {"nothing of ours": set(), "all of them": names}
    return {name: few.get(below, set(below.split(", "))) for name, below in rows}


MAY_IMPORT = rooms()


def test_every_room_is_in_the_table_and_names_rooms_alone():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(MAY_IMPORT) == folders
    assert set().union(*MAY_IMPORT.values()) <= folders


def imported_parts(path: Path) -> set[str]:
    """Parts of hybrid_fast that a module imports, relative imports resolved."""
    found = set()
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        found |= {n.split(".")[1] for n in names if n.startswith("hybrid_fast.")}
    return found & set(MAY_IMPORT)


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_parts_import_only_what_lies_below_them(part):
    modules = list((PACKAGE / part).rglob("*.py"))
    assert modules
    for path in modules:
        assert imported_parts(path) <= MAY_IMPORT[part] | {part}, path


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "numpy", "transformers", "datasets", "matplotlib", "triton", "faiss"}
    assert not heavy & loaded_after("import hybrid_fast")


def test_training_and_evaluation_load_nothing_that_draws():
    assert "matplotlib" not in loaded_after("import hybrid_fast.training, hybrid_fast.evaluation")


def test_ops_need_torch_alone():
    loaded = loaded_after("import hybrid_fast.ops")
    assert (
        not {"transformers", "datasets", "pyarrow", "babel", "faiss", "hybrid_fast._core"} & loaded
    )


def test_public_names_resolve():
    for name in hybrid_fast.__all__:
        assert getattr(hybrid_fast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hybrid_fast.nothing  # noqa: B018
