"""Options that several commands take."""

import click
import pytest

from llmkit import cli

COMMANDS = {verb: cli.main.get_command(click.Context(cli.main), verb) for verb in cli.VERBS}


@pytest.mark.parametrize("option", ["--scale", "--quiet", "--fail-under"])
def test_a_shared_option_is_described_alike_in_every_command(option):
    helps = {
        verb: parameter.help
        for verb, command in COMMANDS.items()
        for parameter in command.params
        if option in parameter.opts
    }
    assert len(helps) > 1
    assert len(set(helps.values())) == 1


def test_every_option_and_argument_can_be_found_in_the_help():
    for verb, command in COMMANDS.items():
        shown = command.get_help(click.Context(command, info_name=verb, terminal_width=80))
        for parameter in command.params:
            name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.metavar
            assert name is None or name.strip("[]") in shown, (verb, name)
