"""What is exported."""

from llmkit.runs.folder import model_dir


def test_the_source_is_the_model_of_the_run(full):
    assert full.source.folder == model_dir(full.source.run)
    assert full.source.task.name == "summarize"
