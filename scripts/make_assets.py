"""Rebuild the embedded rows and the embedded model, and print what differs from before.

    python scripts/make_assets.py            both; the model takes about 3 hours on 2 cores
    python scripts/make_assets.py --rows     the rows only

The rows are the same bytes everywhere. The model is trained by `llmkit finetune pretrain --scale
embedded` on a corpus generated from a seed. Its weights are reproducible only on the same machine
with the same versions, so the test loss of the new weights is printed next to that of the old ones.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "llmkit" / "embedded"
BUILD = ROOT / "build" / "assets"
# Mix of documents (scripts/world/corpus.py explains the order), number of documents, schedule.
STAGES = [
    ("copying", 240_000, "cosine"),
    ("looking-up", 180_000, "warmup_stable_decay"),
    ("practising", 320_000, "warmup_stable_decay"),
    ("rehearsing", 100_000, "cosine"),
]
MAX_BYTES = 12_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", action="store_true", help="rebuild the rows only")
    only_rows = parser.parse_args().rows
    before = fingerprints()
    run("scripts/make_rows.py")
    if not only_rows:
        make_model()
    return report(before, fingerprints())


def make_model() -> None:
    """Pretrain on fresh corpora, stage by stage, and copy the result into the package."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    rows = EMBEDDED / "rows" / "pretrain"
    model = "scratch"
    for stage, (mix, documents, schedule) in enumerate(STAGES):
        corpus, folder = BUILD / f"{mix}.jsonl", BUILD / f"run-{mix}"
        run(
            "scripts/make_rows.py", "--corpus", corpus, "--documents", documents, "--mix", mix,
            "--seed", stage,
        )  # fmt: skip
        run(
            "-m", "llmkit", "finetune", "pretrain", "--scale", "embedded", f"model={model}",
            f"data.train={corpus}", f"data.validation={rows / 'validation.jsonl'}",
            f"data.test={rows / 'test.jsonl'}", f"train.schedule={schedule}",
            "--run-dir", folder, "--num-processes", 2,
        )  # fmt: skip
        model = folder / "model"
    run("-m", "llmkit", "evaluate", model, "--recipe", "pretrain", "model=embedded")
    shutil.rmtree(EMBEDDED / "gpt2", ignore_errors=True)
    shutil.copytree(model, EMBEDDED / "gpt2")


def run(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True)


def fingerprints() -> dict[str, str]:
    """sha256 of every embedded file."""
    return {
        str(path.relative_to(EMBEDDED)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(EMBEDDED.rglob("*"))
        if path.is_file()
    }


def report(before: dict[str, str], after: dict[str, str]) -> int:
    """Print which files differ; return 1 if rows differ or the assets are too large."""
    changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    for name in changed:
        print(f"differs: {name}")
    size = sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file())
    print(
        f"{len(after) - len(changed)} of {len(after)} files unchanged, {size / 1e6:.1f} MB in all"
    )
    if size > MAX_BYTES:
        print(f"too large: the embedded assets may not exceed {MAX_BYTES / 1e6:.0f} MB")
    return int(any(name.startswith("rows") for name in changed) or size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
