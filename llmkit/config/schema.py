"""What a run is: the typed schema of a recipe.

Every default of the project stands in this file and nowhere else. The text under a field is its
documentation, unit included; `llmkit recipes --fields` prints it.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

# A single text stands for a list of one: evaluation.by=topic.
OneOrMore = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value,
    json_schema_input_type=str | list[str],
)

Column = str | Annotated[list[str], Field(min_length=1)]


class Section(BaseModel):
    """A strict part of a recipe: unknown keys and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Scratch(Section):
    """Shape of a GPT-2 that starts from random weights (`model: scratch`)."""

    n_layer: int = Field(4, ge=1)
    """Transformer blocks."""
    n_head: int = Field(4, ge=1)
    """Attention heads in a block; divides n_embd."""
    n_embd: int = Field(128, ge=1)
    """Width of the model."""
    n_positions: int = Field(512, ge=2)
    """Longest sequence the model can read, in tokens."""
    vocab_size: int = Field(4096, ge=257)
    """Entries of the byte-level BPE that is trained on the training rows. Words of more than 256
    bytes, as in text without spaces, are split for this training."""
    initializer_range: float = Field(0.02, gt=0)
    """Standard deviation of the random weights; about 1/sqrt(n_embd) suits a narrow model."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Scratch":
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head ({self.n_head}) must divide n_embd ({self.n_embd})")
        return self


class Model(Section):
    """The model that training starts from. A name alone stands for the section: `model: gpt2`."""

    name: str = "embedded"
    """embedded, scratch, a GPT-2 folder, or a hub id such as gpt2 or gpt2-medium."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    scratch: Scratch = Scratch()
    """Shape of the model when `name` is scratch."""


# A name alone stands for the whole section: model=gpt2.
ModelOrName = Annotated[
    Model,
    BeforeValidator(
        lambda value: {"name": value} if isinstance(value, str) else value,
        json_schema_input_type=str | Model,
    ),
]


class Data(Section):
    """Where the rows come from, and how they become tokens. Without `train` and `hub`: the task's
    embedded rows."""

    hub: str | None = None
    """Hub id of a data set, such as rajpurkar/squad."""
    config: str | None = None
    """Configuration of the hub data set, such as 3.0.0."""
    revision: str | None = None
    """Branch, tag or commit of the hub data set."""
    streaming: bool = False
    """Read hub rows as they are needed instead of downloading the set; needs `limit`."""
    train: str | None = None
    """Training rows: a file (jsonl, json, csv, tsv, txt, each also as .gz, .bz2, .xz or .zst;
    parquet, arrow, feather), a pattern such as `part-*.parquet`, a folder of such files or one
    written by `save_to_disk` of datasets, whose splits are all used; or a split of the hub set."""
    validation: str | None = None
    """Validation rows: a file or a hub split; null: a share of the training rows."""
    test: str | None = None
    """Test rows: a file or a hub split; null: a share of the training rows."""
    tests: dict[str, str] = {}
    """More test rows, files or hub splits by a name of your choice, each scored by itself."""
    validation_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the training rows held out when `validation` is not named."""
    test_fraction: float = Field(0.1, gt=0, lt=0.5)
    """Share of the training rows held out when `test` is not named."""
    held_out: Literal["hash", "end"] = "hash"
    """Which rows are held out. hash: by the hash of their source, so that copies stay together;
    end: the last rows, validation before test, or the end of one long text (`rows: document`)."""
    rows: Literal["document", "paragraph", "line"] = "paragraph"
    """What makes a row of a .txt file: all of it, a paragraph (blank lines separate), or a line."""
    encoding: str | None = None
    """Encoding of text files, such as cp1252; null: UTF-8, or UTF-16 if the first bytes show it."""
    columns: dict[str, Column | dict[str, Column]] = {}
    """Column of the data for each column of the task; dots reach into nested ones (answers.text). A
    list names several references ([summary1, summary2]), the first of which is trained on. A split
    or a further test set can have its own columns (columns.test.summary=abstract)."""
    source_language: str | None = None
    """Language that `translate` translates from, as the prompt names it, such as English; null: the
    one that the column's name stands for (en, translation.en), else English."""
    target_language: str | None = None
    """Language that `translate` translates into; null: the one that the column's name stands for,
    else German. A template may name both languages: {source_language}, {target_language}."""
    skip_invalid: bool = False
    """Skip rows that cannot be read, such as conversations with tool calls, and report how many
    there are and where; false: stop with an error at the first."""
    limit: int | None = Field(None, ge=1)
    """Read only the first rows of each file or hub split; rows."""
    template: str | None = None
    """Prompt with {column} marks for any columns of the data; a section {#column}...{/column} is
    left out if the column is empty. null: the task's own."""
    max_length: int = Field(512, ge=2)
    """Longest training row, prompt and completion and end-of-text together; tokens."""
    truncate_completion: bool = False
    """Cut a completion that does not fit max_length instead of dropping the row."""
    packing: bool = False
    """Lay several rows into one sequence of max_length tokens, where they do not see each other:
    less padding, the same result (train.forward=padding_free never pads). Texts of pretrain become
    rows of their own, not one stream."""

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
        """One message instead of one for each type that a value could have; null unsets a key."""
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
    def _streaming_is_bounded(self) -> "Data":
        if self.streaming and (self.hub is None or self.limit is None):
            raise ValueError("streaming needs data.hub and data.limit")
        if self.train is None and (self.hub or self.validation or self.test or self.tests):
            raise ValueError("data.train is missing: labels and baselines come from it; name it")
        taken = ["train", "validation", "test"]
        for name in self.tests:
            if not re.fullmatch(r"[\w-]{1,60}", name) or name.casefold() in taken:
                raise ValueError(
                    f"data.tests.{name}: choose a name of up to 60 letters, digits, _ and - that "
                    f"differs from {', '.join(taken)}, and not in case alone"
                )
            taken.append(name.casefold())
        return self


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685), used with `train.method: lora`."""

    r: int = Field(8, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(16, ge=1)
    """The adapter's output is scaled by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in front of the adapter; probability."""
    target_modules: list[Literal["c_attn", "c_proj", "c_fc"]] = ["c_attn", "c_proj", "c_fc"]
    """Layers of GPT-2 that get an adapter (c_proj: the attention's and the MLP's)."""


