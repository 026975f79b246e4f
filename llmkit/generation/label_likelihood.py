"""Probabilities of labels as completions of a prompt, including the end-of-text token."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, PreTrainedModel

from llmkit.batching import map_by_length
from llmkit.generation.prompt_length import check_prompt_length
from llmkit.model.load import check_finite, evaluating
from llmkit.model.loss import LOGIT_ROWS, additive_mask
from llmkit.model.packed import generation_dtype

# Maximum number of label tokens per forward pass. Attention between them, most of it masked, grows
# quadratically.
MAX_TRIE_TOKENS = 256


@dataclass(frozen=True)
class Trie:
    """A prefix tree of the labels' tokens, rooted at the prompt's last token, so that shared
    prefixes are computed once.

    A node is a token of a label. A state is a hidden state of the model from which nodes are
    predicted: state 0 is at the prompt's last token, the others are at the nodes with children.
    """

    tokens: list[int]
    """Token of each state, from state 1 on."""
    depths: list[int]
    """Number of label tokens before each of these tokens."""
    sees: Tensor
    """(num_states - 1, num_states - 1), bool: whether a state (axis 0) attends to another."""
    parents: list[int]
    """The state from which each node is predicted, in ascending order."""
    targets: list[int]
    """Token of each node."""
    paths: list[list[int]]
    """Indices of the nodes of each label, in order."""

    @classmethod
    def of(cls, labels: list[list[int]]) -> "Trie":
        """labels: Token ids of each label; the last token is predicted but never an input."""
        states: dict[tuple[int, ...], int] = {(): 0}
        for label in labels:
            for end in range(1, len(label)):
                states.setdefault(tuple(label[:end]), len(states))
        prefixes = list(states)[1:]
        sees = torch.eye(len(prefixes), dtype=torch.bool)
        for index, prefix in enumerate(prefixes):
            if len(prefix) > 1:  # a prefix comes after its own prefixes
                sees[index] |= sees[states[prefix[:-1]] - 1]
        nodes = {tuple(label[: end + 1]): None for label in labels for end in range(len(label))}
        nodes = sorted(nodes, key=lambda node: states[node[:-1]])
        index_of = {node: index for index, node in enumerate(nodes)}
        return cls(
            tokens=[prefix[-1] for prefix in prefixes],
            depths=[len(prefix) - 1 for prefix in prefixes],
            sees=sees,
            parents=[states[node[:-1]] for node in nodes],
            targets=[node[-1] for node in nodes],
            paths=[
                [index_of[tuple(label[: end + 1])] for end in range(len(label))] for label in labels
            ],
        )


def label_probabilities(
    model: PreTrainedModel,
    prompts: list[list[int]],
    labels: dict[str, list[int]],
    batch_size: int,
) -> list[dict[str, float]]:
    """The probability of each label after each prompt, normalized over the labels.

    Args:
        prompts: Token ids of each prompt.
        labels: Token ids of each label, end-of-text last.
        batch_size: Prompts per forward pass.

    Raises UserError for a prompt that does not fit into the context with the longest label.
    """
    found = label_log_likelihoods(model, prompts, list(labels.values()), batch_size)
    probabilities = torch.tensor(found, dtype=torch.float64).view(-1, len(labels)).softmax(-1)
    return [dict(zip(labels, row, strict=True)) for row in probabilities.tolist()]


@torch.inference_mode()
def label_log_likelihoods(
    model: PreTrainedModel,
    prompts: list[list[int]],
    labels: list[list[int]],
    batch_size: int,
) -> list[list[float]]:
    """The log-likelihood of each label after each prompt, in nats.

    The arguments are those of `label_probabilities`, except that `labels` is a list. Raises
    FloatingPointError if the model's output is not finite.
    """
    num_read = max(map(len, labels)) - 1  # the last token is predicted but never an input
    for number, prompt in enumerate(prompts, 1):
        check_prompt_length(f"prompt {number}", len(prompt), num_read, model)

    def compute(batch: list[int]) -> list[list[float]]:
        nats = label_nll(model, [prompts[index] for index in batch], labels)
        check_finite(nats)
        return (-nats).tolist()

    with evaluating(model):
        return map_by_length(compute, list(map(len, prompts)), batch_size)


def label_nll(model: PreTrainedModel, prompts: list[list[int]], labels: list[list[int]]) -> Tensor:
    """Negative log-likelihood of each label after each prompt, in nats: (B, num_labels).

    Each prompt is computed once, followed by its labels in tries of at most MAX_TRIE_TOKENS tokens.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)[:, None]
    columns = torch.arange(int(lengths.max()), device=model.device)
    is_real = columns >= len(columns) - lengths  # (B, T), padded on the left
    sees = (columns <= columns[:, None]) & is_real[:, None]
    sees |= columns == columns[:, None]  # a query that attends to nothing may yield NaN
    output = model.base_model(
        input_ids=torch.tensor(
            [[0] * (len(columns) - len(prompt)) + prompt for prompt in prompts], device=model.device
        ),
        attention_mask=additive_mask(sees, generation_dtype(model)),
        position_ids=(columns - (len(columns) - lengths)).clamp(min=0),
        use_cache=True,
    )
    nats = torch.empty(len(prompts), len(labels), device=model.device)
    for numbers in split_labels(labels):
        trie = Trie.of([labels[number] for number in numbers])
        states = output.last_hidden_state[:, -1:]
        if trie.tokens:
            others = trie_states(model, trie, output.past_key_values, lengths, is_real)
            states = torch.cat([states, others], 1)
        nodes = node_nll(states, model.get_output_embeddings().weight, trie)
        for number, path in zip(numbers, trie.paths, strict=True):
            nats[:, number] = nodes[:, path].sum(1)
    return nats


