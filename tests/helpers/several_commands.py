"""Run several llmkit commands in one process and print their exit codes and stderr as JSON.

several_commands.py '[["finetune", "qa", ...], ["HF_TOKEN=hf_me", "push", ...], ...]'

Words such as HF_TOKEN=hf_me before a command change its environment.
"""

import json
import re
import sys
from itertools import takewhile

from click.testing import CliRunner

from llmkit import cli

VARIABLE = re.compile("([A-Z_]+)=(.*)")


def run(words: list[str]) -> tuple[int, str, str]:
    """(exit code, stderr, stdout) of a command."""
    variables = list(takewhile(bool, map(VARIABLE.fullmatch, words)))
    environment = {each[1]: each[2] for each in variables}
    result = CliRunner().invoke(cli.main, words[len(variables) :], env=environment)
    return result.exit_code, result.stderr, result.stdout


if __name__ == "__main__":
    print(json.dumps(list(map(run, json.loads(sys.argv[1])))))
