"""Unknown commands, options and keys, also of other toolkits: what is suggested instead."""

import pytest

from llmkit import cli

VERBS = list(cli.VERBS)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train summarize", "did you mean `llmkit finetune RECIPE`?"),
        ("summarize", "did you mean `llmkit finetune summarize`?"),
        ("eval runs/a", "did you mean `llmkit evaluate MODEL_OR_RUN`?"),
        ("predict", "did you mean `llmkit generate --model RUN --input FILE --output FILE`?"),
        ("infer", "did you mean `llmkit generate --prompt TEXT`?"),
        ("run", "did you mean `llmkit finetune RECIPE`?"),
        ("evalute", "did you mean evaluate?"),
        ("xyzzy", f"there are {', '.join(VERBS)}"),
        ("finetune --config mine.yaml", "name the recipe itself: llmkit finetune FILE"),
        ("finetune qa --lr 1e-4", "did you mean train.learning_rate=VALUE?"),
        ("finetune qa --train.lr=1e-4", "did you mean train.learning_rate=VALUE?"),
        ("finetune qa --train.epochs 3", "set a key without dashes: train.epochs=VALUE"),
        ("finetune qa --learning-rate 3", "set a key without dashes: train.learning_rate=VALUE"),
        ("finetune qa --gradient-accumulation-steps 2", "set train.global_batch_size"),
        ("finetune qa --batch-size 8", "set train.global_batch_size for one step, "),
        ("evaluate --evaluation.batch-size 8", "without dashes: evaluation.batch_size=VALUE"),
        ("finetune qa --output_dir x", "did you mean --run-dir?"),
        ("finetune qa --nproc_per_node=2", "did you mean --num-processes?"),
        ("finetune qa --dry-run", "`llmkit recipes RECIPE` the resolved recipe"),
        ("evaluate x --output_dir x", "did you mean --output?"),
        ("generate --max_tokens 3", "did you mean --max-new-tokens?"),
        ("generate --temp 1", "did you mean --temperature?"),
        ("generate --stop_strings x", "did you mean --stop?"),
        ("chat --guided_regex x", "did you mean --regex?"),
        ("generate --prompt hello world", "did you mean --prompt 'hello world'?"),
        ("generate nowhere.csv", "did you mean --input nowhere.csv?"),
        ("generate data.columns.text review", "did you mean data.columns.text=review?"),
        ("generate .", "did you mean --model .?"),
        ("recipes --fields lr_scheduler_typ", "no key of a recipe contains 'lr_scheduler_typ'"),
        ("recipes --fields save_steps", "did you mean checkpoint.every?"),
        ("--config mine.yaml", "name a command first: llmkit finetune FILE. See `llmkit --help`"),
        ("--model gpt2", "name a command first: llmkit COMMAND [OPTIONS]. See `llmkit --help`"),
        ("merge runs/a", "did you mean `llmkit export RUN --to FORMAT`?"),
        ("upload runs/a", "did you mean `llmkit push RUN USER/NAME`?"),
        ("finetune qa --resume", "finetune: Option '--resume' requires an argument. See `llmkit f"),
        ("completion", "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish. See `"),
        ("evaluate runs/a --model gpt2", "name the model itself: llmkit evaluate MODEL_OR_RUN"),
        ("evaluate gpt2 -t qa", "did you mean --recipe?"),
        ("generate model=runs/ü --prompt x", "did you mean --model 'runs/ü'?"),
        ("generate max_tokens=5 --prompt x", "did you mean --max-new-tokens 5?"),
        ("generate data.train=x --prompt x", "generate takes only data.columns, data.encoding"),
        ("finetune rows.jsonl", "rows, not a recipe; give a recipe and name the rows with data.tr"),
        ("check .", ".: a folder, not a recipe; give a recipe, and name a folder of rows with "),
        ("check qa .", "such as data.train=., which trains on the files in it"),
        ("check data/rows.csv.gz", "name the rows with data.train=data/rows.csv.gz"),
        ("check zürich.csv", "name the rows with 'data.train=zürich.csv'"),
        ("evaluate runs/none", "runs/none: not a run; check the path, or name the recipe to score"),
        ("evaluate --predictions x.csv", "x.csv: name the recipe to score with: --recipe RECIPE"),
    ],
)
def test_what_other_kits_take_is_answered_with_ours(llmkit, arguments, expected):
    result = llmkit(*arguments.split())
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert line.count("llmkit: ") == 1 + expected.count("llmkit: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("finetune sumarize", "no recipe 'sumarize'; did you mean summarize?"),
        ("finetune xyzzy", "no recipe 'xyzzy'; there are chat, classify"),
        ("finetune qa task=xyzzy", "no task 'xyzzy'; there are summarize, translate"),
        ("finetune qa --fail-under f=1", "qa has no score 'f'; did you mean f1?"),
        ("finetune qa --fail-under x=1", "qa has no score 'x'; it has exact_match"),
    ],
)
def test_a_suggestion_ends_its_message(llmkit, arguments, expected):
    (line,) = llmkit(*arguments.split()).stderr.splitlines()
    assert expected in line
    assert "?" not in line or line.endswith("?")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("generate", "--model", "", "--prompt", "x"), "--model"),
        (("generate", "--input", " "), "--input"),
        (("generate", "--prompt", "x", "--output", ""), "--output"),
        (("generate", "--prompt", "x", "--json-schema", ""), "--json-schema"),
        (("chat", "--model", ""), "--model"),
        (("serve", "--token-file", ""), "--token-file"),
        (("serve", "--host", ""), "--host"),
        (("evaluate", ""), "model"),
        (("evaluate", "x", "--recipe", ""), "--recipe"),
        (("compare", "a.csv", ""), "second"),
        (("report", "a", ""), "runs"),
        (("finetune", ""), "recipe"),
        (("finetune", "qa", "--run-dir", ""), "--run-dir"),
    ],
)
def test_an_empty_name_is_rejected(llmkit, arguments, name):
    result = llmkit(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"llmkit: {arguments[0]}: {name}: the value is empty; is a variable of")


@pytest.mark.parametrize("option", ["--prompt", "--stop", "--choices", "--system"])
def test_a_text_may_be_empty_or_has_its_own_message(llmkit, option):
    command = "chat" if option == "--system" else "generate"
    assert "the value is empty" not in llmkit(command, option, "", "--model", "./none").stderr
