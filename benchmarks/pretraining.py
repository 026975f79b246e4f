"""Pretrain a GPT-2 with llmkit and with a plain loop like nanoGPT's, side by side.

    python -m benchmarks.pretraining parity --train train.txt
    python -m benchmarks.pretraining race --train wiki.txt papers.jsonl:abstract --minutes 120

Training texts are paragraphs of text files, articles where the file has WikiText's headings, and
columns of JSON Lines, `text` unless another is named.

parity: both start from the same weights and train on the same blocks in the same order; the losses
of all steps are compared.

race: both train for the same time, at the same time, on one core each, with the same settings; the
plain loop draws its blocks as nanoGPT does. A short run first measures how many steps fit, since
the learning rate has to decay until the end. Both models are then scored on the same held-out text.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.generation import processor
from benchmarks.pretraining_report import Competitor, write_report

if TYPE_CHECKING:
    from benchmarks.plain_gpt import PlainGPT

BUILD = Path(__file__).parents[1] / "build" / "benchmark" / "pretraining"
START, PREPARED, TEXTS = BUILD / "start", BUILD / "prepared", BUILD / "texts.jsonl"
ARTICLE = re.compile(r"^(?= = [^=\n]+ = $)", re.MULTILINE)  # WikiText's heading of an article
# About 10 million parameters with a vocabulary of 4,096, and about 25 million with one of 8,192.
SHAPES = {
    "parity": {"n_layer": 7, "n_head": 5, "n_embd": 320, "vocab_size": 4096},
    "race": {"n_layer": 8, "n_head": 7, "n_embd": 448, "vocab_size": 8192},
}
LENGTH, BATCH, PARITY_STEPS = 256, 8, 200
PEAK, LOW, WARMUP = 1e-3, 1e-4, 50
BETAS, WEIGHT_DECAY = (0.9, 0.95), 0.1
SAMPLE_STEPS = 30  # to measure how many steps fit into a race
VALIDATION_ROWS = 40  # blocks; a few seconds per validation
NUM_SLOW_STEPS = 5  # first steps, which are not measured


def overrides(options: argparse.Namespace, num_steps: int) -> list[str]:
    """The recipe's keys for a run of this many steps."""
    shape = SHAPES[options.kind] | {"n_positions": LENGTH}
    return [
        "model=scratch",
        *(f"model.scratch.{key}={value}" for key, value in shape.items()),
        f"data.train={TEXTS}",
        f"data.max_length={LENGTH}",
        "train.epochs=null",
        f"train.max_steps={num_steps}",
        f"train.global_batch_size={BATCH}",
        f"train.learning_rate={PEAK}",
        f"train.min_learning_rate={LOW}",
        f"train.warmup_steps={WARMUP}",
        f"train.betas=[{BETAS[0]}, {BETAS[1]}]",
        f"train.weight_decay={WEIGHT_DECAY}",
        "train.dropout=0.0",
        "train.mixed_precision=no",
        "train.log_every=1",
        f"evaluation.every={max(1, num_steps // 10)}",
        f"evaluation.validation_rows={VALIDATION_ROWS}",
        "evaluation.samples=2",
    ]


