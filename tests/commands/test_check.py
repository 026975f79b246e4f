"""`check`: its page and its exit code."""


def test_the_page_must_be_html(llmkit):
    result = llmkit("check", "summarize", "--html", "page.txt")
    assert result.exit_code == 2
    assert "page.txt: name a file that ends in .html" in result.stderr


def test_a_warning_leaves_the_exit_code_0_and_an_error_makes_it_2(llmkit, tiny_gpt2, rows):
    command = ("check", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", "--json")
    assert llmkit(*command, "data.max_length=128").exit_code == 0
    rows.write_text(rows.read_text("utf-8") + "{broken\n", "utf-8")
    result = llmkit(*command, "data.max_length=128")
    assert result.exit_code == 2
    assert '"severity": "error"' in result.stdout
