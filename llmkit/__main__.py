"""`python -m llmkit` is the `llmkit` command."""

from llmkit.cli import main

if __name__ == "__main__":
    main()
