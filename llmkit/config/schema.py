"""The typed schema of a recipe, with the default and the documentation of every key.

No other file defines defaults for these keys. The docstring under a field states its meaning and
unit; `llmkit recipes --fields` prints it. The `data` section is in llmkit/config/data_section.py,
`generation` in llmkit/config/generation.py.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmkit.config.data_section import Data
from llmkit.config.generation import Generation
from llmkit.config.section import OneOrMore, Section


class Scratch(Section):
    """Size of a GPT-2 that is trained from random weights (`model: scratch`)."""

    n_layer: int = Field(4, ge=1)
    """Number of transformer blocks."""
    n_head: int = Field(4, ge=1)
    """Number of attention heads per block; must divide n_embd."""
    n_embd: int = Field(128, ge=1)
    """Embedding size."""
    n_positions: int = Field(512, ge=2)
    """Maximum sequence length of the model, in tokens."""
    tokenizer: str | None = None
    """Tokenizer of another model: `embedded`, a folder, or a hub id such as gpt2. null: train a
    byte-level BPE on the training rows; for the training, words of more than 256 bytes are split,
    as in text without spaces."""
    vocab_size: int = Field(4096, ge=257)
    """Vocabulary size of the BPE that is trained if `tokenizer` is null. Prepared text (`llmkit
    prepare`) has its own tokenizer, so this key has no effect."""
    initializer_range: float = Field(0.02, gt=0)
    """Standard deviation of the initial weights; for a small model, about 1/sqrt(n_embd)."""

    @property
    def max_length(self) -> int:
        """The maximum sequence length under a name that no model family uses."""
        return self.n_positions

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Scratch":
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head ({self.n_head}) must divide n_embd ({self.n_embd})")
        return self


class Model(Section):
    """The model to fine-tune. A name alone is short for this section: `model: gpt2`."""

    name: str = "embedded"
    """`embedded`, `scratch`, the folder of a GPT-2, or a hub id such as gpt2 or gpt2-medium."""
    revision: str | None = None
    """Branch, tag or commit of the hub model, or of the model of `scratch.tokenizer`."""
    scratch: Scratch = Scratch()
    """Size of the model if `name` is `scratch`."""


# A name alone is short for the whole section: model=gpt2.
ModelOrName = Annotated[
    Model,
    BeforeValidator(
        lambda value: {"name": value} if isinstance(value, str) else value,
        json_schema_input_type=str | Model,
    ),
]


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685), used if `train.method` is `lora`."""

    r: int = Field(8, ge=1)
    """Rank of the adapters."""
    lora_alpha: int = Field(16, ge=1)
    """Scaling: the output of an adapter is multiplied by lora_alpha / r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout probability of an adapter's input."""
    target_modules: list[Literal["c_attn", "c_proj", "c_fc"]] = Field(["c_attn", "c_proj", "c_fc"])
    """Layers of GPT-2 that get an adapter (c_proj: the attention's and the MLP's)."""


