"""llmkit: fine-tune GPT-2 and prove what came of it."""

__version__ = "0.1.0"
