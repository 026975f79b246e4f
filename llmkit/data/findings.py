"""Findings: problems of rows, with severity and advice.

An error means that training would be wrong; a warning, that data is lost or counted twice; a note
is for information.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from llmkit.constants import END_OF_TEXT
from llmkit.data.duplicates import MIN_ROW_SIMILARITY, NearCopy, repeated_rows, rows_in_train
from llmkit.data.encoding_report import EncodingReport
from llmkit.data.row_records import MAX_TOKENS_PER_CHARACTER
from llmkit.data.rows import Rows
from llmkit.errors import UserError, count_of, first_few
from llmkit.metrics import misjudged_as
from llmkit.metrics.labels import folded, spelled_out
from llmkit.tasks import Example, Row, Task, to_example

LEFT_OUT = ("empty", "completion too long")  # outcomes of rows that are not trained on
LOCATED = re.compile(r"(.+?:(?: row )?\d+): (.*)", re.DOTALL)  # location and error of a row
MAX_LEFT_OUT_SHARE = 0.5  # of a split; with more rows left out, the run is refused

# Kind of problem -> (severity, what is wrong, what to do).
KINDS = {
    "unreadable": ("error", "cannot be read", "fix or delete them, or set data.skip_invalid=true"),
    "invalid": (
        "warning", "cannot be read and are left out (data.skip_invalid)", "fix them to use them",
    ),
    "fields ignored": (
        "warning", "fields that llmkit ignores", "check that the answers do not depend on them",
    ),
    "most left out": (
        "error", "left out of training, which is most of the split",
        "fix the rows, raise data.max_length, or set data.truncate_completion=true",
    ),
    "empty": (
        "warning", "a text is empty, so the row is left out", "fix or delete them",
    ),
    "completion too long": (
        "warning", "the completion does not fit into max_length, so the row is left out",
        "raise data.max_length, or set data.truncate_completion=true",
    ),
    "completion truncated": (
        "warning", "completion truncated: the model sees neither its end nor end-of-text",
        "raise data.max_length",
    ),
    "over-tokenized": (
        "warning",
        f"more than {MAX_TOKENS_PER_CHARACTER} tokens per character: the tokenizer does not cover "
        "this language or notation",
        "use a model that was trained on such text",
    ),
    "duplicate": (
        "note", "removed: the same as an earlier or held-out row (data.remove_duplicates)",
        "nothing needs to be done",
    ),
    "near duplicate": (
        "note", "removed: nearly the same as an earlier or held-out row (data.remove_duplicates)",
        "compare a few of them, or set data.remove_duplicates=exact",
    ),
    "repeated": ("warning", "the same as an earlier row", "delete the copies"),
    "nearly repeated": (
        "warning", f"nearly the same as an earlier row (similarity from {MIN_ROW_SIMILARITY})",
        "delete the copies",
    ),
    "in train": (
        "warning", "also in train, so their scores measure memorization", "delete them from train",
    ),
    "nearly in train": (
        "warning", f"nearly the same as a row of train (similarity from {MIN_ROW_SIMILARITY})",
        "delete those from train",
    ),
    "label spelled differently": (
        "warning",
        "a label that differs from another only in case, spacing, invisible characters or Unicode "
        "normalization",
        "spell each label in one way",
    ),
    "kept in train": (
        "warning", "holding them out would leave train without their label, so they stay in train",
        "add rows of that label, or set data.validation and data.test",
    ),
    "no final answer": (
        "warning",
        "no final answer follows ####, so only a prediction without a final answer is scored as "
        "correct",
        "write the final answer after ####, or delete the rows",
    ),
    "no mark": (
        "warning",
        "an answer of several lines without ####, so its first line counts as the final answer",
        "write the final answer after #### on the last line",
    ),
    "rows in quotes": (
        "warning", "a quoted field holds lines that each look like a row, and is read as one text",
        "if these quotes are part of the texts, double them and put the field in quotes",
    ),
    "same id": (
        "error", "the id of another row, so their predictions cannot be told apart",
        "give each row its own id, or delete the column id",
    ),
    "not read": (
        "warning", "ROUGE reads only a-z and digits, so it misjudges these references",
        "use another score; evaluation.metric=loss selects the best weights by the loss",
    ),
    "not segmented": (
        "warning",
        "references without spaces, which count as a single word in F1, BLEU and TER",
        "set evaluation.f1=characters and evaluation.bleu.tokenize=char (zh for Chinese), and "
        "prefer chrF to TER",
    ),
    "too short": (
        "warning",
        "references of fewer than 4 tokens, which is most of the split: they have no 4-grams, so "
        "BLEU is 0 or depends on the few longer rows, even if every prediction is exact",
        "use chrF; evaluation.metric=chrf selects the best weights by it",
    ),
    "unanswerable": (
        "note", "no answer: only end-of-text is supervised, and an empty prediction is correct",
        "delete them if the answer is merely missing",
    ),
    "source in train": (
        "note", "their source also occurs in another row of train",
        "name only data.train: splits by hash keep rows of one source together",
    ),
    "input empty": (
        "note", "an input text is empty, so the prompt has a gap", "check that this is intended",
    ),
    "prompt truncated": ("note", "source truncated to fit max_length", "raise data.max_length"),
    "end-of-text typed": (
        "note", f"{END_OF_TEXT} in the text, read as plain characters",
        "delete it if it marks the end of a text: end-of-text is added to each row anyway",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Rows of one split with the same problem."""

    split: str
    kind: str
    rows: list[str]
    """Locations (file:line); for unreadable rows, with the error."""
    originals: list[str] = field(default_factory=list)
    """Location of the original of each row, if the rows are copies."""

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    @property
    def locations(self) -> list[str]:
        """Locations of the rows; for copies, with those of their originals."""
        if not self.originals:
            return self.rows
        pairs = zip(self.rows, self.originals, strict=True)
        return [f"{row} like {original}" for row, original in pairs]

    def __str__(self) -> str:
        severity, matter, advice = KINDS[self.kind]
        count = count_of(len(self.rows), "row")
        are_errors = self.kind in ("unreadable", "invalid")
        shown = first_few(without_repeated_errors(self.rows) if are_errors else self.locations)
        return f"{severity}: {self.split}: {count}: {matter} ({shown}); {advice}"


