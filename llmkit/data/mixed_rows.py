"""Mix several sets of encoded rows: the rows of each epoch, and their order.

An epoch has as many rows as all sets together. Each set contributes its share of the tokens from
consecutive passes over the set, each in its own random order: a small set is repeated within an
epoch, and a large one continues in the next epoch. All rows of an epoch are then shuffled together.
The order is a pure function of seed, epoch and the sizes of the sets.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from llmkit.data.batches import shuffled_indices
from llmkit.data.encoded_rows import EncodedRows
from llmkit.data.token_blocks import TokenBlocks

TrainRows = EncodedRows | TokenBlocks
MAX_PASSES = 4  # per epoch; further passes are worth less (Muennighoff et al. 2023)


class MixedRows:
    """The rows of all sets, with consecutive indices."""

    def __init__(self, sets: dict[str, TrainRows], shares: dict[str, float]) -> None:
        """
        Args:
            sets: The sets by name.
            shares: Fraction of the tokens of an epoch for each set; the fractions add up to 1.
        """
        self.sets, self.shares = sets, shares
        self.first_rows = np.cumsum([0, *map(len, sets.values())])
        self.lengths = np.concatenate([rows.lengths for rows in sets.values()])
        """Number of tokens of each row, (num_rows,)."""
        self.supervised = np.concatenate([rows.supervised for rows in sets.values()])
        """Number of supervised tokens of each row, (num_rows,)."""
        means = np.array([rows.lengths.mean() for rows in sets.values()])
        weights = np.array([shares[name] for name in sets]) / means
        self.num_drawn = distribute(len(self), weights)

    def __len__(self) -> int:
        return int(self.first_rows[-1])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """`input_ids` and `labels` (T,) of a row; read-only."""
        rows, index = self._locate(index)
        return rows[index]

    def where(self, index: int) -> str:
        """Location (file:line) of a row."""
        rows, index = self._locate(index)
        return rows.where(index)

    def _locate(self, index: int) -> tuple[TrainRows, int]:
        number = int(np.searchsorted(self.first_rows, index, "right")) - 1
        return list(self.sets.values())[number], int(index - self.first_rows[number])

    def fingerprint(self) -> str:
        """SHA-256 of the tokens and labels of all sets, in order."""
        parts = [rows.fingerprint() for rows in self.sets.values()]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Indices (num_rows,) of the rows of an epoch, in order."""
        drawn = np.empty(len(self), np.int32 if len(self) < 2**31 else np.int64)
        start = 0
        for first, rows, count in zip(
            self.first_rows, self.sets.values(), self.num_drawn, strict=False
        ):
            part = drawn[start : start + count]
            fill_with_passes(part, len(rows), epoch * count, seed)
            part += int(first)
            start += count
        return drawn[shuffled_indices(len(self), seed, epoch)]


@dataclass(frozen=True)
class DrawnSet:
    """The contribution of a set to an epoch."""

    name: str
    num_rows: int
    """Number of rows in the set."""
    num_drawn: int
    """Number of rows drawn from the set per epoch, including repetitions."""
    share: float
    """Expected fraction of the tokens of an epoch."""

    @property
    def passes(self) -> float:
        """Passes over the set per epoch."""
        return self.num_drawn / self.num_rows

    @property
    def warning(self) -> str | None:
        """A warning if the set is repeated too often."""
        if self.passes <= MAX_PASSES:
            return None
        return (
            f"data.mix: an epoch makes {self.passes:.1f} passes over {self.name}; with more than "
            f"{MAX_PASSES}, repeated text is worth less and less (Muennighoff et al. 2023): lower "
            "its share, or add text"
        )

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.share:.1%} of the tokens; {self.num_drawn:,} encoded rows per "
            f"epoch of {self.num_rows:,} ({self.passes:.2g} passes)"
        )


def drawn_sets(rows: TrainRows | MixedRows) -> list[DrawnSet]:
    """The contribution of each set of a mix to an epoch; empty for a single set."""
    if not isinstance(rows, MixedRows):
        return []
    sets = list(zip(rows.sets.items(), rows.num_drawn, strict=True))
    tokens = {name: count * encoded.lengths.mean() for (name, encoded), count in sets}
    return [
        DrawnSet(name, len(encoded), count, tokens[name] / sum(tokens.values()))
        for (name, encoded), count in sets
    ]


def epoch_order(rows: TrainRows | MixedRows, seed: int, epoch: int) -> np.ndarray:
    """Indices (num_rows,) of the rows of an epoch, in order: a pure function of seed and epoch."""
    if isinstance(rows, MixedRows):
        return rows.order(seed, epoch)
    return shuffled_indices(len(rows), seed, epoch)


def fill_with_passes(drawn: np.ndarray, num_rows: int, start: int, seed: int) -> None:
    """Fill `drawn` with row indices of consecutive passes over a set, beginning at position `start`
    of all passes. Each pass has its own random order, which depends on the seed and its number."""
    filled = 0
    while filled < len(drawn):
        number, offset = divmod(start + filled, num_rows)
        part = shuffled_indices(num_rows, seed, number)[offset : offset + len(drawn) - filled]
        drawn[filled : filled + len(part)] = part
        filled += len(part)


def distribute(total: int, weights: np.ndarray) -> list[int]:
    """Integers that are proportional to the weights and add up to the total, each at least 1.

    The total must be at least the number of weights.
    """
    counts = np.maximum(1, np.rint(total * weights / weights.sum())).astype(int)
    while missing := total - int(counts.sum()):
        largest = counts.argmax()
        counts[largest] = max(1, counts[largest] + missing)
    return counts.tolist()
