"""Check a model folder from an untrusted source before a library loads anything from it.

Files that could run code, or make a library allocate more memory than the weights need, are
refused.
"""

from pathlib import Path
from typing import Any

from llmkit.errors import UserError, printable
from llmkit.families import FAMILIES, Family, find_family
from llmkit.io.small_json import MAX_JSON_BYTES, UnreadableJson, read_json
from llmkit.paths import total_size
from llmkit.runs.folder import is_export
from llmkit.units import show_bytes

# Keys by which transformers would load code.
CODE_KEYS = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "merges.txt")
MAX_VOCABULARY_BYTES = 2**26
MAX_LABELS = 2**16
# Files that the libraries read as JSON objects.
JSON_FILES = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
)  # fmt: skip


def check_folder(folder: Path, where: str) -> Family:
    """The family of the model in a folder.

    where: The key and the name of the model, such as `model: gpt2`, with which errors begin.

    Raises UserError unless llmkit knows the family and the folder holds nothing but weights in
    safetensors, a config and a tokenizer.
    """
    if is_export(folder) and not any(folder.glob("model*.safetensors")):
        raise UserError(
            f"{where}: an export for another program; name its run, or an export to safetensors"
        )
    if not (folder / "config.json").is_file():
        raise UserError(f"{where}: no config.json in it, so it is not a model folder")
    check_files(folder, where)
    family = check_contents(folder, where)
    check_weights(folder, where)
    require_tokenizer(folder, where)
    return family


def check_tokenizer_folder(folder: Path, where: str) -> None:
    """Raise UserError unless the folder holds a tokenizer and no programs. where: See
    `check_folder`."""
    check_files(folder, where)
    read_objects(folder)
    require_tokenizer(folder, where)


def require_tokenizer(folder: Path, where: str) -> None:
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        raise UserError(f"{where}: no tokenizer in it; add tokenizer.json from its model")


def check_files(folder: Path, where: str) -> None:
    """Refuse programs, adapters, and files that are not plain or too large."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".py", ".so", ".pyd", ".pyc"):
            raise UserError(
                f"{where}: it contains a program ({printable(path.name, 60)}), which llmkit "
                "never runs; remove it if you trust the rest"
            )
        if path.name == "adapter_config.json":
            raise UserError(f"{path}: an adapter, not a model; merge it into its model first")
        if path.suffix in (".json", ".safetensors", ".txt") and not path.is_file():
            raise UserError(f"{path}: not a plain file; download the model again")
        if path.suffix in (".json", ".txt"):
            check_size(path)


def check_contents(folder: Path, where: str) -> Family:
    """Refuse an index that leads out of the folder, models of other families, configs that ask for
    more memory than the weights need, and what `read_objects` refuses."""
    contents = read_objects(folder)
    parts = contents.get("model.safetensors.index.json", {}).get("weight_map", {})
    for part in parts.values() if isinstance(parts, dict) else [None]:
        if not isinstance(part, str) or Path(part).name != part:
            raise UserError(
                f"{folder}: its index points outside the folder ({printable(str(part), 60)})"
            )
    config = contents["config.json"]
    known = " and ".join(family.model_type for family in FAMILIES)
    family = find_family(config.get("model_type"))
    if family is None:
        model_type = printable(repr(config.get("model_type")), 60)
        raise UserError(
            f"{folder / 'config.json'}: model_type is {model_type}; llmkit fine-tunes {known}"
        )
    reason = family.unsupported_model(config)
    if reason is not None:
        raise UserError(f"{folder / 'config.json'}: {reason}; llmkit fine-tunes {known} alone")
    num_bytes = total_size(folder.glob("*.safetensors"))
    check_shape(config, family, num_bytes, where)
    return family


def read_objects(folder: Path) -> dict[str, dict[str, Any]]:
    """The content of the folder's JSON_FILES by name; refuses JSON that names code."""
    paths = (folder / file for file in JSON_FILES)
    contents = {path.name: read_object(path) for path in paths if path.is_file()}
    for file, content in contents.items():
        for key in find_code_keys(content):
            raise UserError(
                f"{folder / file}: {key} names code to be run; llmkit runs none: remove the key "
                "if you trust the rest"
            )
    return contents


def check_shape(config: dict[str, Any], family: Family, num_bytes: int, where: str) -> None:
    """Refuse a config of more weights than the weight files can hold: creating them would exhaust
    the memory."""
    num_labels = config.get("num_labels", 1)  # transformers creates a name for each
    try:
        num_weights = family.count_weights(config)
        is_valid = type(num_labels) is int and 0 < num_labels <= MAX_LABELS
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UserError(f"{where}: damaged (invalid sizes in config.json); download it again")
    if num_bytes and num_weights > num_bytes:
        raise UserError(
            f"{where}: damaged (config.json asks for {num_weights:,} weights, but the "
            f"safetensors files have {num_bytes:,} bytes); download or save it again"
        )


def check_weights(folder: Path, where: str) -> None:
    """Refuse a folder without safetensors."""
    if any(folder.glob("model*.safetensors")):
        return
    pickles = [p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl")]
    if pickles:
        raise UserError(
            f"{where}: its weights are pickle ({pickles[0]}), which can run code when "
            "opened; llmkit reads safetensors only: convert the weights if you trust their source"
        )
    raise UserError(
        f"{where}: no model.safetensors in it (pickle weights are never fetched or "
        "opened); name a model that has safetensors"
    )


def check_size(path: Path) -> None:
    max_bytes = MAX_VOCABULARY_BYTES if path.name in VOCABULARY_FILES else MAX_JSON_BYTES
    size = path.stat().st_size
    if size > max_bytes:
        raise UserError(
            f"{path}: {show_bytes(size)}; a file of this kind has at most {show_bytes(max_bytes)}"
        )


def read_object(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, MAX_VOCABULARY_BYTES)
    except UnreadableJson as error:
        raise UserError(f"{path}: {error}; download the model again") from None


def find_code_keys(content: Any) -> list[str]:
    """The keys, at any depth, by which a library would load code."""
    found, pending = [], [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            found += [key for key in CODE_KEYS if value.get(key)]
            pending += value.values()
        elif isinstance(value, list):
            pending += value
    return found
