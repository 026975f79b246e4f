"""BERTScore's F1 (Zhang et al. 2020): each token is matched to the most similar token of the other
text, by the contextual embeddings of an encoder.

As in the authors' code, without idf weights and baseline rescaling: special tokens can be matched,
but are not counted; of several references the best counts; an empty prediction scores 0.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmkit.batching import map_by_length
from llmkit.errors import UserError
from llmkit.metrics import means
from llmkit.metrics.prediction import Prediction

BATCH_SIZE = 64  # rows whose embeddings are in memory at a time, and texts per forward pass
# Layer whose scores correlate best with human judgment, for plain pretrained models by family and
# number of layers (the authors' list).
RECOMMENDED_LAYERS = {
    ("bert", 12): 9,
    ("bert", 24): 18,
    ("roberta", 12): 10,
    ("roberta", 24): 17,
    ("distilbert", 6): 5,
    ("xlm-roberta", 12): 9,
    ("xlm-roberta", 24): 17,
}


def signature(encoder: str) -> str:
    folder, layer = _parse(encoder)
    return f"BERTScore F1 of {Path(folder).name}, layer {layer}, no idf, not rescaled"


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], encoder: str
) -> np.ndarray:
    """(N, 1): F1 of the best reference. encoder: FOLDER:LAYER."""
    pairs = [(p.text, accepted) for p, accepted in zip(predictions, references, strict=True)]
    rows = []
    for start in range(0, len(pairs), BATCH_SIZE):
        batch = pairs[start : start + BATCH_SIZE]
        texts = list(
            dict.fromkeys(text for predicted, accepted in batch for text in (predicted, *accepted))
        )
        embedded = dict(zip(texts, embed(texts, encoder), strict=True))
        rows += [
            [100 * max(f1(embedded[predicted], embedded[text]) for text in accepted)]
            for predicted, accepted in batch
        ]
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray, encoder: str) -> dict[str, np.ndarray]:
    return means(("bertscore",), rows, weights)


def f1(prediction: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> float:
    """F1 of two texts. prediction, reference: Embeddings and mask, as `embed` returns them."""
    (predicted, is_predicted), (expected, is_expected) = prediction, reference
    if not is_predicted.any() or not is_expected.any():
        return 0.0
    similarity = predicted @ expected.T
    precision = similarity.amax(1)[is_predicted].mean()
    recall = similarity.amax(0)[is_expected].mean()
    return (2 * precision * recall / (precision + recall)).item()


@torch.inference_mode()
def embed(texts: Sequence[str], encoder: str) -> list[tuple[Tensor, Tensor]]:
    """Embed texts; returns unit vectors (T, D) of the tokens of each text, and a mask (T,) that
    excludes special tokens."""
    folder, layer = _parse(encoder)
    model, tokenizer = _load(folder)
    longest = tokenizer.model_max_length
    if longest > model.config.max_position_embeddings:  # the tokenizer has no limit of its own
        longest = model.config.max_position_embeddings - 2

    def embed_batch(indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        batch = tokenizer(
            [texts[index].strip() for index in indices], padding=True, truncation=True,
            max_length=longest, return_special_tokens_mask=True, return_tensors="pt",
        )  # fmt: skip
        is_special, mask = batch.pop("special_tokens_mask").bool(), batch["attention_mask"].bool()
        states = model(**batch, output_hidden_states=True).hidden_states[layer]
        states = torch.nn.functional.normalize(states, dim=-1)
        return [
            (state[real], ~special[real])
            for state, real, special in zip(states, mask, is_special, strict=True)
        ]

    return map_by_length(embed_batch, list(map(len, texts)), BATCH_SIZE)


def check(folder: str, layer: int | None) -> str:
    """The encoder as FOLDER:LAYER. Raises UserError if it cannot be used or has no such layer."""
    model, _ = _load(folder)
    family, num_layers = model.config.model_type, model.config.num_hidden_layers
    layer = layer or RECOMMENDED_LAYERS.get((family, num_layers))
    if layer is None:
        raise UserError(
            f"evaluation.bertscore.layer: no recommended layer is known for {family} ({num_layers} "
            "layers); set the layer"
        )
    if layer > num_layers:
        raise UserError(f"evaluation.bertscore.layer: {layer}, but {folder} has {num_layers}")
    try:
        embed(["a", "a b"], f"{folder}:{layer}")
    except Exception as error:  # not an encoder: no padding token, or no hidden states
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"evaluation.bertscore.model: {folder}: {family} cannot be used as an encoder "
            f"({reason}); name an encoder such as roberta-large"
        ) from None
    return f"{folder}:{layer}"


def _parse(encoder: str) -> tuple[str, int]:
    folder, _, layer = encoder.rpartition(":")
    return folder, int(layer)


@lru_cache(maxsize=1)
def _load(folder: str):
    from transformers import AutoModel, AutoTokenizer

    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"evaluation.bertscore.model: {folder}: not a model folder")
    try:
        model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        # As the authors do: RoBERTa's tokens of the first word are then those of later words.
        prefix = {"add_prefix_space": True} if model.config.model_type == "roberta" else {}
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **prefix)
    except Exception as error:  # a damaged folder can raise anything in the library
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"evaluation.bertscore.model: {folder}: {reason}") from None
    return model.eval(), tokenizer
