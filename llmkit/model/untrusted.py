"""A model folder from strangers: what could run code or eat the memory is refused unopened."""

import json
from pathlib import Path
from typing import Any

from transformers import GPT2Config

from llmkit.errors import UserError, printable

HOOKS = ("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code")
VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt")
LARGEST_VOCABULARY, LARGEST_JSON = 2**26, 2**22  # bytes
MOST_LABELS = 2**16
READ = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
)  # fmt: skip


def check_folder(folder: Path, name: str) -> dict[str, Any]:
    """The folder's config. Raises UserError, under the model's name, for what does not belong
    into a folder of weights: programs, hooks that name them, devices, gigantic or broken JSON."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".py", ".so", ".pyd", ".pyc"):
            raise UserError(
                f"model: {name}: it carries a program ({printable(path.name, 60)}), which llmkit "
                "never runs; take it away where you trust the rest"
            )
        if path.name == "adapter_config.json":
            raise UserError(f"{path}: an adapter, not a model; merge it into its model first")
        if path.suffix in (".json", ".safetensors", ".txt") and not path.is_file():
            raise UserError(f"{path}: no plain file; download the model again")
        if path.suffix in (".json", ".txt"):
            check_size(path)
    there = (folder / file for file in READ)
    contents = {path.name: read_object(path) for path in there if path.is_file()}
    for file, content in contents.items():
        for hook in find_hooks(content):
            raise UserError(
                f"{folder / file}: {hook} names code to be run; llmkit runs none: take the key "
                "away where you trust the rest"
            )
    parts = contents.get("model.safetensors.index.json", {}).get("weight_map", {})
    for part in parts.values() if isinstance(parts, dict) else [None]:
        if not isinstance(part, str) or Path(part).name != part:
            raise UserError(
                f"{folder}: its index points outside the folder ({printable(str(part), 60)})"
            )
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    check_shape(contents["config.json"], num_bytes, name)
    return contents["config.json"]


def check_shape(config: dict[str, Any], num_bytes: int, name: str) -> None:
    """Refuse a config of more weights than the files of weights can hold, all together: to make
    them would eat the memory."""
    sizes = [size_in(config, key) for key in ("n_layer", "n_embd", "n_positions", "vocab_size")]
    sizes.append(config.get("n_inner") or (4 * sizes[1] if isinstance(sizes[1], int) else None))
    sizes.append(config.get("num_labels", 1))  # each gets a name
    if not all(type(size) is int and size > 0 for size in sizes) or sizes[-1] > MOST_LABELS:
        raise UserError(f"model: {name}: damaged (odd sizes in config.json); download it again")
    n_layer, n_embd, n_positions, vocab_size, n_inner, _ = sizes
    blocks = n_layer * n_embd * (4 * n_embd + 2 * n_inner)
    num_weights = (vocab_size + n_positions) * n_embd + blocks
    if num_bytes and num_weights > num_bytes:
        raise UserError(
            f"model: {name}: damaged (config.json tells of {num_weights:,} weights, in safetensors "
            f"of {num_bytes:,} bytes); download or save it again"
        )


def size_in(config: dict[str, Any], key: str) -> Any:
    """A size, which transformers also takes by another name; None where the two differ."""
    aliases = [alias for alias, of in GPT2Config.attribute_map.items() if of == key]
    found = [config[name] for name in (key, *aliases) if name in config]
    found = found or [getattr(GPT2Config(), key)]
    return found[0] if all(each == found[0] for each in found) else None


def check_size(path: Path) -> None:
    largest = LARGEST_VOCABULARY if path.name in VOCABULARIES else LARGEST_JSON
    size = path.stat().st_size
    if size > largest:
        raise UserError(
            f"{path}: {size / 2**20:,.0f} MB; a file of this kind has {largest / 2**20:.0f} at most"
        )


def read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deeply; download the model again") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; download the model again")
    return content


def find_hooks(content: Any) -> list[str]:
    """Keys, however deep, by which a library would be led to code."""
    found, waiting = [], [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found += [key for key in HOOKS if value.get(key)]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
