"""Hold out training rows for validation and test if a recipe names no rows for them.

Rows are held out by the hash of their source, so that copies stay in one split and adding rows
changes the split of few others; or from the end of the file, for a book or rows in chronological
order.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from llmkit.errors import UserError, count_of
from llmkit.metrics.labels import label_of
from llmkit.tasks import Row, Task

MAX_SOURCES = 10_000  # maximum number of distinct sources among which to fill an empty split
PARAGRAPH = re.compile(r"\n[ \t\r]*\n\s*")
SENTENCE = re.compile(r"""[.!?]["'”’»)]*\s+|[。！？][」』”]*""")
BLANK = re.compile(r"\s+")


@dataclass(frozen=True)
class Assignment:
    """The assignment of the rows of a source to splits."""

    split_of: Callable[[int, Row], str]
    """Returns the split, given the row's index in the source and the row."""
    how: str
    """Description of how rows were chosen, for a message."""
    identity: str
    """Text that identifies the assignment, for cache keys."""
    kept_in_train: list[str] = field(default_factory=list)
    """Locations (file:line) of rows that were not held out because train needs their label."""


def by_hash(
    rows: Iterable[Row],
    task: Task,
    shares: dict[str, float],
    source: str,
    advice: str = "",
) -> Assignment:
    """Hold out rows by the hash of their source.

    A split that would be empty gets the source with the lowest hash. If all rows of a label would
    be held out, they stay in train.

    Args:
        shares: Share of the rows by split.
        source: Name of the source, for messages.
        advice: More advice for the message about too few rows.

    Raises:
        UserError: There are too few rows.
    """
    survey = _survey(rows, task, shares)
    moved = {point: "train" for point, _ in survey.needed_in_train}
    if survey.missing(moved):
        splits = {p: moved.get(p, _split_at(p, shares)) for p in survey.labels}
        if not _fill(splits, survey.labels, list(shares)):
            raise UserError(f"{source}: {_too_few(survey, shares, task)}{advice}")
        moved = {p: split for p, split in splits.items() if split != _split_at(p, shares)}

    def split_of(index: int, row: Row) -> str:
        point = _hash_point(row, task)
        return moved.get(point) or _split_at(point, shares)

    kept = list(
        dict.fromkeys(w for point, w in survey.needed_in_train if moved.get(point) == "train")
    )
    how = f"by the hash of their {' and '.join(task.source_inputs)}"
    return Assignment(split_of, how, f"{shares} {sorted(moved.items())}", kept)


def by_end(
    read: Callable[[], Iterable[Row | UserError]], task: Task, shares: dict[str, float], source: str
) -> Assignment:
    """Hold out the last rows, in the order of the shares.

    Rows with a label that no earlier row has stay in train.

    Args:
        read: Starts a new pass over the rows.
        shares: Share of the rows by split.
        source: Name of the source, for messages.

    Raises:
        UserError: There are too few rows.
    """
    num_rows, first = 0, {}
    for index, row in enumerate(read()):
        num_rows += 1
        for label in _labels_of(row, task):
            first.setdefault(label, index)
    starts, start = [], num_rows
    for split, share in reversed(shares.items()):
        start -= max(1, round(share * num_rows))
        starts.append((start, split))
    if start < 1:
        raise UserError(
            f"{source}: {count_of(num_rows, 'row')}: too few to hold out "
            f"{' and '.join(shares)} rows; add rows, or name {_keys(shares)}"
        )
    late = {label for label, index in first.items() if index >= start}

    def split_of(index: int, row: Row) -> str:
        if late and _labels_of(row, task) & late:
            return "train"
        return next((split for start, split in starts if index >= start), "train")

    kept, filled = [], set()
    for index, row in enumerate(read() if late else ()):
        if not isinstance(row, UserError):
            filled.add(split_of(index, row))
            kept += [row["where"]] if _labels_of(row, task) & late else []
    for split in shares:
        if late and split not in filled:
            raise UserError(
                f"{source}: no row is left for {split}, since train needs all rows of the labels "
                f"that begin at the end of the file; set data.held_out=hash, or name data.{split}"
            )
    return Assignment(split_of, "from the end", f"end {starts} {sorted(late)}", kept)


def cut_document(text: str, shares: dict[str, float], source: str) -> dict[str, tuple[int, int]]:
    """Start and end of each split of one long text, in characters.

    The end of the text is held out, cut after a paragraph close to the given share, or else after a
    sentence or a word.
    """
    end, parts = len(text), {}
    share = 0.0
    for split, part in reversed(shares.items()):
        share += part
        start = _cut(text, round(len(text) * (1 - share)), round(len(text) * part / 2))
        parts[split] = (start, end)
        end = start
    parts["train"] = (0, end)
    if any(not text[start:end].strip() for start, end in parts.values()):
        raise UserError(
            f"{source}: a text of {len(text):,} characters: too short to hold out its end for "
            f"{' and '.join(shares)}; name {_keys(shares)}"
        )
    return parts


