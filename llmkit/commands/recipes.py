"""The `recipes` command."""

import json
from textwrap import indent

import click

from llmkit.commands.completion import complete_recipe
from llmkit.commands.options import overrides_argument, scale_option
from llmkit.commands.verb import Verb, examples
from llmkit.errors import UserError


@click.command(
    cls=Verb,
    short_help="List recipes, print one, or document its keys.",
    epilog=examples(
        "llmkit recipes",
        "llmkit recipes summarize train.epochs=2 > mine.yaml",
        "llmkit recipes --fields learning_rate",
        "llmkit recipes --json-schema > recipe.schema.json",
    ),
)
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@overrides_argument
@scale_option
@click.option(
    "--fields",
    "word",
    metavar="[WORD]",
    is_flag=False,
    flag_value="",
    help="List all keys of a recipe with default and meaning, or those that contain WORD.",
)
@click.option("--json-schema", is_flag=True, help="Print the JSON Schema of a recipe file.")
def recipes(
    recipe: str | None,
    overrides: tuple[str, ...],
    scale: str | None,
    word: str | None,
    json_schema: bool,
) -> None:
    """List the recipes, print RECIPE as a YAML file with every value, or list all keys of a
    recipe."""
    if json_schema:
        _print_schema()
    elif word is not None:
        _print_fields(word)
    elif recipe is not None:
        _print_recipe(recipe, scale, overrides)
    else:
        _print_list()


def _print_list() -> None:
    from llmkit.config.recipe_files import describe_scales, first_comment, list_recipes

    for path in list_recipes():
        scales = " | ".join(describe_scales(str(path)))
        click.echo(f"{path.stem:<12}{first_comment(path)}  [{scales}]")


def _print_recipe(name: str, scale: str | None, overrides: tuple[str, ...]) -> None:
    from llmkit.config.recipe import load_recipe
    from llmkit.config.recipe_files import find_recipe, first_comment, to_yaml

    recipe = load_recipe(name, scale=scale, overrides=overrides)
    comment = first_comment(find_recipe(name))
    click.echo(f"# {comment}" if comment else "", nl=bool(comment))
    click.echo(to_yaml(recipe.model_dump(mode="json")), nl=False)


def _print_fields(word: str) -> None:
    from llmkit.config.hints import other_name
    from llmkit.config.schema_keys import iter_fields

    found = [
        f"{key} = {default}\n{indent(text, '    ')}"
        for key, _, default, text in iter_fields()
        if word.lower() in f"{key} {text}".lower()
    ]
    if not found:
        hint = other_name(word)
        hint = f"; {hint}" if hint else ""
        raise UserError(f"--fields: no key of a recipe contains {word!r}{hint}")
    click.echo("\n".join(found))


def _print_schema() -> None:
    from llmkit.config.schema_keys import file_schema

    click.echo(json.dumps(file_schema(), indent=2))
