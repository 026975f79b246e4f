"""The process that opens an export with the program that will run it, and answers the questions.

    python -m llmkit.export.child FORMAT FOLDER SCRATCH

It reads SCRATCH/questions.json and writes its answers to SCRATCH.
"""

import sys
from pathlib import Path

from llmkit.errors import printable
from llmkit.export.answers import answers_of_runtime
from llmkit.export.formats import FORMATS
from llmkit.export.questions import Questions
from llmkit.runtime.console import library_imports


def main(format_name: str, folder: str, scratch: str) -> None:
    """Answer the questions, or write to SCRATCH/reason.txt why the export cannot be opened."""
    try:
        with library_imports():
            runtime = FORMATS[format_name].open_folder(Path(folder))
        questions = Questions.read(Path(scratch) / "questions.json")
        answers_of_runtime(runtime, questions).write(Path(scratch))
    except Exception as error:  # damaged files make the programs raise errors of any type
        reason = printable(f"{type(error).__name__}: {error}")
        (Path(scratch) / "reason.txt").write_text(reason, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
