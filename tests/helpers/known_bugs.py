"""Bugs of other toolkits, reintroduced by name.

With this module as a pytest plugin (`-p known_bugs`), the environment variable LLMKIT_KNOWN_BUG
names the bug to reintroduce. The bugs are in data_bugs.py and training_bugs.py.
"""

import os
import sys

import data_bugs  # noqa: F401  adds its bugs to BUGS
import training_bugs  # noqa: F401
from replaced_function import BUGS, find_function

VARIABLE = "LLMKIT_KNOWN_BUG"


def put_back(description: str) -> None:
    """Replace the function everywhere in the package, for the rest of this process."""
    known = BUGS[description]
    owner, name, present = find_function(known.function)
    with_bug = known.put_back(present)
    if with_bug is present:  # changed in place
        return
    setattr(owner, name, with_bug)
    for module in [m for n, m in sys.modules.items() if n.startswith("llmkit.")]:
        if getattr(module, name, None) is present:
            setattr(module, name, with_bug)


def put_back_from_environment() -> None:
    if os.environ.get(VARIABLE):
        put_back(os.environ[VARIABLE])


def pytest_sessionstart(session) -> None:
    put_back_from_environment()
