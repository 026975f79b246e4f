"""Run several llmkit commands in one process and print their exit codes and stderr as JSON.

several_commands.py '[["finetune", "qa", ...], ...]'
"""

import json
import sys

from click.testing import CliRunner

from llmkit import cli

if __name__ == "__main__":
    results = (CliRunner().invoke(cli.main, arguments) for arguments in json.loads(sys.argv[1]))
    print(json.dumps([(result.exit_code, result.stderr) for result in results]))