Forward = Literal["padding_free", "transformers"]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    """Training settings."""

    method: Literal["full", "lora"] = "full"
    """full: train all weights; lora: train low-rank adapters, merged into the saved model."""
    lora: Lora = Lora()
    """Settings of the adapters."""
    freeze_layers: int = Field(0, ge=0)
    """Number of lowest blocks to freeze, together with the embeddings. 0: train all."""
    epochs: float | None = Field(None, gt=0)
    """Number of passes over the training rows; give either this or max_steps."""
    max_steps: int | None = Field(None, ge=1)
    """Number of optimizer steps; give either this or epochs."""
    global_batch_size: int = Field(32, ge=1)
    """Number of rows per optimizer step, over all processes and micro-batches."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Maximum number of rows per forward pass in one process; gradients are accumulated. null: as
    many as train.micro_batch_tokens allows."""
    micro_batch_tokens: int | None = Field(None, ge=1)
    """Maximum number of tokens, including padding, per forward pass in one process; a longer row
    has a forward pass of its own. null: as many as fit into memory, up to a few thousand, unless
    train.micro_batch_size is given."""
    activation_checkpointing: bool | None = None
    """Keep only the input of each block for the backward pass, and recompute the other activations:
    less memory, up to a third more time, bit-identical results. null: only if micro-batches of two
    rows would not fit otherwise."""
    keep_zeros: bool = False
    """Keep the elements of weight matrices that are 0 at the start at 0, as in a pruned model."""
    optimizer: Literal["adamw", "rmsprop", "sgd", "adafactor"] = "adamw"
    """Optimizer; sgd uses momentum."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate."""
    min_learning_rate: float = Field(0.0, ge=0)
    """Final learning rate of the cosine, linear and warmup_stable_decay schedules."""
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = "cosine"
    """Learning rate schedule after the warm-up."""
    warmup_steps: Count | Share = 0
    """Length of the linear warm-up from 0: a number of optimizer steps, or, as a decimal below 1, a
    share of all steps."""
    decay_steps: int | None = Field(None, ge=1)
    """Length of the decay of warmup_stable_decay, in optimizer steps. null: a fifth of the run."""
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [0.9, 0.999], min_length=2, max_length=2
    )
    """Decay rates of AdamW's moments; SGD uses the first as its momentum, RMSprop the second as its
    smoothing constant."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay, applied to weight matrices but not to biases and LayerNorm: decoupled in adamw
    and adafactor, an L2 penalty in rmsprop and sgd."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Maximum norm to which the gradient is clipped. null: no clipping."""
    max_nonfinite_steps: int = Field(0, ge=0)
    """Skip up to this many steps with a non-finite loss or gradient, then stop with an error."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout probability everywhere in the model. null: the values of the model's config."""
    forward: Forward = "padding_free"
    """Forward pass: llmkit's own, without padding, or the one of Hugging Face transformers."""
    compile: bool = False
    """On a GPU, compile the parts around the attention of each block of the padding_free forward
    pass with torch.compile: fewer kernels per step, after a compilation at the start. Dropout masks
    differ from those without it. Nothing is compiled on a CPU."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Precision of the forward and backward pass; weights stay in float32. auto: on a CPU, bf16 if
    a short benchmark shows that it is faster, else no; on a GPU, bf16 if the hardware supports it,
    else fp16 (Volta, Turing) or no (older). fp16 requires a GPU. With no, float32 products are
    exact on a GPU; otherwise those that remain use TF32."""
    deterministic: bool = False
    """Use only deterministic CUDA kernels, so that a repeated or resumed run on the same GPU is
    bit-identical. Costs time, mostly in the backward pass of attention, which then adds in a fixed
    order. On a CPU, runs are bit-identical without it."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: the available accelerators, else the CPU."""
    log_every: int = Field(10, ge=1)
    """Number of optimizer steps between two lines of metrics.jsonl."""

    @model_validator(mode="after")
    def _can_compile(self) -> "Train":
        if self.compile and self.forward == "transformers":
            raise ValueError("train.compile needs train.forward=padding_free")
        return self

    @model_validator(mode="after")
    def _has_zeros(self) -> "Train":
        if self.keep_zeros and self.method == "lora":
            raise ValueError("train.keep_zeros needs train.method=full; adapters fill all zeros")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> "Train":
        if self.epochs is None and self.max_steps is None:
            raise ValueError("train.epochs or train.max_steps must be set")
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give one of train.epochs and train.max_steps; set the other to null")
        return self


class Checkpoint(Section):
    """Times at which to save the state that `finetune --resume` continues from."""

    every: int | None = Field(None, ge=1)
    """Number of optimizer steps between checkpoints. null: save one after each validation."""
    minutes: float | None = Field(10.0, gt=0)
    """Also save a checkpoint this many minutes after the last one. null: never."""
    keep: int = Field(2, ge=1)
    """Number of checkpoints to keep in addition to the one with the best weights."""


class Bleu(Section):
    """Settings of BLEU, which sacreBLEU computes."""

    tokenize: Literal[
        "auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none"
    ] = "auto"
    """Tokenizer of sacreBLEU. auto: chosen by the script of the references (zh, ja-mecab, ko-mecab,
    char for other scripts without spaces, else 13a). ja-mecab and ko-mecab require the extras ja
    and ko; flores200 downloads a model."""


