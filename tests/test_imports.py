"""The sub-packages import each other one way, and never in a circle."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from package_imports import MODULES, imports_of

from llmkit.paths import PACKAGE

# Packages and top-level files by level; a module imports only from levels above its own here.
LEVELS = [
    ["batching", "constants", "errors"],
    ["paths", "metrics", "units"],
    ["config", "tasks", "runtime", "io", "families"],
    ["data", "runs"],
    ["model"],
    ["generation", "scoring", "training"],
    ["evaluation", "planning"],
    ["export"],
    ["reports"],
    ["workflows", "serving"],
    ["commands", "api"],
    ["cli"],
    ["__main__"],
]
LEVEL_OF = {package: level for level, packages in enumerate(LEVELS) for package in packages}
MAX_TOP_FILES = 9


def package_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_and_top_level_file_has_a_level():
    packages = {package_of(module) for module in MODULES} - {"__init__"}
    assert packages == set(LEVEL_OF)
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_TOP_FILES
    assert all(module.count(".") <= 1 for module in MODULES), "packages are one level deep"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_a_module_imports_only_packages_of_lower_levels(module):
    package = package_of(module)
    for imported in imports_of(module):
        other = package_of(imported)
        if other != package:
            assert LEVEL_OF[other] < LEVEL_OF[package], f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in MODULES if "__" not in name])
def test_a_module_has_a_test_file_of_its_name(module):
    *package, name = module.split(".")
    path = Path(__file__).parent.joinpath(*package, f"test_{name}.py")
    assert "def test_" in path.read_text("utf-8")


def test_no_modules_import_each_other_in_a_circle():
    def file_of(module: str) -> str:
        return module if module in MODULES else f"{module}.__init__"

    graph = {module: {file_of(name) for name in imports_of(module)} - {module}
             for module in MODULES}  # fmt: skip
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