def _cut(text: str, target: int, reach: int) -> int:
    """The best position to cut the text, within `reach` characters of the target."""
    low, high = max(0, target - reach), target + reach
    for pattern in (PARAGRAPH, SENTENCE, BLANK):
        ends = [found.end() for found in pattern.finditer(text, low, high)]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return target


@dataclass
class _Survey:
    """Counts of the training rows before they are split."""

    shares: dict[str, float]
    num_rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Number of rows of each split by the hash alone."""
    labels: dict[float, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Labels of the rows of each source, by the source's hash; empty if there are too many
    sources."""
    needed_in_train: list[tuple[float, str]] = field(default_factory=list)
    """Hash of the source, and location, of each row whose label would be missing in train."""

    def missing(self, moved: dict[float, str]) -> bool:
        """Whether a split is empty and could be filled."""
        there = {moved.get(point, _split_at(point, self.shares)) for point in self.labels}
        return bool(self.labels) and len(there) <= len(self.shares)


def _survey(rows: Iterable[Row], task: Task, shares: dict[str, float]) -> _Survey:
    """Count the rows; for tasks without labels, stop when each split has a row."""
    survey = _Survey(shares)
    in_train: set[str] = set()
    waiting: dict[str, list[tuple[float, str]]] = defaultdict(list)
    is_small = True
    for row in rows:
        labels = _labels_of(row, task)
        if task.output == "label" and not labels:  # such rows are left out and cannot fill a split
            continue
        survey.num_rows += 1
        point = _hash_point(row, task)
        split = _split_at(point, shares)
        survey.counts[split] += 1
        if split == "train":
            in_train |= labels
        else:
            for label in labels - in_train:
                waiting[label].append((point, row["where"]))
        if is_small:
            survey.labels[point] |= labels
            is_small = len(survey.labels) <= MAX_SOURCES
        if task.output != "label" and len(survey.counts) > len(shares):
            break
    if not is_small:
        survey.labels.clear()
    survey.needed_in_train = list(
        chain.from_iterable(rows for label, rows in waiting.items() if label not in in_train)
    )
    return survey


def _fill(splits: dict[float, str], labels: dict[float, set[str]], shares: list[str]) -> bool:
    """Move one source into each empty split so that train keeps a row of every label; returns False
    if that is impossible."""
    for split in ("train", *shares):
        sizes = Counter(splits.values())
        if sizes[split]:
            continue
        in_train = Counter(
            chain.from_iterable(labels[p] for p, current in splits.items() if current == "train")
        )
        movable = [
            point
            for point, current in sorted(splits.items())
            if sizes[current] > 1
            and (current != "train" or all(in_train[label] > 1 for label in labels[point]))
        ]
        if not movable:
            return False
        preferred = [point for point in movable if splits[point] == "train"] or movable
        splits[preferred[-1 if split == "train" else 0]] = split
    return True


def _too_few(survey: _Survey, shares: dict[str, float], task: Task) -> str:
    needed, different = len(shares) + 1, len(survey.labels)
    what = count_of(survey.num_rows, "labeled row" if task.output == "label" else "row")
    if different < survey.num_rows:
        what += f" with {count_of(different, 'different source')}"
        what += f" ({' and '.join(task.source_inputs)})"
    if different >= needed:
        what += ", almost all of which train needs to have every label"
    return (
        f"{what}: too few to hold out {' and '.join(shares)} rows; add rows, or name "
        f"{_keys(shares)}"
    )


def _labels_of(row: Row | UserError, task: Task) -> set[str]:
    """A set with the row's label; empty if the task or the row has no label."""
    if isinstance(row, UserError) or task.output != "label":
        return set()
    return {label_of(row[task.target])} - {""}


def _keys(shares: Iterable[str]) -> str:
    return " and ".join(f"data.{split}" for split in shares)


def _split_at(point: float, shares: dict[str, float]) -> str:
    """The split of a source, determined by its hash only."""
    end = 0.0
    for split, share in shares.items():
        end += share
        if point < end:
            return split
    return "train"


def _hash_point(row: Row, task: Task) -> float:
    """A number in [0, 1) that depends only on the row's source."""
    texts = [row[name] for name in task.source_inputs]
    digest = hashlib.sha256(repr(texts[0] if len(texts) == 1 else texts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
