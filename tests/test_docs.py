"""The documentation is true: its commands parse, and its keys, links and files exist."""

import re
import shlex
from functools import cache
from importlib.metadata import metadata
from itertools import takewhile
from pathlib import Path

import click
import pytest
from package_imports import MODULES, imports_of

import llmkit
from llmkit import cli
from llmkit.config.hints import other_name
from llmkit.config.moved_keys import FORWARDS, MOVED
from llmkit.config.recipe import load_recipe
from llmkit.config.recipe_files import list_recipes
from llmkit.config.schema import Recipe, Section
from llmkit.config.schema_keys import iter_fields
from llmkit.planning.devices import DEVICES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MIGRATION = ROOT / "docs" / "migration.md"
SHIPPED = [path.stem for path in list_recipes()]
SECTIONS = [
    name
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(llmkit .*)|\$\((llmkit [^)]*)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def split_page(page: Path) -> tuple[str, list[str]]:
    """(the prose, the lines of code blocks without a language)."""
    text = page.read_text("utf-8")
    blocks = [code.replace("\\\n", " ") for language, code in FENCE.findall(text) if not language]
    return FENCE.sub("", text), [line for code in blocks for line in code.splitlines()]


def spans_of(page: Path) -> list[str]:
    """The code spans of the prose: `like this`."""
    return re.findall(r"`([^`\n]+)`", split_page(page)[0])


@cache
def commands_of(page: Path) -> list[tuple[str, ...]]:
    """The arguments of each `llmkit ...` command of a page, without comment and redirection."""
    texts = [*split_page(page)[1], *spans_of(page)]
    found = [match[1] or match[2] for text in texts if (match := COMMAND.search(text))]
    words = [shlex.split(command, comments=True) for command in found]
    return [tuple(takewhile(lambda word: word not in "<>", each[1:])) for each in words]


COMMANDS = [
    pytest.param(page, words, id=f"{name_of(page)}: {' '.join(words)}")
    for page in PAGES
    for words in dict.fromkeys(commands_of(page))
    if "..." not in words and "COMMAND" not in words
]


def test_pages_hold_commands():
    assert len(COMMANDS) > 40
    assert len({param.values[1][0] for param in COMMANDS}) == len(cli.VERBS)


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_documented_command_parses(page, words):
    """Its options and keys exist, and its recipe accepts the values."""
    name, *arguments = words
    group = click.Context(cli.main)
    command = cli.main.get_command(group, name)
    assert command is not None, f"no such command: {name}"
    if not arguments:
        return  # named in the text
    given = command.make_context(name, arguments, parent=group).params
    recipe, overrides = given.get("recipe"), given.get("overrides") or ()
    model = given.get("model")
    if model is not None and "=" in model:  # `evaluate` without a model
        overrides = (model, *overrides)
    if name == "generate":  # words are the prompt
        overrides = tuple(word for word in overrides if "=" in word)
    assert all("=" in override for override in overrides)
    if recipe in SHIPPED:
        load_recipe(recipe, scale=given.get("scale"), overrides=tuple(overrides))
    else:  # a run's recipe, or a file of the reader's
        load_recipe("reason", overrides=("data.train=rows.jsonl", *overrides))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_documented_keys_exist(page):
    keys = {key for key, *_ in iter_fields()}
    sections = {key.rpartition(".")[0] for key in keys}
    free = ("data.columns.", "data.tests.", "model.name", "model.revision", "model.scratch")
    named = [
        match[0].rstrip(".*")
        for span in spans_of(page)
        if (match := re.match(rf"(?:{'|'.join(SECTIONS)}|model)\.[\w.*]+", span))
        and not span.endswith((".data", ".gguf", ".json", ".jsonl", ".onnx", ".safetensors"))
    ]
    old = {key for key in MOVED if "." in key} if page == MIGRATION else set()
    unknown = [
        key for key in named if key not in keys | sections | old and not key.startswith(free)
    ]
    assert not unknown, f"no such keys: {unknown}"


def test_the_migration_page_lists_every_moved_key():
    text = MIGRATION.read_text("utf-8")
    assert dict(re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", text, re.MULTILINE)) == MOVED
    for old, new in FORWARDS.items():
        assert f"`{new}` (was `{old}`)" in text


def test_keys_of_other_toolkits_are_answered_as_documented():
    text = (ROOT / "docs" / "other-toolkits.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    for *theirs, ours in rows[1:]:
        keys = set(re.findall(r"`([\w.]+)", ours))
        for name in re.findall(r"`(\w+)`", " ".join(theirs)):
            has_same_name = name in {key.rpartition(".")[2] for key in keys}
            assert has_same_name or other_name(name) is not None, f"{name}: no hint"


def test_the_recipes_page_lists_every_command():
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    assert re.findall(r"^\| `llmkit (\w+)` \|", text, re.MULTILINE) == list(cli.VERBS)


def test_the_plan_page_lists_every_gpu():
    text = (ROOT / "docs" / "plan.md").read_text("utf-8")
    assert re.findall(r"`([\w-]+)`", re.search(r"accepts(.*?),\s+in any", text, re.S)[1]) == [
        *DEVICES
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Files that links name exist, and so do the headings."""
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target}: no such file"
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
            assert heading in anchors, f"{target}: no such heading"


def test_documented_extras_exist():
    """An extra is added by the name of the package: `pip install '.[gguf]'` would replace the
    editable installation of `make setup`."""
    texts = [page.read_text("utf-8") for page in PAGES]
    named = {found for text in texts for found in re.findall(r"pip install '(.+)\[(\w+)\]'", text)}
    named.remove(("llmkit", "EXTRA"))
    own = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert {("llmkit", "serve"), ("llmkit", "gguf"), ("transformers", "serving")} <= named
    for package, extra in named:
        assert extra in (
            own if package == "llmkit" else metadata(package).get_all("Provides-Extra")
        ), package


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_source_files_exist(page):
    for span in spans_of(page):
        if re.fullmatch(r"[\w./-]+\.py", span):
            folders = [ROOT, ROOT / "llmkit", ROOT / "scripts", ROOT / "tests" / "helpers"]
            assert any((folder / span).is_file() for folder in folders), f"{span}: no such file"


def test_the_internals_page_shows_how_packages_import_each_other():
    text = (ROOT / "docs" / "internals.md").read_text("utf-8")
    levels = {
        re.sub(r"/|\.py", "", package): int(level)
        for level, packages in re.findall(r"^\| (\d+) \| (`.*?`) \|", text, re.MULTILINE)
        for package in re.findall(r"`(.*?)`", packages)
    }
    packages = {module.partition(".")[0] for module in MODULES} - {"__init__"}
    assert set(levels) == packages
    for module in set(MODULES) - {"__init__"}:
        for imported in imports_of(module):
            package, other = module.partition(".")[0], imported.partition(".")[0]
            assert package == other or levels[other] < levels[package], f"{module}: {imported}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_use_the_api(page):
    """They compile, and call functions that exist; the docstrings' examples are run elsewhere."""
    for language, code in FENCE.findall(page.read_text("utf-8")):
        if language == "python":
            compile(code, name_of(page), "exec")
            assert set(re.findall(r"llmkit\.(\w+)\(", code)) <= set(llmkit.__all__)


def test_the_api_page_lists_every_function():
    named = {span.partition("(")[0] for span in spans_of(ROOT / "docs" / "python-api.md")}
    assert set(llmkit.__all__) <= named | {"UserError"}


def test_make_targets_of_the_documentation_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        texts = [*split_page(page)[1], *spans_of(page)]
        used = {match[1] for text in texts if (match := re.match(r"make ([a-z-]+)", text))}
        assert used <= targets, f"{name_of(page)}: {used - targets}"


def test_the_readme_is_short_and_links_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 240
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in PAGES[2:]:
        if page.name != "README.md":
            assert f"docs/{page.name}" in text
            assert f"]({page.name}" in index
