"""Arguments and options that several commands take."""

import click

recipe_argument = click.argument("recipe")
overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
scale_option = click.option("--scale", metavar="NAME", help="sample (minutes, no network) or full.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
)
