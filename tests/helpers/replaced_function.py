"""Bugs to reintroduce, each as a replacement of one function of the package.

A bug names the function by module and name, and the test that must fail with it. Its replacement
takes the current function and returns one with the bug, so neither an edit of the function's source
nor a moved test makes a bug stale.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class KnownBug(NamedTuple):
    function: str
    """`module:name` or `module:Class.name`, without `llmkit.` before it."""
    test: str
    """Name of the test that must fail."""
    put_back: Callable[[Any], Any]
    """Takes the current function and returns one with the bug."""


BUGS: dict[str, KnownBug] = {}


def bug(description: str, function: str, test: str) -> Callable:
    def register(put_back: Callable[[Any], Any]) -> Callable[[Any], Any]:
        BUGS[description] = KnownBug(function, test, put_back)
        return put_back

    return register


def find_function(function: str) -> tuple[Any, str, Any]:
    """(module or class, name, function)."""
    module, _, path = function.partition(":")
    *classes, name = path.split(".")
    owner = import_module(f"llmkit.{module}")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name, inspect.getattr_static(owner, name)
