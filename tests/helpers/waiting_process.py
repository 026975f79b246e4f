"""One of several processes that waits in an exchange, where Python's handlers of signals do not
run: waiting_process.py SECONDS, until a process that hears nothing, or has lost another one, ends.
"""

import os
import sys
import time

from torch.distributed import DistNetworkError

from llmkit.runtime import peers, signals
from llmkit.runtime.ranks import is_rank_zero, join_launcher
from llmkit.runtime.rendezvous import meet

if __name__ == "__main__":
    signals.UNRESPONSIVE_SECONDS = float(sys.argv[1])
    peers.GRACE_SECONDS = 10 * signals.UNRESPONSIVE_SECONDS
    join_launcher()
    with signals.Signals() as requests:
        peers.Peers(requests, lambda: "; run it again")
        try:
            print("waiting", flush=True)
            meet().get("a value that nobody sets")
        except signals.Stopped as stop:  # the wait was short
            if is_rank_zero():
                print(f"llmkit: {stop}", file=sys.stderr, flush=True)
            os._exit(stop.exit_code)
        except DistNetworkError:  # the store was in the process that has ended
            time.sleep(60)
