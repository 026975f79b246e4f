"""llmkit: fine-tune GPT-2 and measure what it gained.

The functions below are imported when they are first used, so that `import llmkit` is quick and
changes nothing: no warning filter, no signal handler, no environment variable.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "check",
    "compare",
    "evaluate",
    "finetune",
    "generate",
    "load_model",
    "load_recipe",
    "plan",
]

if TYPE_CHECKING:
    from llmkit.api import (
        check,
        compare,
        evaluate,
        finetune,
        generate,
        load_model,
        load_recipe,
        plan,
    )
    from llmkit.errors import UserError


def __getattr__(name: str) -> Any:
    if name == "UserError":
        from llmkit.errors import UserError

        return UserError
    if name in __all__:
        from llmkit import api

        return getattr(api, name)
    raise AttributeError(f"module 'llmkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
