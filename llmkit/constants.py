"""Numbers and names that several parts of llmkit, or of Hugging Face's libraries, agree on."""

IGNORE_INDEX = -100  # the label of a token that the loss leaves out
END_OF_TEXT = "<|endoftext|>"  # of GPT-2: between texts, and where a completion ends
SCRATCH = "scratch"  # the name of a model with random weights