def trie_states(
    model: PreTrainedModel, trie: Trie, cache: Cache, lengths: Tensor, is_real: Tensor
) -> Tensor:
    """The states of a trie after each prompt, except state 0: (B, num_states - 1, hidden_size).

    Each token of the trie has its position within its labels and attends to the prompt and to the
    preceding tokens of its labels.

    Args:
        cache: Keys and values of the prompts; unchanged on return.
        lengths: (B, 1), tokens of each prompt.
        is_real: (B, T), False at the prompts' padding.
    """
    num_rows, num_tokens = len(lengths), len(trie.tokens)
    sees_prompt = is_real[:, None].expand(-1, num_tokens, -1)
    sees_trie = trie.sees.to(model.device).expand(num_rows, -1, -1)
    states = model.base_model(
        input_ids=torch.tensor(trie.tokens, device=model.device).expand(num_rows, -1),
        attention_mask=additive_mask(
            torch.cat([sees_prompt, sees_trie], 2), generation_dtype(model)
        ),
        position_ids=lengths + torch.tensor(trie.depths, device=model.device),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    cache.crop(-num_tokens)
    return states


def split_labels(labels: list[list[int]]) -> list[list[int]]:
    """Sort the labels by tokens and group up to MAX_TRIE_TOKENS tokens: indices of each group."""
    groups: list[list[int]] = []
    num_free = 0
    for index in sorted(range(len(labels)), key=labels.__getitem__):
        if len(labels[index]) > num_free:
            groups.append([])
            num_free = MAX_TRIE_TOKENS
        groups[-1].append(index)
        num_free -= len(labels[index])
    return groups


def node_nll(states: Tensor, weight: Tensor, trie: Trie) -> Tensor:
    """Negative log-likelihood of each node's token, in nats: (B, num_nodes), float32.

    Logits are computed for LOGIT_ROWS states at a time.

    Args:
        states: (B, num_states, hidden_size).
        weight: Output embeddings, (vocab_size, hidden_size).
    """
    num_rows, num_states, _ = states.shape
    parents, targets = (
        torch.tensor(values, device=states.device) for values in (trie.parents, trie.targets)
    )
    starts = torch.arange(num_rows, device=states.device)[:, None] * num_states
    sources, targets = (starts + parents).flatten(), targets.repeat(num_rows)
    nats = torch.empty(len(sources), device=states.device)
    for start in range(0, num_rows * num_states, LOGIT_ROWS):
        logits = F.linear(states.flatten(0, 1)[start : start + LOGIT_ROWS], weight).float()
        ends = torch.tensor([start, start + LOGIT_ROWS], device=states.device)
        first, end = torch.searchsorted(sources, ends).tolist()
        rows = sources[first:end] - start
        nats[first:end] = logits.logsumexp(-1)[rows] - logits[rows, targets[first:end]]
    return nats.view(num_rows, -1)
