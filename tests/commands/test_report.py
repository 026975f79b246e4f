"""`report`: what it refuses before any work."""


def test_a_folder_that_is_no_run_is_refused_in_one_line(llmkit):
    result = llmkit("report", "nowhere")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "nowhere: not a run" in line


def test_the_page_must_be_html(llmkit, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("task: qa\ntrain: {epochs: 1}\n", "utf-8")
    result = llmkit("report", "run", "--output", "page.pdf")
    assert result.exit_code == 2
    assert "page.pdf: name a file that ends in .html" in result.stderr
