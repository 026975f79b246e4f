"""Reasoning: a question in, a worked answer out that ends in `#### final answer`.

    {"id": "7", "question": "Mara has 3 apples and buys 4. How many has she now?",
     "answer": "3 + 4 = 7\\n#### 7"}

This is the format of GSM8K (Cobbe et al. 2021); only the final answers are compared. With
evaluation.votes above 1 and a temperature, that many answers are sampled for each question, and the
most frequent final answer is scored in addition to the first (self-consistency, Wang et al. 2022).
"""

from llmkit.metrics.final_answer import ANSWER_MARK, final_answer
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
    extract_answer=lambda completion: f"{ANSWER_MARK} {final_answer(completion)}",
)
