"""The `data` section of a recipe: where the rows come from, and how they are tokenized."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llmkit.config.section import Section

EMBEDDED = "embedded"  # the name of the package's rows
SOURCES = ("hub", "train", "validation", "test", "tests")
Column = str | Annotated[list[str], Field(min_length=1)]


class RowSource(Section):
    """The location of rows, and how they are read."""

    hub: str | None = None
    """Hub id of a data set, such as rajpurkar/squad."""
    config: str | None = None
    """Configuration of the hub data set, such as 3.0.0."""
    revision: str | None = None
    """Branch, tag or commit of the hub data set."""
    streaming: bool = False
    """Stream the hub data set instead of downloading it; requires `limit`."""
    rows: Literal["document", "paragraph", "line"] = "paragraph"
    """Unit of a .txt file that counts as a row: the whole file, a paragraph (blank lines in
    between), or a line."""
    encoding: str | None = None
    """Encoding of text files, such as cp1252. null: UTF-8, or UTF-16 if the file starts with a byte
    order mark."""
    columns: dict[str, Column | dict[str, Column]] = Field({})
    """Mapping from the columns of the task to those of the data; dots access nested values
    (answers.text). A list names several references ([summary1, summary2]); the model is trained on
    the first. A split can have its own mapping (columns.test.summary=abstract)."""
    limit: int | None = Field(None, ge=1)
    """Number of rows to read from the start of each split. null: all."""

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str | None) -> str | None:
        try:
            "a\n".encode(encoding or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            raise ValueError(
                "not a text encoding of Python; common ones are utf-8, utf-16, cp1252, latin-1"
            ) from None
        return encoding

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_are_names(cls, columns: Any) -> Any:
        """Give one message instead of one per accepted type; null removes a key."""
        if not isinstance(columns, dict):
            return columns
        columns = {key: value for key, value in columns.items() if value is not None}
        for key, value in columns.items():
            by_name = value if isinstance(value, dict) else {"": value}
            for name, column in by_name.items():
                names = column if isinstance(column, list) else [column]
                if not names or not all(isinstance(each, str) for each in names):
                    raise ValueError(
                        f"{'.'.join(filter(None, (key, name)))} takes the name of a column, or a "
                        "list of names"
                    )
        return columns

    @model_validator(mode="after")
    def _streaming_fits(self) -> "RowSource":
        if self.streaming and (self.hub is None or self.limit is None):
            raise ValueError("streaming needs hub and limit in the same section")
        return self


class MixedSet(RowSource):
    """A further set of training rows; keys that are not listed here are taken from `data`."""

    share: float = Field(gt=0, lt=1)
    """Share of the tokens of each epoch."""
    train: str
    """Training rows of the set: a file, a pattern, a folder or a split of the hub data set, as in
    `data.train`."""


class Data(RowSource):
    """The sources of the rows, and how rows are tokenized. A recipe that names no rows uses those
    that are embedded in the package."""

    train: str | None = None
    """Training rows: a file (jsonl, json, csv, tsv or txt, optionally compressed as .gz, .bz2, .xz
    or .zst; parquet, arrow, feather), a pattern such as `part-*.parquet`, a folder of such files, a
    folder written by `save_to_disk` of datasets or by `llmkit prepare`, a split of the hub data
    set, or `embedded`, which is the default of a recipe that names no rows. Validation and test
    splits in the same saved folder are used too."""
    mix: dict[str, MixedSet] = Field({})
    """Further sets of training rows by a name of your choice (only `pretrain`), mixed by their
    shares of the tokens; `train` gets the remaining share. They are not used for validation and
    test."""
    validation: str | None = None
    """Validation rows: a file, a hub split or `embedded`. null: hold out a share of the training
    rows; if those are embedded, the embedded validation rows."""
    test: str | None = None
    """Test rows: a file, a hub split or `embedded`. null: hold out a share of the training rows; if
    those are embedded, the embedded test rows."""
    tests: dict[str, str] = Field({})
    """Further test sets by a name of your choice: files, hub splits or `embedded`. Each is scored
    separately."""
    validation_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the training rows to hold out for validation if `validation` is null."""
    test_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the training rows to hold out for testing if `test` is null."""
    held_out: Literal["hash", "end"] = "hash"
    """Rows to hold out. hash: chosen by the hash of their source, so that copies stay in one split;
    end: the last rows, validation before test, or the end of one long text (`rows: document`)."""
    source_language: str | None = None
    """Source language of `translate` as the prompt names it, such as English. null: the language
    that the column is named after (en, translation.en), else English."""
    target_language: str | None = None
    """Target language of `translate`. null: the language that the column is named after, else
    German. A template can contain both languages: {source_language}, {target_language}."""
    skip_invalid: bool = False
    """Skip rows that cannot be read, such as conversations with tool calls, and report their number
    and location. false: stop with an error at the first such row."""
    remove_duplicates: Literal["exact", "near"] | None = None
    """Remove training rows that repeat an earlier or a held-out row; the first occurrence is kept.
    exact: all texts are equal apart from white space at both ends; near (only `pretrain`): also
    documents that have about 80 % of their word pairs in common. null: keep duplicates."""
    template: str | None = None
    """Prompt template with {column} placeholders for any columns of the data. A section
    {#column}...{/column} is omitted if the column is empty. null: the task's own template."""
    max_length: int = Field(512, ge=2)
    """Maximum length of a training row in tokens, including prompt, completion and end-of-text."""
    truncate_completion: bool = False
    """Truncate a completion that does not fit into max_length instead of dropping the row."""
    packing: bool = False
    """Pack several rows into one sequence of max_length tokens, without attention between them:
    less padding, the same result (train.forward=padding_free never pads). With `pretrain`,
    documents become separate rows instead of one stream."""

    @property
    def is_embedded(self) -> bool:
        """Whether the training rows are those of the package."""
        return self.hub is None and self.train == EMBEDDED

    @property
    def names_others(self) -> bool:
        """Whether some rows are not those of the package."""
        names = {self.train, self.validation, self.test, *self.tests.values()}
        return self.hub is not None or bool(names - {EMBEDDED, None})

    @model_validator(mode="before")
    @classmethod
    def _embedded_by_default(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        names_none = all(content.get(key) in (None, {}) for key in SOURCES)
        return {**content, "train": EMBEDDED} if names_none else content

    @model_validator(mode="after")
    def _sources_fit(self) -> "Data":
        if self.train is None:
            embedded = "" if self.hub else f"; data.train={EMBEDDED} for the embedded rows"
            raise ValueError(
                f"data.train is missing: labels and baselines come from it; set it{embedded}"
            )
        taken = ["train", "validation", "test"]
        named = [f"tests.{name}" for name in self.tests] + [f"mix.{name}" for name in self.mix]
        for key in named:
            _, _, name = key.partition(".")
            if not re.fullmatch(r"[\w-]{1,60}", name) or name.casefold() in taken:
                raise ValueError(
                    f"data.{key}: choose a name of up to 60 letters, digits, _ and - that "
                    f"differs from {', '.join(taken)}, and not in case alone"
                )
            taken.append(name.casefold())
        shares = {name: mixed.share for name, mixed in self.mix.items()}
        if sum(shares.values()) >= 1:
            raise ValueError(
                f"data.mix: the shares add up to {sum(shares.values()):g}, which leaves nothing "
                "for data.train; lower them"
            )
        return self

    def of_mixed_set(self, name: str) -> "Data":
        """The section with the rows of a set of `mix` in place of its own."""
        fields = self.mix[name].model_dump(exclude={"share"})
        return self.model_copy(update={**fields, "mix": {}, "tests": {}})
