"""Arguments and options that several commands take."""

import click

from llmkit.commands.completion import complete_override, complete_recipe, complete_scale

recipe_argument = click.argument("recipe", shell_complete=complete_recipe)
overrides_argument = click.argument(
    "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_override
)
scale_option = click.option(
    "--scale",
    metavar="NAME",
    help="Scale of the recipe: sample (minutes, no network) or full.",
    shell_complete=complete_scale,
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object on stdout."
)
quiet_option = click.option(
    "-q", "--quiet", "is_quiet", is_flag=True, help="Print warnings and errors only."
)
