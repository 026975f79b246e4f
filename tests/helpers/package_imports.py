"""The imports between modules of the package, read from their source."""

import ast
from functools import cache

from llmkit.paths import PACKAGE

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of the package that a module imports, at its top or inside a function."""
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "llmkit":
            base = node.module.removeprefix("llmkit").removeprefix(".")
            names = [f"{base}.{alias.name}".removeprefix(".") for alias in node.names]
            found |= {name if name in MODULES else base for name in names} - {""}
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("llmkit.")]
            found |= {name.removeprefix("llmkit.") for name in names}
    return frozenset(found)


def all_imports_of(*modules: str) -> set[str]:
    """These modules, and those of the package that they import directly or through others."""
    found, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        module = module if module in MODULES else f"{module}.__init__"
        if module not in found:
            found.add(module)
            waiting += imports_of(module)
    return found
