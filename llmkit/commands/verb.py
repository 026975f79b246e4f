"""Argument parsing and help of the commands."""

import click

from llmkit.config import hints

TEXTS = ("TEXT", "REGEX", "[WORD]", "[KEY=VALUE]...")  # metavars of parameters that may be empty


class Verb(click.Command):
    """A command that suggests the right option for an unknown one and rejects empty names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            rest = super().parse_args(ctx, args)
            self._check_names(ctx)
            return rest
        except click.NoSuchOption as error:
            hint = self._hint(error.option_name)
            if hint is None:
                raise
            ctx.fail(f"No such option {error.option_name!r}; {hint}")
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the message names the command
            raise

    def _check_names(self, ctx: click.Context) -> None:
        """Raise UsageError for the empty name of a file, a model or anything else."""
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            values = value if isinstance(value, tuple) else (value,)
            is_empty = any(isinstance(each, str) and not each.strip() for each in values)
            if is_empty and parameter.metavar not in TEXTS:
                name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.name
                ctx.fail(f"{name}: the value is empty; is a variable of the shell unset?")

    def _hint(self, option: str) -> str | None:
        options = [name for parameter in self.params for name in parameter.opts]
        meant = hints.meant_option(option, options)
        if meant is not None:
            return f"did you mean {meant}?"
        if "overrides" not in options:
            return None
        from llmkit.config.schema_keys import iter_fields

        return hints.key_option_hint(option, [key for key, *_ in iter_fields()], self.name)


class NumberOption(click.Option):
    """A numeric option whose range is checked but not shown in the help."""

    def get_help_extra(self, ctx: click.Context) -> dict:
        extra = super().get_help_extra(ctx)
        return {name: text for name, text in extra.items() if name != "range"}


def examples(*lines: str) -> str:
    """An epilog that shows each line as it is typed."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
