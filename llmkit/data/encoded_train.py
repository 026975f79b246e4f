"""The training rows of a recipe as tokens: those of `data.train`, and sets mixed in by weight."""

from dataclasses import dataclass, field

from llmkit.data.encoding_report import EncodingReport, join_reports
from llmkit.data.mixed_rows import MixedRows, TrainRows

OWN_ROWS = "train"  # name of the rows of data.train among the sets that are mixed


@dataclass(frozen=True)
class EncodedTrain:
    """The training rows as tokens."""

    encoded: TrainRows | MixedRows
    report: EncodingReport
    was_cached: bool
    mixed: dict[str, "EncodedTrain"] = field(default_factory=dict)
    """The sets that are mixed, by name, the one of OWN_ROWS first; empty if there is but one."""
    seconds: float = 0.0
    """Time that it took to encode the rows, or to read them from the cache."""

    @property
    def sets(self) -> dict[str, "EncodedTrain"]:
        """Each set of training rows, under the name that a run records it by."""
        others = {f"mix.{name}": of_set for name, of_set in self.mixed.items() if name != OWN_ROWS}
        return {OWN_ROWS: self.mixed.get(OWN_ROWS, self), **others}


def mix(sets: dict[str, EncodedTrain], shares: dict[str, float]) -> EncodedTrain:
    """Several sets as one, OWN_ROWS first. shares: Shares of the tokens of the others."""
    shares = {OWN_ROWS: 1 - sum(shares.values()), **shares}
    return EncodedTrain(
        MixedRows({name: of_set.encoded for name, of_set in sets.items()}, shares),
        join_reports([of_set.report for of_set in sets.values()]),
        all(of_set.was_cached for of_set in sets.values()),
        sets,
    )
