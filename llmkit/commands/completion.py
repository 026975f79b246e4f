"""The `completion` command, and shell completion for the arguments of the others."""

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
)

from llmkit.commands.verb import Verb, examples

VARIABLE = "_LLMKIT_COMPLETE"


class Bash(BashComplete):
    """Completion in bash that adds no space after `KEY=`, and quotes names with blanks."""

    name = "bash"
    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)",
        'COMPREPLY+=("$(printf %%q "$value")"); [[ $value == *= ]] && compopt -o nospace',
    )


add_completion_class(Bash)


@click.command(
    cls=Verb,
    short_help="Print a shell completion script.",
    epilog=examples(
        'eval "$(llmkit completion bash)"                               in ~/.bashrc',
        'eval "$(llmkit completion zsh)"                                in ~/.zshrc',
        "llmkit completion fish > ~/.config/fish/completions/llmkit.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, recipes, keys and runs in SHELL."""
    complete = get_completion_class(shell)
    click.echo(complete(ctx.find_root().command, {}, "llmkit", VARIABLE).source())


def complete_recipe(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """Names of recipes, else files."""
    from llmkit.config.recipe_files import first_comment, list_recipes

    named = [
        CompletionItem(path.stem, help=first_comment(path))
        for path in list_recipes()
        if path.stem.startswith(typed)
    ]
    return named or [CompletionItem(typed, type="file")]


def complete_run(_: click.Context, __: click.Parameter, typed: str) -> list[CompletionItem]:
    """Runs under runs/, the newest first, else folders."""
    from llmkit.paths import RUNS
    from llmkit.runs.folder import is_run

    runs = sorted(filter(is_run, RUNS.glob("*")), reverse=True)
    named = [CompletionItem(str(run)) for run in runs if str(run).startswith(typed)]
    return named or [CompletionItem(typed, type="dir")]


def complete_scale(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Scales of the recipe that the command names."""
    from llmkit.config.recipe_files import describe_scales
    from llmkit.errors import UserError

    recipe = ctx.params.get("recipe") or next(iter(ctx.args), None)
    try:
        scales = describe_scales(recipe) if recipe else ["sample", "full"]
    except UserError:
        scales = []
    return [CompletionItem(scale) for scale in scales if scale.startswith(typed)]


def complete_override(ctx: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Keys of a recipe as `KEY=`; after it, the values of a key that has few, else files."""
    from llmkit.config.schema_keys import find_field, iter_fields
    from llmkit.config.values import choices

    key, equals, value = typed.partition("=")
    prefix = f"{key}="
    if not equals:
        words = ctx.params.get("overrides") or ()  # bash splits KEY=VALUE into three
        if words[-1:] == ("=",):
            key, prefix, value = words[-2], "", typed
        elif words and not typed and "=" not in words[-1]:
            key, prefix, value = words[-1], "", ""
    fields = {name: text for name, _, _, text in iter_fields()}
    if prefix == f"{key}=" and not equals:
        sentences = {name: text.partition(".")[0] for name, text in fields.items()}
        return [
            CompletionItem(f"{name}=", help=sentence)
            for name, sentence in sentences.items()
            if name.startswith(typed)
        ]
    _, field = find_field(tuple(key.split(".")))
    values = [each for each in (choices(field) if field else []) if each.startswith(value)]
    files = [CompletionItem(value, type="file")]
    return [CompletionItem(prefix + each) for each in values] or files
