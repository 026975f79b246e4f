"""How a command of llmkit reads its arguments and shows its help."""

import click

from llmkit import hints


class Verb(click.Command):
    """A command that suggests the right option for an unknown one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = self._hint(error.option_name)
            if hint is None:
                raise
            ctx.fail(f"No such option {error.option_name!r}; {hint}")

    def _hint(self, option: str) -> str | None:
        options = [name for parameter in self.params for name in parameter.opts]
        hint = hints.option_hint(option, options)
        if hint is None and "overrides" in options:
            from llmkit.schema_keys import iter_fields

            hint = hints.key_option_hint(option, [key for key, *_ in iter_fields()], self.name)
        return hint


def examples(*lines: str) -> str:
    """An epilog that shows each line as it is typed."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
