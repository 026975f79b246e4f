"""What is odd about rows, how bad that is, and what to do about it.

An error means that training would be wrong; a warning, that something is lost or counted twice; a
note, that all is as it should be but good to know.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmkit.account import SHATTERED, Account
from llmkit.data import Rows
from llmkit.duplicates import SIMILAR, NearCopy, repeated_rows, rows_in_train
from llmkit.encode import is_blank
from llmkit.errors import UserError, name_some
from llmkit.labels import folded, spelled_out
from llmkit.model import END_OF_TEXT
from llmkit.prediction import Prediction
from llmkit.tasks import Row, Task, to_example

LEFT_OUT = ("empty", "completion too long")  # fates of the rows that nothing is learnt from
MOST = 0.5  # with more left out, the run is not the one that was asked for

# Kind of odd row -> severity, what is the matter, what to do.
KINDS = {
    "unreadable": ("error", "cannot be read", "mend or delete them, or set data.skip_invalid=true"),
    "invalid": (
        "warning", "cannot be read and are left out (data.skip_invalid)", "mend them to use them",
    ),
    "fields ignored": (
        "warning", "fields that are not read", "remove them if nothing is to depend on them",
    ),
    "most left out": (
        "error", "nothing to learn, which is most of the split",
        "mend the rows, raise max_length, or set truncate_completion=true",
    ),
    "empty": (
        "warning", "a text is empty, so there is nothing to learn", "mend or delete them",
    ),
    "completion too long": (
        "warning", "max_length has no room for the completion, so there is nothing to learn",
        "raise max_length, or set truncate_completion=true",
    ),
    "completion cut": (
        "warning", "completion cut, its end is not learnt nor where to stop", "raise max_length",
    ),
    "shattered": (
        "warning", f"over {SHATTERED} tokens a character, the tokenizer hardly knows the language",
        "take a model made for it",
    ),
    "repeated": ("warning", "the same as an earlier row", "delete the copies"),
    "nearly repeated": (
        "warning", f"nearly the same as an earlier row (similarity from {SIMILAR})",
        "delete the copies",
    ),
    "in train": (
        "warning", "also in train, so their scores measure memory", "delete them from train",
    ),
    "nearly in train": (
        "warning", f"nearly the same as a row of train (similarity from {SIMILAR})",
        "delete those from train",
    ),
    "label spelled differently": (
        "warning",
        "a label that differs from another only in case, spacing, invisible characters or Unicode "
        "form",
        "spell each label one way",
    ),
    "kept in train": (
        "warning", "the split would hold out every row of their label, so they stay in train",
        "add rows of that label, or name data.validation and data.test",
    ),
    "scored 0": (
        "warning", "score 0 even where predicted to the letter, the metric cannot read them",
        "choose another evaluation.metric, such as loss",
    ),
    "source in train": (
        "note", "their source is in train too, in another row",
        "name data.train alone, and rows of one source stay in one split",
    ),
    "input empty": (
        "note", "a text of the prompt is empty, and its place stays empty", "check that it may be",
    ),
    "prompt shortened": ("note", "source shortened to fit max_length", "raise max_length"),
    "end-of-text typed": (
        "note", f"{END_OF_TEXT} in the text, read as plain characters",
        "delete it where it was to end a text: each row is ended anyway",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Rows of one split that are odd in the same way."""

    split: str
    kind: str
    rows: list[str]
    """Where they stand (file:line); of unreadable ones, with what is wrong there."""
    originals: list[str] = field(default_factory=list)
    """For each of them the row that it repeats."""

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    @property
    def places(self) -> list[str]:
        """The rows, each with what it repeats."""
        if not self.originals:
            return self.rows
        pairs = zip(self.rows, self.originals, strict=True)
        return [f"{row} like {original}" for row, original in pairs]

    def __str__(self) -> str:
        severity, matter, advice = KINDS[self.kind]
        count = "1 row" if len(self.rows) == 1 else f"{len(self.rows):,} rows"
        return f"{severity}: {self.split}: {count}: {matter} ({name_some(self.places)}); {advice}"


