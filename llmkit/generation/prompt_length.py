"""Check that a prompt fits into the context of the model."""

from transformers import PreTrainedModel

from llmkit.errors import UserError, count_of


def check_prompt_length(
    where: str, num_tokens: int, num_new_tokens: int, model: PreTrainedModel, advice: str = ""
) -> None:
    """Raise UserError if a prompt is empty or does not fit into the context with its completion.

    Args:
        where: Name of the prompt in the message, such as file:line.
        num_tokens: Number of tokens in the prompt.
        num_new_tokens: Maximum number of tokens of the completion.
        advice: Alternative to shortening the prompt, for the message.
    """
    if not num_tokens:
        raise UserError(f"{where}: the prompt is empty; give it at least one character")
    num_positions = model.config.max_position_embeddings
    if num_tokens + num_new_tokens > num_positions:
        raise UserError(
            f"{where}: {count_of(num_tokens, 'token')} and up to {num_new_tokens} new ones exceed "
            f"the model's {num_positions} positions; shorten the prompt{advice}"
        )
