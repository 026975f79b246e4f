"""The encoded training rows of a recipe: `data.train`, and the sets of `data.mix`."""

from dataclasses import dataclass, field

from llmkit.data.encoding_report import EncodingReport, join_reports
from llmkit.data.mixed_rows import MixedRows, TrainRows
from llmkit.data.rows import Rows

TRAIN_SET = "train"  # name of the rows of data.train among the sets of a mix


@dataclass(frozen=True)
class EncodedTrain:
    """Encoded training rows."""

    encoded: TrainRows | MixedRows
    report: EncodingReport
    was_cached: bool
    mixed: dict[str, "EncodedTrain"] = field(default_factory=dict)
    """The sets of a mix by name, TRAIN_SET first; empty if there is no mix."""
    seconds: float = 0.0
    """Seconds to encode the rows or to read them from the cache."""

    @property
    def sets(self) -> dict[str, "EncodedTrain"]:
        """The sets of training rows by their names in run.json."""
        others = {
            name_in_run(name): of_set for name, of_set in self.mixed.items() if name != TRAIN_SET
        }
        return {TRAIN_SET: self.mixed.get(TRAIN_SET, self), **others}


def name_in_run(name: str) -> str:
    """The name of a set of `data.mix` in run.json, findings and tables."""
    return f"mix.{name}"


def rows_of_mix(train: Rows) -> dict[str, Rows]:
    """The rows of each set of `data.mix`, by their names in run.json."""
    return {name_in_run(name): of_set.rows for name, of_set in train.mixed.items()}


def mix(sets: dict[str, EncodedTrain], shares: dict[str, float]) -> EncodedTrain:
    """Mix several sets, TRAIN_SET first.

    shares: Share of the tokens of each of the other sets.
    """
    shares = {TRAIN_SET: 1 - sum(shares.values()), **shares}
    return EncodedTrain(
        MixedRows({name: of_set.encoded for name, of_set in sets.items()}, shares),
        join_reports([of_set.report for of_set in sets.values()]),
        all(of_set.was_cached for of_set in sets.values()),
        sets,
    )