class BertScore(Section):
    """BERTScore (Zhang et al. 2020), in addition to the task's own scores."""

    model: str | None = None
    """Folder of an encoder such as roberta-large. null: no BERTScore."""
    layer: int | None = Field(None, ge=1)
    """Layer whose output is compared. null: the layer that the authors of BERTScore recommend."""


class Evaluation(Section):
    """Evaluation settings, during and after training."""

    metric: str | None = None
    """Score that selects the best weights. null: the first score of the task."""
    every: int | None = Field(None, ge=1)
    """Number of optimizer steps between validations. null: validate after each epoch."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Stop after this many consecutive validations without improvement. null: never."""
    validation_rows: int | None = Field(None, ge=1)
    """Number of validation rows to use, from the start. null: all."""
    test_rows: int | None = Field(None, ge=1)
    """Number of rows of each test set to use, from the start. null: all."""
    samples: int = Field(0, ge=0)
    """Number of validation rows, spread evenly, whose predictions are printed at each validation
    and shown in the report; for `pretrain`, of blocks that are continued. 0: none."""
    by: Annotated[list[str], OneOrMore] = Field([])
    """Columns of the test rows, such as topic, whose values are also scored separately."""
    general_text: str | None = None
    """Texts unrelated to the task (a file, or `embedded`): their perplexity before and after shows
    what the model has forgotten. null: not measured."""
    f1: Literal["words", "characters"] = "words"
    """Units that exact match and F1 compare. words: separated by spaces, as in SQuAD's script;
    characters: characters in scripts without spaces and words in all others, as in MLQA's script
    for Chinese."""
    bleu: Bleu = Bleu()
    """Settings of BLEU."""
    bertscore: BertScore = BertScore()
    """Settings of BERTScore."""
    votes: int = Field(1, ge=1)
    """Number of answers that `reason` samples per row; the most frequent final answer is scored
    too. Above 1, generation.temperature is required."""
    batch_size: int = Field(32, ge=1)
    """Number of rows per batch in evaluation and generation; scores do not depend on it. Up to four
    times as many completions are generated at once if their key-value cache fits into 2 GiB."""

    @property
    def limits(self) -> dict[str, int | None]:
        """Number of rows of each split to score; the one for `test` applies to every test set."""
        return {"validation": self.validation_rows, "test": self.test_rows}


class Recipe(Section):
    """Everything that defines a run."""

    task: str
    """The task: summarize, translate, qa, classify, instruct, chat, reason or pretrain."""
    model: ModelOrName = Model()
    """The model to fine-tune."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the row order, dropout, initial weights and sampling."""
    trackers: Annotated[list[Literal["tensorboard", "wandb", "trackio"]], OneOrMore] = Field([])
    """Experiment trackers that also receive metrics.jsonl; each must be installed. tensorboard
    writes into the run folder."""
    data: Data = Data()
    """The rows."""
    train: Train = Field({}, validate_default=True)
    """The training."""
    checkpoint: Checkpoint = Checkpoint()
    """The checkpoints."""
    evaluation: Evaluation = Evaluation()
    """The scoring."""
    generation: Generation = Generation()
    """The decoding."""

    @model_validator(mode="after")
    def _votes_differ(self) -> "Recipe":
        if self.evaluation.votes > 1 and not self.generation.temperature:
            raise ValueError(
                "evaluation.votes requires generation.temperature above 0; otherwise all votes are "
                "identical"
            )
        return self

    @model_validator(mode="after")
    def _mixed_sets_are_texts(self) -> "Recipe":
        if self.data.mix and self.task != "pretrain":
            raise ValueError(
                "data.mix: only task=pretrain can mix sets by their shares; for other tasks, name "
                "all files together, such as data.train='part-*.jsonl'"
            )
        return self

    @model_validator(mode="after")
    def _near_duplicates_are_texts(self) -> "Recipe":
        if self.data.remove_duplicates == "near" and self.task != "pretrain":
            raise ValueError(
                "data.remove_duplicates=near compares complete rows, so it would remove different "
                "questions about one text; use exact, or task=pretrain"
            )
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
