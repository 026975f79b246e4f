"""BERTScore's F1 (Zhang et al. 2020): each token beside the likeliest of the other text, compared
by what an encoder makes of them.

As in the authors' code, without idf and baseline: special tokens may be matched, but have no say;
of several references the best counts; an empty prediction scores 0.
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

BATCH = 64  # rows, or texts, whose vectors are in memory at a time
# The layer that ranks systems most as people do, of the plain pretrained models, by family and
# number of layers (the authors' list).
LAYERS = {
    ("bert", 12): 9,
    ("bert", 24): 18,
    ("roberta", 12): 10,
    ("roberta", 24): 17,
    ("distilbert", 6): 5,
    ("xlm-roberta", 12): 9,
    ("xlm-roberta", 24): 17,
}


def signature(encoder: str) -> str:
    folder, layer = _place(encoder)
    return f"BERTScore F1 of {Path(folder).name}, layer {layer}, no idf, not rescaled"


def row_statistics(
    predictions: Sequence[Prediction], references: Sequence[list[str]], encoder: str
) -> np.ndarray:
    """(N, 1): F1 of the best reference. encoder: FOLDER:LAYER."""
    said = [prediction.text for prediction in predictions]
    rows = []
    for start in range(0, len(said), BATCH):
        part = list(
            zip(said[start : start + BATCH], references[start : start + BATCH], strict=True)
        )
        texts = list(dict.fromkeys(text for one, accepted in part for text in (one, *accepted)))
        made = dict(zip(texts, embed(texts, encoder), strict=True))
        rows += [
            [100 * max(f1(made[one], made[text]) for text in accepted)] for one, accepted in part
        ]
    return np.array(rows)


def scores(rows: np.ndarray, weights: np.ndarray, encoder: str) -> dict[str, np.ndarray]:
    return means(("bertscore",), rows, weights)


def f1(prediction: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> float:
    """Of two texts as `embed` gives them."""
    (said, said_counts), (expected, expected_counts) = prediction, reference
    if not said_counts.any() or not expected_counts.any():
        return 0.0
    likeness = said @ expected.T
    precision = likeness.amax(1)[said_counts].mean()
    recall = likeness.amax(0)[expected_counts].mean()
    return (2 * precision * recall / (precision + recall)).item()


@torch.inference_mode()
def embed(texts: Sequence[str], encoder: str) -> list[tuple[Tensor, Tensor]]:
    """Of each text the unit vectors of its tokens (T, D), and which of them are no special ones."""
    folder, layer = _place(encoder)
    model, tokenizer = _load(folder)
    longest = tokenizer.model_max_length
    if longest > model.config.max_position_embeddings:  # the folder does not say
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

    return map_by_length(embed_batch, list(map(len, texts)), BATCH)


def check(folder: str, layer: int | None) -> str:
    """The encoder by folder and layer; UserError where it cannot be opened or has no such layer."""
    model, _ = _load(folder)
    family, num_layers = model.config.model_type, model.config.num_hidden_layers
    layer = layer or LAYERS.get((family, num_layers))
    if layer is None:
        raise UserError(
            f"evaluation.bertscore.layer: nobody has measured which of the {num_layers} layers of "
            f"{family} serves best; name one"
        )
    if layer > num_layers:
        raise UserError(f"evaluation.bertscore.layer: {layer}, but {folder} has {num_layers}")
    try:
        embed(["a", "a b"], f"{folder}:{layer}")
    except Exception as error:  # no padding token, no hidden states: no encoder
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"evaluation.bertscore.model: {folder}: {family} does not serve ({reason}); name an "
            "encoder such as roberta-large"
        ) from None
    return f"{folder}:{layer}"


def _place(encoder: str) -> tuple[str, int]:
    folder, _, layer = encoder.rpartition(":")
    return folder, int(layer)


@lru_cache(maxsize=1)
def _load(folder: str):
    from transformers import AutoModel, AutoTokenizer

    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"evaluation.bertscore.model: {folder}: no folder of a model")
    try:
        model = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        # The authors have RoBERTa read a text's first word as it reads the others.
        prefix = {"add_prefix_space": True} if model.config.model_type == "roberta" else {}
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **prefix)
    except Exception as error:  # whatever a damaged folder provokes in the library
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"evaluation.bertscore.model: {folder}: {reason}") from None
    return model.eval(), tokenizer
