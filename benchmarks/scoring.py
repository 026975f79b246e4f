"""Time every text metric on many predictions, including the interval of each score.

    python -m benchmarks.scoring rows.jsonl --column de --rows 10000

The predictions are the rows' own texts with words left out, doubled and exchanged.
"""

import argparse
import json
import random
import time
from itertools import islice
from pathlib import Path

from llmkit.metrics import row_statistics
from llmkit.metrics.prediction import Prediction
from llmkit.runtime.console import library_imports

with library_imports():
    from llmkit.scoring.significance import NUM_RESAMPLES, intervals

METRICS = ("bleu", "chrf", "ter", "rouge", "squad")


def spoilt(text: str, generator: random.Random) -> str:
    """The text with errors, as a model might have produced it."""
    words = [word for word in text.split() for _ in range(generator.choice((0, 1, 1, 1, 1, 2)))]
    if len(words) > 3 and generator.random() < 0.5:
        words[1], words[2] = words[2], words[1]
    return " ".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="rows (jsonl)")
    parser.add_argument("--column", required=True, help="column of the texts, or of lists of texts")
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    generator = random.Random(0)
    with options.path.open(encoding="utf-8") as lines:
        texts = [json.loads(line)[options.column] for line in islice(lines, options.rows)]
    references = [[text] if isinstance(text, str) else text for text in texts]
    predictions = [Prediction(spoilt(accepted[0], generator)) for accepted in references]
    print(f"{len(predictions):,} predictions, {NUM_RESAMPLES:,} resamples")
    total = 0.0
    for name in METRICS:
        started = time.perf_counter()
        rows = row_statistics(name, predictions, references)
        counted = time.perf_counter()
        ends = intervals({name: rows})
        done = time.perf_counter()
        total += done - started
        shown = ", ".join(f"{score} {low:.2f}-{high:.2f}" for score, (low, high) in ends.items())
        print(f"{name:6} {counted - started:5.1f} s, intervals {done - counted:5.1f} s: {shown}")
    print(f"all    {total:5.1f} s")


if __name__ == "__main__":
    main()
