"""The file verification.json: which export a folder holds, and how it differs from the model of its
run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from llmkit import __version__
from llmkit.export.verification import Verification
from llmkit.io.safe_json import write_json
from llmkit.runs.folder import export_record_path
from llmkit.scoring.significance import Difference


@dataclass(frozen=True)
class ExportRecord:
    """The content of verification.json."""

    name: str
    """FORMAT:PRECISION"""
    num_rows: int
    """Number of test rows that were scored."""
    original: Verification
    """The figures of the model of the run."""
    export: Verification
    """The figures of the export."""
    llmkit: str = __version__
    """Version that wrote the export."""

    def write(self, folder: Path) -> None:
        write_json(export_record_path(folder), asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "ExportRecord":
        """Raises ValueError, TypeError or LookupError for a damaged file."""
        content = json.loads(export_record_path(folder).read_text("utf-8"))
        for name in ("original", "export"):
            figures = content[name]
            if figures["interval"] is not None:
                figures["interval"] = tuple(figures["interval"])
            if figures["change"] is not None:
                figures["change"] = Difference(**figures["change"])
            content[name] = Verification(**figures)
        return cls(**content)
