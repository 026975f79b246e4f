"""Conversations: what is not one is refused."""

import pytest
from task_rows import TALK

from llmkit.tasks import TASKS


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ("hello", "must be a list of messages"),
        ([], "here the roles are nothing"),
        (TALK[:2], "here the roles are system, user"),
        (TALK[1:3] * 2 + TALK[:1], "roles are user, assistant, user, assistant, system"),
        ([{"role": "tool", "content": "x"}], "message 1 calls a tool or returns its result"),
        ([{"role": "narrator", "content": "x"}], "message 1 has the role 'narrator'"),
        ([{"role": "user"}], "message 1 has no text in `content`"),
    ],
)
def test_messages_that_are_not_a_conversation_are_refused(messages, expected):
    with pytest.raises(ValueError, match=expected):
        TASKS["chat"].chat.parse(messages)
