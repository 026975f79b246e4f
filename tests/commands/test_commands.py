"""What a new user types, and what answers: help, hints, recipes to copy, completion, limits."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml
from click.shell_completion import ShellComplete
from runs import SHORT

from llmkit import cli
from llmkit.commands import loading as loading_module
from llmkit.commands.limits import Limit, check_limits, fail_if_missed
from llmkit.commands.loading import ERASE_LINE, LOADING, loading
from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import list_recipes
from llmkit.config.schema_keys import iter_fields
from llmkit.errors import UserError
from llmkit.runs.folder import claim_run_dir, open_recipe

VERBS = list(cli.VERBS)


def test_the_first_output_comes_before_any_library(subprocess_env):
    code = """if True:
        import sys
        class Watched:
            def write(self, text):
                if text.strip():
                    heavy = {"torch", "transformers", "pydantic", "yaml", "numpy", "rich"}
                    print(text.strip(), "|", sorted(heavy & set(sys.modules)))
                    sys.exit()
            def flush(self): pass
            def isatty(self): return False
            def reconfigure(self, **_): pass
        from llmkit.__main__ import main
        sys.argv = ["llmkit", *sys.argv[1:]]
        sys.stderr = Watched()
        main()
    """
    for arguments in (["finetune", "nowhere"], ["evaluate", "nowhere"]):
        shown = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=subprocess_env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout == f"{LOADING} | []\n"


def test_ctrl_c_while_libraries_load_ends_in_one_line(subprocess_env):
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit", "check", "qa"],
        env=subprocess_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == f"{LOADING}\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (130, "", "llmkit: stopped by Ctrl-C\n")


class Stream:
    """stderr, with or without a terminal behind it."""

    def __init__(self, is_terminal):
        self.is_terminal, self.text = is_terminal, ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return self.is_terminal


@pytest.fixture
def unloaded(monkeypatch):
    """As in a process that has imported nothing yet."""
    modules = {name: module for name, module in sys.modules.items() if name != "transformers"}
    fake = SimpleNamespace(modules=modules, stderr=None)
    monkeypatch.setattr(loading_module, "sys", fake)

    def run(is_terminal, **settings):
        fake.stderr = Stream(is_terminal)
        with loading(**settings):
            during = fake.stderr.text
        return during, fake.stderr.text

    monkeypatch.setattr(
        loading_module, "print",
        lambda *words, end="\n", file=None, flush=False: fake.stderr.write(" ".join(words) + end),
        raising=False,
    )  # fmt: skip
    return run


def test_loading_is_a_line_in_a_file_and_passes_on_a_terminal(unloaded, monkeypatch):
    assert unloaded(is_terminal=False) == (f"{LOADING}\n", f"{LOADING}\n")
    assert unloaded(is_terminal=True) == (LOADING, LOADING + ERASE_LINE)
    assert unloaded(is_terminal=True, is_quiet=True) == ("", "")
    monkeypatch.setenv("RANK", "1")
    assert unloaded(is_terminal=True) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train summarize", "did you mean `llmkit finetune RECIPE`?"),
        ("summarize", "did you mean `llmkit finetune summarize`?"),
        ("chat", "did you mean `llmkit finetune chat` or `llmkit generate --prompt TEXT`?"),
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
        ("finetune qa --output_dir x", "did you mean --run-dir?"),
        ("finetune qa --nproc_per_node=2", "did you mean --num-processes?"),
        ("finetune qa --dry-run", "`llmkit recipes RECIPE` the resolved recipe"),
        ("evaluate x --output_dir x", "did you mean --output?"),
        ("generate --max_tokens 3", "did you mean --max-new-tokens?"),
        ("generate --temp 1", "did you mean --temperature?"),
        ("generate hello world", "did you mean --prompt 'hello world'?"),
        ("generate .", "did you mean --model .?"),
        ("recipes --fields lr_scheduler_typ", "no key of a recipe contains 'lr_scheduler_typ'"),
        ("recipes --fields save_steps", "did you mean checkpoint.every?"),
        ("--config mine.yaml", "name a command first: llmkit finetune FILE. See `llmkit --help`"),
        ("--model gpt2", "name a command first: llmkit COMMAND [OPTIONS]. See `llmkit --help`"),
        ("export runs/a", "the folder `model` of a run is a Hugging Face folder"),
        ("finetune qa --resume", "finetune: Option '--resume' requires an argument. See `llmkit f"),
        ("completion", "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish. See `"),
        ("evaluate runs/a --model gpt2", "name the model itself: llmkit evaluate MODEL_OR_RUN"),
        ("evaluate gpt2 -t qa", "did you mean --recipe?"),
        ("generate model=runs/ü --prompt x", "did you mean --model 'runs/ü'?"),
        ("generate max_tokens=5 --prompt x", "did you mean --max-new-tokens 5?"),
        ("generate data.train=x --prompt x", "generate takes only data.columns, data.encoding"),
        ("finetune rows.jsonl", "rows, not a recipe; give a recipe and name the rows with data.tr"),
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


def test_a_usage_mistake_names_the_command_once(llmkit):
    (line,) = llmkit("finetune").stderr.splitlines()
    assert line == ("llmkit: finetune: Missing argument 'RECIPE'. See `llmkit finetune --help`.")


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_whole_and_has_examples(verb):
    command = cli.main.get_command(click.Context(cli.main), verb) or cli.main
    for width in (60, 80):
        context = click.Context(
            command, info_name=f"llmkit {verb}".strip(), terminal_width=width,
            max_content_width=width,
        )  # fmt: skip
        lines = command.get_help(context).splitlines()
        assert "Examples:" in command.get_help(context)
        usage = lines.index("")
        assert not any(line.endswith("...") for line in lines[usage:])
        assert not re.search(r"INTEGER|FLOAT|x[<>]=", "\n".join(lines))
        prose = [line for line in lines if not line.lstrip().startswith(("llmkit", "eval"))]
        assert max(map(len, prose)) <= width


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


def test_help_names_exit_codes_and_variables(llmkit):
    shown = llmkit("--help").output
    for expected in ("Exit codes:", "130", "LLMKIT_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE",
                     "WANDB_PROJECT"):  # fmt: skip
        assert expected in shown
    assert "[MODEL_OR_RUN]" in llmkit("evaluate", "--help").output


@pytest.mark.parametrize("path", list_recipes(), ids=lambda path: path.stem)
def test_a_printed_recipe_runs_as_the_recipe_itself(llmkit, tmp_path, path):
    for arguments in ([], ["--scale", "full"], ["seed=3", "train.max_steps=7"]):
        shown = llmkit("recipes", path.stem, *arguments)
        assert shown.exit_code == 0, shown.output
        (tmp_path / "mine.yaml").write_text(shown.stdout, "utf-8")
        overrides = tuple(each for each in arguments if "=" in each)
        scale = "full" if "full" in arguments else None
        assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe(
            path.stem, scale=scale, overrides=overrides
        )
    assert llmkit("recipes", str(tmp_path / "mine.yaml")).stdout == shown.stdout


def test_fields_are_filtered_by_a_word(llmkit):
    shown = llmkit("recipes", "--fields", "warm").stdout
    keys = [line.partition(" = ")[0] for line in shown.splitlines() if " = " in line]
    assert "train.warmup_steps" in keys
    assert len(keys) < len(llmkit("recipes", "--fields").stdout.splitlines()) / 10


def test_the_json_schema_describes_every_key(llmkit):
    schema = json.loads(llmkit("recipes", "--json-schema").stdout)

    def keys(section, prefix=""):
        for name, value in section["properties"].items():
            references = [value, *value.get("anyOf", [])]  # the model is a section or its name
            target = next((r["$ref"] for r in references if "$ref" in r), "#").rpartition("/")[2]
            if target in schema["$defs"]:
                yield from keys(schema["$defs"][target], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    assert set(keys(schema)) == {"scales", *(key for key, *_ in iter_fields())}
    for path in list_recipes():
        assert set(yaml.safe_load(path.read_text("utf-8"))) <= set(schema["properties"])


def completions(*words: str) -> list[str]:
    """What the shell offers for the last word."""
    *typed, incomplete = words
    found = ShellComplete(cli.main, {}, "llmkit", "_LLMKIT_COMPLETE").get_completions(
        typed, incomplete
    )
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("fine",), ["finetune"]),
        (("finetune", "su"), ["summarize"]),
        (("finetune", "./mi"), ["<file>"]),
        (("finetune", "qa", "--scale", ""), ["sample", "full"]),
        (("finetune", "pretrain", "--scale", "e"), ["embedded"]),
        (("finetune", "qa", "train.learning"), ["train.learning_rate="]),
        (("finetune", "qa", "seed=1", "train.schedule=co"),
         ["train.schedule=cosine", "train.schedule=constant"]),
        (("finetune", "qa", "data.packing="), ["data.packing=true", "data.packing=false"]),
        (("finetune", "qa", "data.train="), ["<file>"]),
        # bash makes three words of KEY=VALUE
        (("finetune", "qa", "train.method", "=", "l"), ["lora"]),
        (("finetune", "qa", "train.method", "="), ["full", "lora"]),
        (("finetune", "qa", "seed", "=", "1", "train.meth"), ["train.method="]),
        (("check", "qa", "data.train", "=", "ro"), ["<file>"]),
        (("report", "runs/s"), ["runs/sum-2", "runs/sum-1"]),
        (("generate", "--model", "runs/sum-1"), ["runs/sum-1"]),
        (("finetune", "qa", "--resume", "runs/sum-2"), ["runs/sum-2"]),
        (("evaluate", "elsewhere"), ["<dir>"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
    ],
)  # fmt: skip
def test_the_shell_completes(monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("sum-1", "sum-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.yaml").write_text("task: summarize\n")
    (tmp_path / "runs" / "scores").mkdir()
    assert completions(*words) == expected


def test_every_key_is_completed():
    keys = [f"{key}=" for key, *_ in iter_fields()]
    assert completions("finetune", "qa", "") == keys


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(llmkit, shell):
    result = llmkit("completion", shell)
    assert result.exit_code == 0, result.output
    assert f"_LLMKIT_COMPLETE={shell}_complete" in result.stdout


def test_bash_quotes_names_with_blanks(llmkit):
    script = llmkit("completion", "bash").stdout
    script += """
    compopt() { echo nospace; }
    llmkit() { printf 'plain,runs/my run\nplain,seed=\nplain,runs/a$b\n'; }
    COMP_WORDS=(llmkit evaluate ""); COMP_CWORD=2; PATH=/none
    env() { shift; shift; shift; "$@"; }
    _llmkit_completion llmkit
    printf '%s\n' "${COMPREPLY[@]}"
    """
    made = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert made.stdout.splitlines() == ["nospace", r"runs/my\ run", "seed=", r"runs/a\$b"]


TASK = SimpleNamespace(
    name="summarize", scores={"rougeL": True, "perplexity": False},
    score_names=["rougeL", "perplexity", "loss"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "is_missed"),
    [
        (("rougeL", 20.0), False),
        (("rougeL", 20.5), True),
        (("perplexity", 9.0), True),
        (("perplexity", 10.0), False),
        (("loss", 2.0), True),
        (("loss", 2.5), False),
    ],
)
def test_a_limit_is_missed_on_the_worse_side(limit, is_missed, capsys):
    scores = {"rougeL": 20.0, "perplexity": 10.0, "loss": 2.5}
    if not is_missed:
        fail_if_missed([Limit(*limit)], scores, TASK)
        return
    with pytest.raises(SystemExit) as stop:
        fail_if_missed([Limit("rougeL", 1.0), Limit(*limit)], scores, TASK)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"llmkit: --fail-under {limit[0]}={limit[1]:g}: it")


def test_default_names_do_not_collide(tmp_path):
    run = tmp_path / "runs" / "qa-20260101-120000"
    claimed = [claim_run_dir(run) for _ in range(3)]
    assert [path.name for path in claimed] == [run.name, f"{run.name}-2", f"{run.name}-3"]
    assert all(path.is_dir() for path in claimed)


def test_a_run_is_given_as_a_model(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "my run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.yaml").write_text("task: qa\ntrain: {epochs: 1}\n")
    for name in ("my run", str(run)):
        recipe = open_recipe("qa", overrides=(f"model={name}",))
        assert Path(recipe.model.name).resolve() == run / "model"
    assert open_recipe("qa", overrides=("model=gpt2",)).model.name == "gpt2"
    beside = run / "gpt2"
    beside.mkdir()
    assert open_recipe("qa", overrides=(f"model={beside}",)).model.name == str(beside)
    (run / "model").rmdir()
    assert open_recipe("qa", overrides=(f"model={beside}",)).model.name == str(beside)
    with pytest.raises(UserError, match="this run has no model yet"):
        open_recipe("qa", overrides=(f"model={run}",))


def test_a_limit_on_an_unknown_score_is_refused_first(llmkit):
    with pytest.raises(UserError, match="no score 'rougel'; did you mean rougeL"):
        check_limits([Limit("rougel", 1.0)], TASK)
    for recipe, limit in (("summarize", "bleu=3"), ("classify", "rougeL=20")):
        for command in (("finetune", recipe), ("evaluate", "embedded", "--recipe", recipe)):
            result = llmkit(*command, "--fail-under", limit)
            assert result.exit_code == 2
            assert "--fail-under: " in result.stderr
    for limit in ("rougeL", "rougeL=", "rougeL=20%", "rougeL=nan", "rougeL=inf"):
        result = llmkit("evaluate", "x", "--fail-under", limit)
        assert result.exit_code == 2
        assert "give SCORE=N, such as rougeL=20" in result.stderr


def test_a_job_reads_json_and_fails_under_a_limit(llmkit, tiny_gpt2, rows):
    run = ("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT)
    result = llmkit(*run, "--run-dir", "run", "--json", "--fail-under", "loss=0.5")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("llmkit: --fail-under loss=0.5: it is ")
    trained = json.loads(result.stdout)
    assert trained.pop("run") == "run"
    assert trained == json.loads(Path("run/metrics.json").read_text())

    result = llmkit("evaluate", "run", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    scored = json.loads(result.stdout)
    assert scored["scores"]["lead-3"] == trained["scores"]["lead-3"]
    assert scored["num_rows"] == 4

    result = llmkit("generate", "--model", "run", "--prompt", "The ferry.", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert {"id", "prompt", "prediction"} <= json.loads(result.stdout).keys()
    assert result.stderr == ""

    result = llmkit(*run, "--run-dir", "silent", "--quiet")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.startswith("warning: train.warmup_steps=20 outlasts")
    assert Path("silent/metrics.json").is_file()