def without_repeated_errors(errors: list[str]) -> list[str]:
    """The errors of rows, without those that differ from an earlier one in numbers and quoted words
    only: of these, the location remains."""
    known, shown = set(), []
    for error in errors:
        located = LOCATED.fullmatch(error)
        where, problem = located.groups() if located else ("", error)
        form = re.sub(r"\d+|'.*?'", "", problem)
        shown.append(where if where and form in known else error)
        known.add(form)
    return shown


def find_in_split(
    split: str, encoding_report: EncodingReport, train: EncodingReport | None
) -> list[Finding]:
    """Problems found while encoding a split, and exact copies within it and in train.

    train: The report on the training rows; None if the split is train.
    """
    findings = [
        Finding(split, kind, rows)
        for kind, rows in encoding_report.rows_by_problem.items()
        if kind in KINDS
    ]
    left_out = [
        where for outcome in LEFT_OUT for where in encoding_report.rows_by_problem.get(outcome, [])
    ]
    if len(left_out) > MAX_LEFT_OUT_SHARE * encoding_report.num_rows:
        findings.append(Finding(split, "most left out", left_out))
    copies = {"repeated": repeated_rows(encoding_report)}
    if train is not None:
        copies["in train"] = rows_in_train(encoding_report, train, "digest")
        known = {where for where, _ in copies["in train"]}
        sources = rows_in_train(encoding_report, train, "source_digest")
        copies["source in train"] = [pair for pair in sources if pair[0] not in known]
    for kind, pairs in copies.items():
        if pairs:
            findings.append(Finding(split, kind, *map(list, zip(*pairs, strict=True))))
    return by_severity(findings)


