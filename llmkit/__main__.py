"""`llmkit` and `python -m llmkit`."""

import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it in one line, even while Python imports it."""
    try:
        from llmkit.cli import main as command
    except KeyboardInterrupt:
        print("llmkit: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    try:
        command()
    finally:
        # While Python exits, a further Ctrl-C ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
