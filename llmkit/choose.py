"""Prompts -> the probability of each label as the completion, end-of-text included."""

import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from llmkit.errors import UserError
from llmkit.loss import added_mask, token_nats
from llmkit.model import evaluating


@torch.inference_mode()
def choose(
    model: GPT2LMHeadModel,
    prompts: list[list[int]],
    labels: dict[str, list[int]],
    batch_size: int,
) -> list[dict[str, float]]:
    """Probabilities of the labels behind each prompt (token ids); they add up to 1.

    labels: the token ids of each, end-of-text last. Raises UserError for a prompt that does not fit
    the model together with the longest label.
    """
    room = model.config.n_positions - max(map(len, labels.values())) + 1
    for index, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= room:
            raise UserError(f"prompt {index + 1}: {len(prompt)} tokens; it must have 1 to {room}")
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    chosen: list[dict[str, float]] = [{} for _ in prompts]
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        with evaluating(model):
            nats = label_nats(model, [prompts[index] for index in batch], list(labels.values()))
        for index, row in zip(batch, (-nats.double()).softmax(-1).tolist(), strict=True):
            chosen[index] = dict(zip(labels, row, strict=True))
    return chosen


def label_nats(model: GPT2LMHeadModel, prompts: list[list[int]], labels: list[list[int]]) -> Tensor:
    """(B, num_labels): nats of each label behind each prompt.

    All labels stand behind the prompt in one sequence, each at the positions that it would have
    alone and seeing the prompt and itself only; so the prompt is computed once.
    """
    longest = max(map(len, prompts))
    # A label's last token is predicted, never read.
    tail = [(number, i, token) for number, ids in enumerate(labels, 1) for i, token in
            enumerate(ids[:-1])]  # fmt: skip
    branch = torch.tensor([0] * longest + [number for number, _, _ in tail])
    ids = [[0] * (longest - len(p)) + p + [token for _, _, token in tail] for p in prompts]
    positions = [
        [max(0, i - longest + len(p)) for i in range(longest)] + [len(p) + i for _, i, _ in tail]
        for p in prompts
    ]
    columns = torch.arange(len(branch))
    is_seen = (columns <= columns[:, None]) & ((branch == 0) | (branch == branch[:, None]))
    is_padding = columns < longest - torch.tensor([[len(p)] for p in prompts])  # (B, T)
    mask = added_mask(is_seen & ~is_padding[:, None], model.dtype)
    states = model.transformer(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=mask.to(model.device),
        position_ids=torch.tensor(positions, device=model.device),
        use_cache=False,
    ).last_hidden_state
    # The prompt's last token predicts each label's first one.
    reads = [
        [longest - 1, *(longest + at for at, (number, _, _) in enumerate(tail) if number == wanted)]
        for wanted in range(1, len(labels) + 1)
    ]
    hidden = states[:, [column for each in reads for column in each]]
    targets = torch.tensor([token for ids in labels for token in ids], device=model.device)
    nats = token_nats(
        hidden.flatten(0, 1), model.lm_head.weight, targets.repeat(len(prompts))
    ).view(len(prompts), -1)
    return torch.stack([part.sum(1) for part in nats.split([*map(len, labels)], 1)], 1)
