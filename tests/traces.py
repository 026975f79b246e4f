"""What a run leaves behind, as far as it must not depend on whether it was ever stopped."""

import hashlib
import json
from pathlib import Path
from typing import Any


def traces(run: Path) -> dict[str, Any]:
    """All that has to be equal: weights, optimizer, progress, every logged figure but the speed."""
    last = sorted((run / "checkpoints").iterdir())[-1]
    files = [run / "model" / "model.safetensors", run / "predictions.jsonl"]
    files += [last / name for name in ("weights.safetensors", "optimizer.safetensors")]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        **{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "checkpoint": last.name,
        "progress": json.loads((last / "state.json").read_text())["progress"],
        "log": [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines],
        "scores": json.loads((run / "metrics.json").read_text())["scores"],
    }
