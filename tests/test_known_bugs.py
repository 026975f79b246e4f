"""Bugs of other toolkits, reintroduced one at a time: each must be caught by a test."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from known_bugs import BUGS, VARIABLE
from replaced_function import find_function
from runs import HELPERS

TESTS = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_reintroduced_bug_fails_its_test(name, tally):
    passed = tally("known bugs of other toolkits, reintroduced: caught by a named test")
    result = run_tests([BUGS[name].test], name)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout[-3000:]
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert any(f"::{BUGS[name].test}" in line for line in failed)
    passed()


@pytest.mark.slow
def test_the_named_tests_pass_without_a_bug():
    result = run_tests(sorted({known.test for known in BUGS.values()}))
    assert result.returncode == pytest.ExitCode.OK, result.stdout[-3000:]


@pytest.mark.parametrize("name", BUGS)
def test_every_known_bug_names_an_existing_function_and_test(name):
    """A rename in the package must not disable a bug unnoticed."""
    find_function(BUGS[name].function)
    file_of(BUGS[name].test)


def file_of(test: str) -> Path:
    """The file that defines a test."""
    definition = re.compile(rf"^def {test}\(", re.MULTILINE)
    files = TESTS.rglob("test_*.py")
    (file,) = (path for path in files if definition.search(path.read_text("utf-8")))
    return file


def run_tests(names: list[str], bug: str | None = None) -> subprocess.CompletedProcess:
    """Run tests of this suite with a bug reintroduced."""
    tests = [f"{file_of(name)}::{name}" for name in names]
    path = os.pathsep.join(filter(None, [str(HELPERS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, VARIABLE: bug or "", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *tests, "-q", "-x", "-p", "known_bugs",
         "-p", "no:cacheprovider"],
        cwd=TESTS.parent, capture_output=True, text=True, env=environment,
    )  # fmt: skip
