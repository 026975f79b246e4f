"""Whether a prompt fits the model."""

from transformers import PreTrainedModel

from llmkit.errors import UserError, count_of


def check_prompt_length(
    where: str, num_tokens: int, num_new_tokens: int, model: PreTrainedModel, advice: str = ""
) -> None:
    """Raise UserError unless a prompt has a token and fits the model together with its completion.

    Args:
        where: What the message calls the prompt, such as file:line.
        num_tokens: Tokens of the prompt.
        num_new_tokens: Most tokens of the completion that the model will read or write.
        advice: What else than a shorter prompt would help.
    """
    if not num_tokens:
        raise UserError(f"{where}: the prompt is empty; give it at least one character")
    num_positions = model.config.max_position_embeddings
    if num_tokens + num_new_tokens > num_positions:
        raise UserError(
            f"{where}: {count_of(num_tokens, 'token')} and up to {num_new_tokens} new ones exceed "
            f"the model's {num_positions} positions; shorten the prompt{advice}"
        )
