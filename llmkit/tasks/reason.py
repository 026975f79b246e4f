"""Reasoning: a question in, a worked answer out whose last line is `#### final answer`.

    {"id": "7", "question": "Mara has 3 apples and buys 4. How many has she now?",
     "answer": "3 + 4 = 7\\n#### 7"}

That is the form of GSM8K (Cobbe et al. 2021); the final answers alone are compared. With
evaluation.votes above 1 and a temperature, so many answers are drawn for each question, and what
most of them end in is scored beside the first of them (self-consistency, Wang et al. 2022).
"""

from llmkit.metrics.final_answer import MARK, final_answer
from llmkit.tasks.base import Task

TASK = Task(
    name="reason",
    inputs=("question",),
    target="answer",
    truncatable_input="question",
    template="Question: {question}\nAnswer:",
    scores={"final_answer": True, "majority_vote": True},
    metrics=("final_answer",),
    majority_baseline="commonest answer",
    extract_answer=lambda completion: f"{MARK} {final_answer(completion)}",
)
