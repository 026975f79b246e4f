"""The `recipes` command."""

import click


@click.command()
@click.option("--fields", is_flag=True, help="List every key of a recipe with its meaning.")
def recipes(fields: bool) -> None:
    """List the recipes, or every key that one can hold."""
    from llmkit import recipe_files
    from llmkit.schema import iter_fields

    if fields:
        for key, _, default, text in iter_fields():
            click.echo(f"{key} = {default}\n    {text}")
        return
    for path in recipe_files.list_recipes():
        scales = " | ".join(recipe_files.describe_scales(str(path)))
        click.echo(f"{path.stem:<12}{recipe_files.first_comment(path)}  [{scales}]")
