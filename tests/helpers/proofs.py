"""The tables of PROOF.md and SCORECARD.md: claims, and in how many trials each one holds."""

import pytest

TITLES = {
    "PROOF": "# Proof: claims about correctness, and how often each holds",
    "SCORECARD": "# Scorecard: faults, and how often runs survive them",
}
FIGURES = pytest.StashKey[dict]()  # claim -> reached, of, note, counts


def add_figure(config, claim, reached, of, note="", counts=None):
    entry = config.stash[FIGURES].setdefault(
        claim, {"reached": 0, "of": 0, "note": note, "counts": {}}
    )
    entry["reached"] += int(reached)  # NumPy scalars cannot be sent between processes
    entry["of"] += int(of)
    for name, count in (counts or {}).items():
        entry["counts"][name] = entry["counts"].get(name, 0) + int(count)


def write_proof(path, figures, outcomes, skipped):
    lines = [
        TITLES.get(path.stem, f"# {path.stem}"), "",
        f"Written by `make {path.stem.lower()}`; `make test` runs some trials of each claim.", "",
        "| claim | holds in | notes |", "|---|---|---|",
    ]  # fmt: skip
    for claim, entry in sorted(figures.items()):
        counts = [f"{count:,} {name}" for name, count in entry["counts"].items()]
        note = "; ".join([*filter(None, [entry["note"]]), *counts])
        lines.append(f"| {claim} | {entry['reached']:,} of {entry['of']:,} | {note} |")
    said = ", ".join(f"{count} {name}" for name, count in outcomes.items())
    lines += ["", f"Tests: {said}.", *(f"- skipped: {each.nodeid}" for each in skipped), ""]
    path.write_text("\n".join(lines), "utf-8")


def in_parts(count):
    """Split a test into parts that several processes can run; the suite runs the first one."""
    slow = (pytest.param(number, marks=pytest.mark.slow) for number in range(1, count))
    return pytest.mark.parametrize("part", [0, *slow])
