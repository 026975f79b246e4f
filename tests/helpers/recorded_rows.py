"""The command line, in a process that records the rows that it trains on.

recorded_rows.py FILE ARGUMENTS: process R writes a line to FILE-R for each step: its number, and a
digest of the tokens of each row that the process feeds to the model.
"""

import hashlib
import json
import os
import sys
from itertools import pairwise

from llmkit.training.batch_schedule import BatchSchedule

if __name__ == "__main__":
    file, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    original = BatchSchedule.micro_batches

    def record(schedule, step):
        batches = original(schedule, step)
        digests = []
        for batch in batches:
            (ids,), starts = batch.input_ids.numpy(), batch.row_starts.tolist()
            if batch.targets.numel():  # not the placeholder of a process without rows
                rows = pairwise(starts)
                digests += [hashlib.sha256(ids[a:b].tobytes()).hexdigest() for a, b in rows]
        with open(f"{file}-{os.environ['RANK']}", "a") as lines:
            lines.write(json.dumps([step, digests]) + "\n")
        return batches

    BatchSchedule.micro_batches = record
    from llmkit.cli import main

    main()