Forward = Literal["padding_free", "transformers"]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    """How the weights are changed."""

    method: Literal["full", "lora"] = "full"
    """Train all weights, or low-rank adapters that are merged into the saved model."""
    lora: Lora = Lora()
    """Settings of the adapters."""
    freeze_layers: int = Field(0, ge=0)
    """Keep the embeddings and this many lowest blocks as they are; blocks. 0: train all."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the training rows; give this or max_steps."""
    max_steps: int | None = Field(None, ge=1)
    """Optimizer steps; give this or epochs."""
    global_batch_size: int = Field(32, ge=1)
    """Rows of one optimizer step, over all processes and micro-batches."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Rows of one forward pass in one process; the accumulation follows from it. null: as many as
    fit into memory, up to a few thousand tokens."""
    optimizer: Literal["adamw", "rmsprop", "sgd", "adafactor"] = "adamw"
    """Update rule; sgd has momentum."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate."""
    min_learning_rate: float = Field(0.0, ge=0)
    """Learning rate at the end of the cosine, linear or warmup_stable_decay schedule."""
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup_steps: Count | Share = 0
    """Linear rise from 0 to the peak: optimizer steps, or, as a decimal below 1, their share."""
    decay_steps: int | None = Field(None, ge=1)
    """Length of warmup_stable_decay's decay; optimizer steps. null: a fifth of the run."""
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.9, 0.999], min_length=2, max_length=2
    )
    """Decay of AdamW's moments; RMSprop's smoothing is the second, SGD's momentum the first."""
    weight_decay: float = Field(0.01, ge=0)
    """Decay of the weight matrices, not of biases and LayerNorm: decoupled in adamw and
    adafactor, added to the gradient in rmsprop and sgd."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Clip the gradient to this norm; null: no clipping."""
    max_nonfinite_steps: int = Field(0, ge=0)
    """Leave out up to so many steps whose loss or gradient is not finite, then stop; steps."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout everywhere in the model; null: what the model's config says."""
    forward: Forward = "padding_free"
    """Forward pass: llmkit's own, which never pads, or that of Hugging Face transformers."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward and backward pass, weights stay float32. auto: on a CPU bf16 where
    it is measured to be faster, else no; on a GPU bf16 if the hardware has it, else fp16 (Volta,
    Turing) or no (older). fp16 needs a GPU."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: the accelerators that are there, else the CPU."""
    log_every: int = Field(10, ge=1)
    """A line of metrics.jsonl every so many optimizer steps."""

    @model_validator(mode="after")
    def _one_length(self) -> "Train":
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("give one of train.epochs and train.max_steps, the other null")
        return self


class Checkpoint(Section):
    """What a run that was stopped goes on from (`finetune --resume`)."""

    every: int | None = Field(None, ge=1)
    """Write a checkpoint every so many optimizer steps; null: after each validation."""
    minutes: float | None = Field(10.0, gt=0)
    """Also write one when so many minutes have passed since the last; null: never."""
    keep: int = Field(2, ge=1)
    """Checkpoints to keep besides the one with the best weights."""


class Bleu(Section):
    """BLEU, computed by sacreBLEU."""

    tokenize: Literal[
        "auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none"
    ] = "auto"
    """sacreBLEU's tokenizer; auto: by the script of the references (zh, ja-mecab, ko-mecab, char
    for other scripts without spaces, else 13a). ja-mecab and ko-mecab need the extras ja and ko,
    flores200 downloads a model."""


class BertScore(Section):
    """BERTScore (Zhang et al. 2020), beside the task's own scores."""

    model: str | None = None
    """Folder of an encoder, such as roberta-large; null: no BERTScore."""
    layer: int | None = Field(None, ge=1)
    """Layer whose output is compared; null: the one that BERTScore's authors recommend."""


