"""Instruction following: the input is an instruction, often with a text; the output a response.

    {"id": "7", "instruction": "Who keeps a goat?", "input": "Mara keeps a goat.",
     "output": "Mara keeps it."}

These are the columns of Alpaca (Taori et al. 2023). Prompt/completion rows, Dolly's rows and
conversations of a single turn are read as well (llmkit/data/shapes.py). `input` and `system` may be
empty or missing; a section of the template, such as {#input}...{/input}, is then left out. Alpaca's
two prompts are this template:

    Below is an instruction that describes a task{#input}, paired with an input that provides
    further context{/input}. Write a response that appropriately completes the request.

    ### Instruction:
    {instruction}

    {#input}### Input:
    {input}

    {/input}### Response:

The loss is on the response. The scores are ROUGE-L and SQuAD's F1, both computed on words.
"""

from llmkit.tasks.base import Row, Task


def copy_of_the_input(row: Row) -> str:
    """The text that the instruction is about, or the instruction if there is none."""
    return row["input"].strip() or row["instruction"]


TASK = Task(
    name="instruct",
    inputs=("instruction", "input", "system"),
    target="output",
    truncatable_input="instruction",
    truncated_first="input",
    optional_inputs=("input", "system"),
    template=(
        "{#system}{system}\n{/system}Instruction: {instruction}{#input}\nInput: {input}{/input}"
        "\nResponse:"
    ),
    scores={"rougeL": True, "f1": True},
    metrics=("rouge", "squad"),
    baselines={"copy of the input": copy_of_the_input},
    majority_baseline="commonest response",
    accepted_shapes=("pair", "conversation"),
)
