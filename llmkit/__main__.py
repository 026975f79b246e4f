"""`llmkit` and `python -m llmkit`."""

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it in one line, even while Python imports it."""
    try:
        from llmkit.cli import main as command
    except KeyboardInterrupt:
        print("llmkit: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