class Evaluation(Section):
    """How the model is scored during and after training."""

    metric: str | None = None
    """Score that chooses the best weights; null: the task's own."""
    every: int | None = Field(None, ge=1)
    """Validate every so many optimizer steps; null: at the end of each epoch."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Stop after so many validations in a row without a better score; null: never."""
    validation_rows: int | None = Field(None, ge=1)
    """Validate on the first rows only; rows. null: all."""
    test_rows: int | None = Field(None, ge=1)
    """Score on the first test rows only; rows. null: all."""
    by: Annotated[list[str], OneOrMore] = []
    """Columns of the test rows, such as topic, whose values also get separate scores."""
    general_text: str | None = None
    """Texts (a file, or `embedded`) that have nothing to do with the task: their perplexity before
    and after shows what was forgotten. null: not measured."""
    f1: Literal["words", "characters"] = "words"
    """What exact match and F1 compare. words: words between spaces, as in SQuAD's script;
    characters: characters of scripts without spaces and words of others, as in MLQA's script for
    Chinese."""
    bleu: Bleu = Bleu()
    """How BLEU is computed."""
    bertscore: BertScore = BertScore()
    """One more score of generated texts."""
    votes: int = Field(1, ge=1)
    """Answers drawn for each row of `reason`, to take the final one that most of them have; above 1
    with generation.temperature."""
    batch_size: int = Field(32, ge=1)
    """Rows of one batch of evaluation or generation; scores do not depend on it."""

    @property
    def limits(self) -> dict[str, int | None]:
        """How many rows of each split are scored; of further test rows as many as of `test`."""
        return {"validation": self.validation_rows, "test": self.test_rows}


class Generation(Section):
    """Decoding. Without temperature, top_k and top_p: greedy, or beams with num_beams."""

    max_new_tokens: int = Field(64, ge=1)
    """Longest completion; tokens."""
    min_new_tokens: int = Field(0, ge=0)
    """Shortest completion; tokens."""
    temperature: float = Field(0.0, ge=0)
    """0: take the likeliest token; above: sample from softmax(logits / temperature)."""
    top_k: int = Field(0, ge=0)
    """Sample among the likeliest tokens only; 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample among the likeliest tokens that hold this probability together."""
    num_beams: int = Field(1, ge=1)
    """Beams of a beam search; 1: none."""
    num_return_sequences: int = Field(1, ge=1)
    """Completions per prompt."""

    @model_validator(mode="after")
    def _settings_agree(self) -> "Generation":
        sampling = self.temperature > 0
        if not sampling and (self.top_k or self.top_p < 1):
            raise ValueError("top_k and top_p need temperature above 0")
        if not sampling and self.num_return_sequences > self.num_beams:
            raise ValueError(
                "num_return_sequences needs temperature above 0, or num_beams of at least as many"
            )
        if 0 < self.temperature < 1e-3:
            raise ValueError("a temperature below 0.001 overflows; 0 takes the likeliest token")
        if self.num_return_sequences > self.num_beams > 1:
            raise ValueError("num_return_sequences is above num_beams")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens is above max_new_tokens")
        return self


class Recipe(Section):
    """Everything that defines a run."""

    task: str
    """summarize, translate, qa, classify, instruct, chat, reason or pretrain."""
    model: ModelOrName = Model()
    """The model that training starts from."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the row order, the dropout, new weights and sampling."""
    trackers: Annotated[list[Literal["tensorboard", "wandb", "trackio"]], OneOrMore] = []
    """Where metrics.jsonl is also sent; each has to be installed. tensorboard: into the run."""
    data: Data = Data()
    """The rows."""
    train: Train
    """The training."""
    checkpoint: Checkpoint = Checkpoint()
    """The checkpoints."""
    evaluation: Evaluation = Evaluation()
    """The scoring."""
    generation: Generation = Generation()
    """The decoding."""

    @model_validator(mode="after")
    def _votes_differ(self) -> "Recipe":
        if self.evaluation.votes > 1:
            if self.task != "reason":
                raise ValueError(f"evaluation.votes is for reason; {self.task} has no final answer")
            if not self.generation.temperature:
                raise ValueError("evaluation.votes needs generation.temperature, or all are alike")
        return self

    @model_validator(mode="after")
    def _sets_have_folders_of_their_own(self) -> "Recipe":
        if self.evaluation.general_text is not None:
            for name in self.data.tests:
                if name.casefold() == "general-text":
                    raise ValueError(
                        f"data.tests.{name}: evaluation.general_text is scored under this name; "
                        "choose another one"
                    )
        return self

    @model_validator(mode="after")
    def _room_for_the_completion(self) -> "Recipe":
        if self.task != "pretrain" and self.generation.max_new_tokens >= self.data.max_length:
            raise ValueError(
                f"generation.max_new_tokens ({self.generation.max_new_tokens}) leaves no room "
                f"for a prompt within data.max_length ({self.data.max_length})"
            )
        return self