def find_in_split(split: str, account: Account, train: Account | None) -> list[Finding]:
    """What encoding shows of a split, and its exact copies, in itself and in train.

    train: the account of the training rows; None when the split is them.
    """
    findings = [
        Finding(split, kind, rows) for kind, rows in account.odd_rows.items() if kind in KINDS
    ]
    left_out = [where for fate in LEFT_OUT for where in account.odd_rows.get(fate, [])]
    if len(left_out) > MOST * account.num_rows:
        findings.append(Finding(split, "most left out", left_out))
    copies = {"repeated": repeated_rows(account)}
    if train is not None:
        copies["in train"] = rows_in_train(account, train, "digest")
        known = {where for where, _ in copies["in train"]}
        sources = rows_in_train(account, train, "source_digest")
        copies["source in train"] = [pair for pair in sources if pair[0] not in known]
    for kind, pairs in copies.items():
        if pairs:
            findings.append(Finding(split, kind, *map(list, zip(*pairs, strict=True))))
    return by_severity(findings)


def find_near(copies: list[NearCopy], exact: list[Finding]) -> list[Finding]:
    """Near copies, by split and by where the original stands; those found `exact` are left away."""
    known = {
        (f.split, where) for f in exact if f.kind in ("repeated", "in train") for where in f.rows
    }
    found: dict[tuple[str, str], Finding] = {}
    for copy in copies:
        if (copy.split, copy.where) in known:
            continue
        kind = "nearly repeated" if copy.original_split == copy.split else "nearly in train"
        finding = found.setdefault((copy.split, kind), Finding(copy.split, kind, []))
        finding.rows.append(copy.where)
        finding.originals.append(copy.original)
    return list(found.values())


def find_unscorable(split: str, rows: Iterable[Row], task: Task, metric: str) -> list[Finding]:
    """References in scripts that the metric throws away, as ROUGE's tokenizer does."""
    if metric == "loss" or task.is_language_modelling or task.chooses:
        return []
    references = {row["where"]: to_example(row, task).references for row in rows}
    foreign = {
        where: texts for where, texts in references.items() if not any(map(is_readable, texts))
    }

    def scores_0(references: list[list[str]]) -> bool:
        said = [Prediction(texts[0]) for texts in references]
        return not task.score(said, references)[metric]

    if foreign == references and scores_0(list(foreign.values())):
        return [Finding(split, "scored 0", list(foreign))]
    unread = [
        where
        for where, texts in foreign.items()
        if scores_0([texts]) and not scores_0([[re.sub(r"\w", "a", text) for text in texts]])
    ]
    return [Finding(split, "scored 0", unread)] if unread else []


def find_spellings(split: str, rows: Iterable[Row], task: Task) -> list[Finding]:
    """Labels that look alike; the rows of all spellings but the most common one of each."""
    if not task.chooses:
        return []
    places: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        spelling = row[task.target].strip()
        spellings = places.setdefault(folded(spelling), {})
        spellings.setdefault(spelling, []).append(row["where"])
    finding = Finding(split, "label spelled differently", [])
    places.pop("", None)  # rows without a label
    for spellings in places.values():
        common, *others = sorted(spellings, key=lambda each: len(spellings[each]), reverse=True)
        for other in others:
            named = [f"{where} {spelled_out(other)}" for where in spellings[other]]
            finding.rows.extend(named)
            finding.originals.extend([f"{spellings[common][0]} {spelled_out(common)}"] * len(named))
    return [finding] if finding.rows else []


def is_readable(text: str) -> bool:
    """Whether the text has something in it that every metric reads, or is blank anyway."""
    return bool(re.search(r"[0-9A-Za-z]", text)) or is_blank(text)


def find_unreadable(split: str, errors: list[UserError], *, are_skipped: bool) -> list[Finding]:
    """Rows that cannot be read; an error, unless the recipe asks to leave them out."""
    kind = "invalid" if are_skipped else "unreadable"
    return [Finding(split, kind, [str(error) for error in errors])] if errors else []


def find_invalid(split: str, rows: Rows) -> list[Finding]:
    """Rows that are left out because they cannot be read. Reads the split."""
    if not rows.skips_unreadable:
        return []
    errors = [row for row in rows.read_all() if isinstance(row, UserError)]
    return find_unreadable(split, errors, are_skipped=True)


def find_kept(kept: Iterable[str]) -> list[Finding]:
    """kept: where training rows stand that were not held out, since train needs their labels."""
    rows = list(kept)
    return [Finding("train", "kept in train", rows)] if rows else []


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first."""
    return sorted(findings, key=lambda finding: list(KINDS).index(finding.kind))


def refuse_errors(findings: list[Finding]) -> None:
    """Raise UserError with the findings that would make training wrong."""
    errors = [str(f).removeprefix("error: ") for f in findings if f.severity == "error"]
    if errors:
        raise UserError("\n".join(errors))
