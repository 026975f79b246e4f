"""Load a model and its tokenizer (embedded, from a folder or from the hub), create one with random
weights, and save them."""

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.initialization import no_init_weights

from llmkit.config.schema import Scratch
from llmkit.constants import END_OF_TEXT
from llmkit.data.bpe import Bpe
from llmkit.errors import OutOfMemory, UserError
from llmkit.families import SCRATCH_FAMILY, Family, family_of
from llmkit.io.atomic import disk_errors, write_folder
from llmkit.model.int8 import is_int8, load_int8
from llmkit.model.untrusted import check_folder, check_tokenizer_folder
from llmkit.paths import PACKAGE, RUNS, expand, total_size
from llmkit.runtime.failures import is_out_of_memory, memory_errors
from llmkit.units import show_bytes

EMBEDDED_MODEL = PACKAGE / "embedded" / "gpt2"
TOKENIZER_KEY = "model.scratch.tokenizer"
SMALLER_MODEL = "end other programs, or choose a smaller model"
TrainBpe = Callable[[int], Bpe]


def load_model(
    name: str | Path, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model, in float32 or int8 on the CPU, and its tokenizer.

    Args:
        name: `embedded`, a folder, or a hub id; a Path is always a folder.
        revision: Branch, tag or commit of a hub model.

    Raises UserError if the model cannot be reached, llmkit does not know its family, or its weights
    are not safetensors.
    """
    where = f"model: {name}"
    folder = find_model(name, revision)
    family = check_folder(folder, where)
    try:
        model, missing = _load_weights(folder, family)
        tokenizer = _load_tokenizer(folder, family)
    except Exception as error:  # damaged files make the libraries raise errors of any type
        if is_out_of_memory(error):
            size = total_size(folder.glob("*.safetensors"))
            raise OutOfMemory(
                f"{where}: loading {show_bytes(size)}: out of memory; {SMALLER_MODEL}"
            ) from None
        raise _damaged(where, error) from None
    if missing:
        raise UserError(f"{where}: its weights lack {missing[0]}; download it again")
    require_end_of_text(model, tokenizer)
    # The recipe determines decoding: no setting of the folder may influence a score.
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"{where}: the tokenizer has {len(tokenizer)} entries, but the model only "
            f"{model.config.vocab_size}; this folder mixes files of two models"
        )
    family.optimize(model)
    return model, tokenizer


def _load_weights(folder: Path, family: Family) -> tuple[PreTrainedModel, list[str]]:
    """The model in a checked folder, and the names of weights that are missing there."""
    if is_int8(folder):
        return load_int8(folder, family)
    with no_init_weights():  # GPT-2's layers would draw weights that are then replaced
        model, info = family.model_class.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    return model, sorted(info["missing_keys"])


def _damaged(where: str, error: Exception) -> UserError:
    reason = str(error).strip().partition("\n")[0]
    return UserError(f"{where}: damaged ({reason}); download or save it again")


def find_model(
    name: str | Path, revision: str | None = None, *, tokenizer_only: bool = False
) -> Path:
    """The folder of the model with this name; a hub model, or only its tokenizer, is downloaded
    first."""
    where = f"{TOKENIZER_KEY if tokenizer_only else 'model'}: {name}"
    if name == "embedded":
        return EMBEDDED_MODEL
    path = expand(str(name))
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{where}: is a file; name the folder of a model")
    if isinstance(name, Path) or is_path(name):
        raise UserError(f"{where}: no such folder; check the path")
    from llmkit.io import hub

    files = hub.TOKENIZER_FILES if tokenizer_only else hub.MODEL_FILES
    return hub.download_model(name, revision, where, files)


def is_path(name: str) -> bool:
    """Whether a name must be a folder rather than a hub id (NAME or OWNER/NAME): its parent folder
    exists, or it looks like a path."""
    path = expand(name)
    has_parent = "/" in name and path.parent.is_dir()
    is_in_runs = path.parts[0] == RUNS.name
    looks_like_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
    return has_parent or is_in_runs or looks_like_path


def _load_tokenizer(folder: Path, family: Family) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, with its own normalizer and pre-tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        return family.tokenizer_class.from_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def commit_of(folder: Path) -> str | None:
    """The commit of a model in the hub's cache; None for other folders."""
    return folder.name if folder.parent.name == "snapshots" else None


def add_end_of_text(tokenizer: PreTrainedTokenizerBase) -> None:
    """Ensure that the tokenizer has an end-of-text token; see `require_end_of_text`."""
    vocabulary = tokenizer.get_vocab()
    names = (tokenizer.eos_token, END_OF_TEXT, "</s>", tokenizer.sep_token, "[SEP]")
    tokenizer.add_special_tokens(
        {"eos_token": next((name for name in names if name in vocabulary), END_OF_TEXT)}
    )


def require_end_of_text(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Ensure that the tokenizer has an end-of-text token and the model an embedding for it.

    Vocabularies like those of BERT and T5 end texts with `[SEP]` or `</s>`. A vocabulary without
    any such token gets a new one, whose embedding is the mean of all others.
    """
    add_end_of_text(tokenizer)
    vocab_size = model.config.vocab_size
    if tokenizer.eos_token_id < vocab_size or len(tokenizer) > vocab_size + 1:
        return
    embeddings = (model.get_input_embeddings(), model.get_output_embeddings())
    means = [embedding.weight.data.mean(0) for embedding in embeddings]
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for embedding, mean in zip(
        (model.get_input_embeddings(), model.get_output_embeddings()), means, strict=True
    ):
        embedding.weight.data[tokenizer.eos_token_id] = mean


def scratch_model(
    shape: Scratch, train_bpe: TrainBpe, revision: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model with random weights (torch's seed determines them) and its tokenizer; see
    `scratch_tokenizer`."""
    tokenizer = scratch_tokenizer(shape, train_bpe, revision)
    sizes = shape.model_dump(exclude={"vocab_size", "tokenizer"})
    model = SCRATCH_FAMILY.create(sizes, tokenizer)
    SCRATCH_FAMILY.optimize(model)
    return model, tokenizer


def empty_model(like: PreTrainedConfig, **sizes: int) -> PreTrainedModel:
    """A model without weights (on torch's meta device), to count what it would take.

    Args:
        like: The config of a model of the same family.
        sizes: Keys of the config that differ.
    """
    config = type(like).from_dict({**like.to_dict(), **sizes})
    with torch.device("meta"), no_init_weights():
        model = family_of(config).model_class(config)
    model.tie_weights()
    return model


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `embedded`, of a folder, or of a hub id; the weights are not read."""
    where = f"{TOKENIZER_KEY}: {name}"
    folder = find_model(name, revision, tokenizer_only=True)
    check_tokenizer_folder(folder, where)
    return _tokenizer_in(folder, where, SCRATCH_FAMILY)


def load_model_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer that `load_model` returns, without the weights of the model."""
    folder = find_model(name, revision)
    where = f"model: {name}"
    return _tokenizer_in(folder, where, check_folder(folder, where))


def _tokenizer_in(folder: Path, where: str, family: Family) -> PreTrainedTokenizerBase:
    """The tokenizer of a checked folder, with an end-of-text token. where: See `check_folder`."""
    try:
        tokenizer = _load_tokenizer(folder, family)
    except Exception as error:  # damaged files make the libraries raise errors of any type
        raise _damaged(where, error) from None
    add_end_of_text(tokenizer)
    return tokenizer


def scratch_tokenizer(
    shape: Scratch, train_bpe: TrainBpe, revision: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer that the shape names, or else a BPE of its size.

    revision: Branch, tag or commit of the hub model of the named tokenizer.
    """
    if shape.tokenizer is None:
        bpe = train_bpe(shape.vocab_size)
        return SCRATCH_FAMILY.create_tokenizer(bpe.vocabulary, bpe.merges, shape.max_length)
    tokenizer = load_tokenizer(shape.tokenizer, revision)
    tokenizer.model_max_length = shape.max_length
    return tokenizer


def save_model(model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a folder that Hugging Face's `from_pretrained` loads, completely or not at all.

    Adapters are merged in float32, in a copy on the CPU, since a GPU may have no room for one.
    """
    model = merged(model)
    write_folder(folder, lambda staging: write_model(model, tokenizer, staging))


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write config, weights and tokenizer into an existing folder."""
    family_of(model.config).before_saving(model.config)
    with disk_errors(folder):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    restore_mode(folder)


def restore_mode(folder: Path) -> None:
    """Give weights the mode of the other files: safetensors lets only the owner read them."""
    mode = (folder / "tokenizer_config.json").stat().st_mode
    for weights in folder.glob("*.safetensors"):
        weights.chmod(mode)


def copy_to_cpu(tensor: Tensor) -> Tensor:
    """A copy of a weight or buffer on the CPU."""
    copied = tensor.detach().to("cpu", copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copied, tensor.requires_grad)
    return copied


def move_to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, moved to the device; raises OutOfMemory if it has no room there."""
    num_bytes = sum(weight.nbytes for weight in model.parameters())
    activity = f"moving the model ({show_bytes(num_bytes)}) to {device}"
    with memory_errors(activity, SMALLER_MODEL):
        return model.to(device)


def merged(model: nn.Module) -> PreTrainedModel:
    """The model itself, or a copy on the CPU with its adapters merged into the weights."""
    if isinstance(model, PreTrainedModel):
        return model
    tensors = [*model.parameters(), *model.buffers()]
    on_cpu = {id(tensor): copy_to_cpu(tensor) for tensor in tensors}
    return copy.deepcopy(model, on_cpu).merge_and_unload()


def weights_fingerprint(model: PreTrainedModel) -> str:
    """The sha256 of all weights, names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Number of all parameters, and of those that require a gradient."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without dropout, inside the `with` block; the former mode after it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_finite(output: Tensor) -> None:
    """Raise FloatingPointError if a model computed numbers that are not finite."""
    if not output.isfinite().all():
        raise FloatingPointError(
            "the model computes NaN or infinite numbers; its weights are damaged, or too large for "
            "the precision (train.mixed_precision)"
        )


def check_finite_weights(model: nn.Module) -> None:
    """Raise FloatingPointError if a weight is not finite."""
    for weight in model.parameters():
        check_finite(weight)


def check_max_length(max_length: int, model: PreTrainedModel) -> None:
    """Raise UserError if rows may be longer than the model's context."""
    num_positions = model.config.max_position_embeddings
    if max_length > num_positions:
        raise UserError(
            f"data.max_length: {max_length} exceeds the model's {num_positions} positions; "
            f"set data.max_length={num_positions} or less"
        )


def check_padding_free(config: PreTrainedConfig) -> None:
    """Raise UserError if the forward pass without padding does not support the model."""
    unsupported = family_of(config).unsupported_settings(config)
    if unsupported:
        raise UserError(
            f"train.forward: padding_free does not support this model's {', '.join(unsupported)}; "
            "set train.forward=transformers"
        )