def find_near(copies: list[NearCopy], exact: list[Finding]) -> list[Finding]:
    """Near copies by their split and that of the original, without exact copies."""
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


def find_unscorable(split: str, examples: Sequence[Example], task: Task) -> list[Finding]:
    """Rows whose references all are misjudged by a metric of the task."""
    found: dict[str, list[str]] = {}
    for example in examples:
        for metric in task.metrics:
            kinds = {misjudged_as(metric, reference) for reference in example.references}
            if None not in kinds:
                found.setdefault(kinds.pop(), []).append(example.where)
    if len(found.get("too short", [])) <= len(examples) / 2:
        found.pop("too short", None)  # the other references have enough 4-grams
    return [Finding(split, kind, list(dict.fromkeys(rows))) for kind, rows in found.items()]


def find_same_ids(split: str, rows: Iterable[Row]) -> list[Finding]:
    """Rows with the id of an earlier one."""
    first: dict[str, str] = {}
    pairs = [
        (row["where"], first[row["id"]])
        for row in rows
        if first.setdefault(row["id"], row["where"]) != row["where"]
    ]
    return [Finding(split, "same id", *map(list, zip(*pairs, strict=True)))] if pairs else []


def find_spellings(split: str, rows: Iterable[Row], task: Task) -> list[Finding]:
    """Rows whose label differs from a more common label only in its spelling."""
    if task.output != "label":
        return []
    by_label: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        spelling = row[task.target].strip()
        spellings = by_label.setdefault(folded(spelling), {})
        spellings.setdefault(spelling, []).append(row["where"])
    finding = Finding(split, "label spelled differently", [])
    by_label.pop("", None)  # rows without a label
    for spellings in by_label.values():
        common, *others = sorted(spellings, key=lambda each: len(spellings[each]), reverse=True)
        for other in others:
            named = [f"{where} {spelled_out(other)}" for where in spellings[other]]
            finding.rows.extend(named)
            finding.originals.extend([f"{spellings[common][0]} {spelled_out(common)}"] * len(named))
    return [finding] if finding.rows else []


def find_unfinished(split: str, rows: Iterable[Row], task: Task) -> list[Finding]:
    """Training rows of `reason` whose final answer is missing or unclear; for scored rows, see
    `find_unscorable`."""
    if "final_answer" not in task.metrics:
        return []
    return find_unscorable(split, [to_example(row, task) for row in rows], task)


def find_unreadable(split: str, errors: list[UserError], *, are_skipped: bool) -> list[Finding]:
    """Rows that cannot be read: an error unless the recipe skips them."""
    kind = "invalid" if are_skipped else "unreadable"
    return [Finding(split, kind, [str(error) for error in errors])] if errors else []


def find_invalid(split: str, rows: Rows) -> list[Finding]:
    """Rows that are skipped because they cannot be read. Reads the whole split."""
    if not rows.skips_unreadable:
        return []
    errors = [row for row in rows.read_all() if isinstance(row, UserError)]
    return find_unreadable(split, errors, are_skipped=True)


def find_kept(rows: list[str]) -> list[Finding]:
    """rows: Locations of training rows that were not held out because train needs their labels."""
    return [Finding("train", "kept in train", rows)] if rows else []


def find_rows_in_quotes(split: str, rows: Rows) -> list[Finding]:
    """Quoted fields of a table that seem to have swallowed rows."""
    locations = rows.rows_in_quotes()
    return [Finding(split, "rows in quotes", locations)] if locations else []


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the most severe first."""
    return sorted(findings, key=lambda finding: list(KINDS).index(finding.kind))


def refuse_errors(findings: list[Finding]) -> None:
    """Raise UserError if there are findings that would make training wrong."""
    errors = [str(f).removeprefix("error: ") for f in findings if f.severity == "error"]
    if errors:
        raise UserError("\n".join(errors))