def start(module: str, *arguments: str, core: int | None = None) -> subprocess.Popen:
    """Start a module of Python, on one core with one thread, or on all."""
    command = [sys.executable, "-m", module, *arguments]
    environment = dict(os.environ)
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
        environment |= {"OMP_NUM_THREADS": "1"}
    with (BUILD / f"{module}-{arguments[0]}.log").open("w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def finish(*processes: subprocess.Popen) -> None:
    """Wait for the processes; exit if one fails."""
    for process in processes:
        if process.wait():
            sys.exit(f"failed: {' '.join(process.args)}; see {BUILD}/*.log")


def read_texts(source: str) -> Iterator[str]:
    """The texts of FILE or FILE:COLUMN."""
    name, _, column = source.partition(":")
    content = Path(name).read_text("utf-8")
    if name.endswith(".jsonl"):
        yield from (json.loads(line)[column or "text"] for line in content.split("\n") if line)
    else:
        articles = ARTICLE.split(content)
        yield from articles if len(articles) > 1 else content.split("\n\n")


def write_texts(sources: list[str]) -> None:
    """Write each text once."""
    texts = dict.fromkeys(text.strip() for source in sources for text in read_texts(source))
    lines = [json.dumps({"text": text}) + "\n" for text in texts if text]
    TEXTS.write_text("".join(lines), "utf-8")
    print(f"{len(lines):,} texts, {TEXTS.stat().st_size:,} bytes of JSON Lines", flush=True)


def prepare(options: argparse.Namespace) -> None:
    """Write the texts as token files, and the weights that both runs start from."""
    from llmkit.config.recipe import load_recipe
    from llmkit.data.recipe_task import recipe_task
    from llmkit.data.splits import open_splits
    from llmkit.model.load import save_model
    from llmkit.model.recipe_model import open_model

    write_texts(options.train)
    keys = overrides(options, 1)
    finish(start("llmkit", "prepare", "pretrain", "--output", str(PREPARED), *keys))
    recipe = load_recipe("pretrain", overrides=tuple(keys))
    train = open_splits(recipe.data, recipe_task(recipe))["train"]
    save_model(*open_model(recipe, train), START)


def finetune(
    options: argparse.Namespace, num_steps: int, core: int | None, *keys: str
) -> subprocess.Popen:
    """Start a run of llmkit, with more keys of the recipe."""
    run = ["--run-dir", str(BUILD / f"run-{num_steps}")]
    keys = (*overrides(options, num_steps), *keys)
    return start("llmkit", "finetune", "pretrain", *run, *keys, core=core)


def plain(options: argparse.Namespace, num_steps: int, core: int | None) -> subprocess.Popen:
    """Start a run of the plain loop."""
    arguments = [options.kind, "--plain-steps", str(num_steps)]
    return start("benchmarks.pretraining", *arguments, core=core)


def logged_steps(num_steps: int) -> list[dict[str, Any]]:
    """The figures of each step of llmkit's run of this many steps."""
    lines = (BUILD / f"run-{num_steps}" / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "tokens_per_second" in line]


def run_plain(kind: str, num_steps: int) -> None:
    """Train with the plain loop, and write its losses and times, and the test loss of a race."""
    from transformers import GPT2LMHeadModel

    from benchmarks import plain_gpt
    from llmkit.data.batches import shuffled_indices

    model = plain_gpt.PlainGPT(GPT2LMHeadModel.from_pretrained(START))
    tokens = plain_gpt.read_tokens(PREPARED, "train")
    if kind == "race":
        batches = plain_gpt.random_blocks(tokens, BATCH, LENGTH, seed=0)
    else:
        num_blocks = -(-(len(tokens) - 1) // (LENGTH - 1))
        orders = (shuffled_indices(num_blocks, 0, epoch) for epoch in count())
        batches = plain_gpt.ordered_blocks(tokens, orders, BATCH, LENGTH)
    optimizer = plain_gpt.build_optimizer(model, PEAK, BETAS, WEIGHT_DECAY)
    steps = plain_gpt.train(
        model,
        batches,
        optimizer,
        lambda step: plain_gpt.cosine(step, num_steps, WARMUP, PEAK, LOW),
        num_steps,
    )
    losses, seconds = zip(*steps, strict=True)
    figures = {"losses": losses, "seconds": seconds}
    if kind == "race" and num_steps != SAMPLE_STEPS:
        figures["test_loss"] = mean_test_loss(model)
    (BUILD / f"plain-{num_steps}.json").write_text(json.dumps(figures))


def mean_test_loss(model: "PlainGPT") -> float:
    """Nats per token of the test text, which is read as one stream in blocks."""
    from benchmarks import plain_gpt

    tokens = plain_gpt.read_tokens(PREPARED, "test")
    return plain_gpt.mean_loss(model.eval(), tokens, LENGTH, BATCH)


def loss_on_test(folder: Path) -> float:
    """`mean_test_loss` of a saved GPT-2."""
    from transformers import GPT2LMHeadModel

    from benchmarks import plain_gpt

    return mean_test_loss(plain_gpt.PlainGPT(GPT2LMHeadModel.from_pretrained(folder)))


def result_of_plain(num_steps: int) -> dict[str, Any]:
    return json.loads((BUILD / f"plain-{num_steps}.json").read_text())


def parity(options: argparse.Namespace) -> int:
    """Compare the losses of each step."""
    finish(finetune(options, PARITY_STEPS, core=None))
    finish(plain(options, PARITY_STEPS, core=None))
    losses = [line["loss"] for line in logged_steps(PARITY_STEPS)]
    expected = result_of_plain(PARITY_STEPS)["losses"]
    differences = [abs(a - b) for a, b in zip(losses, expected, strict=True)]
    print(f"{len(differences)} steps; largest difference of the loss: {max(differences):.1e}")
    return int(max(differences) > 1e-3)


def race(options: argparse.Namespace) -> int:
    """Train both for the same time and write the report."""
    sample = finetune(options, SAMPLE_STEPS, 0, "evaluation.test_rows=8")
    finish(sample, plain(options, SAMPLE_STEPS, 1))
    rates = [line["tokens_per_second"] for line in logged_steps(SAMPLE_STEPS)[NUM_SLOW_STEPS:]]
    step_seconds = BATCH * LENGTH / statistics.median(rates)
    seconds = result_of_plain(SAMPLE_STEPS)["seconds"][NUM_SLOW_STEPS - 1 :]
    plain_step_seconds = statistics.median(b - a for a, b in pairwise(seconds))
    num_steps, num_plain_steps = (
        round(60 * options.minutes / each) for each in (step_seconds, plain_step_seconds)
    )
    finish(finetune(options, num_steps, 0), plain(options, num_plain_steps, 1))
    report_race(options, num_steps, num_plain_steps)
    return 0


def report_race(options: argparse.Namespace, num_steps: int, num_plain_steps: int) -> None:
    """Write the report on runs of these numbers of steps, and print it."""
    run = BUILD / f"run-{num_steps}"
    results = json.loads((run / "metrics.json").read_text())
    scores = results["scores"]["fine-tuned"]
    steps = logged_steps(num_steps)
    # A step's time is logged without validations and checkpoints, which come at even intervals.
    seconds = list(accumulate(1 / step["tokens_per_second"] for step in steps))
    scale = results["train_seconds"] / seconds[-1]
    theirs = result_of_plain(num_plain_steps)
    write_report(
        options.output,
        options.output.with_suffix(".svg"),
        processor(),
        [key.replace(str(TEXTS), TEXTS.name) for key in overrides(options, num_steps)],
        [
            Competitor(
                "llmkit",
                [step["loss"] for step in steps],
                [scale * each for each in seconds],
                loss_on_test(run / "model"),
                BATCH * LENGTH,
            ),
            Competitor(
                "plain loop",
                theirs["losses"],
                theirs["seconds"],
                theirs["test_loss"],
                BATCH * LENGTH,
            ),
        ],
        scores["bits_per_byte"] / scores["loss"],
        last_samples(run),
    )
    print(options.output.read_text())


def last_samples(run: Path) -> list[dict[str, Any]]:
    """The samples of the run's last validation."""
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    return [sample for sample in samples if sample["step"] == samples[-1]["step"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=("parity", "race"))
    parser.add_argument(
        "--train", nargs="+", metavar="FILE[:COLUMN]", default=[], help="texts to train on"
    )
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--output", type=Path, default=Path("build/PRETRAINING.md"))
    parser.add_argument("--plain-steps", type=int, help="internal: run the plain loop")
    options = parser.parse_args()
    if options.plain_steps:
        run_plain(options.kind, options.plain_steps)
        return 0
    if not options.train:
        parser.error("--train: name at least one file")
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    prepare(options)
    return {"parity": parity, "race": race}[options.kind](options)


if __name__ == "__main__":
    sys.exit(main())
