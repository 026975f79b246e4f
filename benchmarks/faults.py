"""Inject the same faults into runs of llmkit, of the Hugging Face Trainer and of TRL.

    python -m benchmarks.faults --kills 30 --sizes 40 --damages 30 --append SCORECARD.md

Each trains a tiny GPT-2 with dropout for 24 steps, writes a checkpoint every 3 steps and resumes as
its documentation says (`resume_from_checkpoint=True`, `--resume auto`) until it ends or cannot be
resumed. The result is the number of runs whose final weights equal those of an undisturbed run.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from datasets import Dataset
from rich.console import Console
from transformers import (
    DataCollatorForSeq2Seq,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from llmkit import metrics
from llmkit.config.recipe import load_recipe
from llmkit.runs.folder import checkpoints, results_path
from llmkit.training import trainer as llmkit_trainer
from llmkit.training.checkpoint import newest
from llmkit.workflows.finetune import finetune

STEPS, MIDDLE, EVERY = 24, 13, 3
ATTEMPTS = 3  # to resume, before a run counts as lost
LARGEST = 400_000  # bytes; every file of a checkpoint is smaller
SETTINGS = {
    "use_cpu": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3, "lr_scheduler_type": "constant", "logging_steps": 1,
    "save_steps": EVERY, "save_total_limit": 2, "seed": 0, "report_to": "none",
    "disable_tqdm": True, "bf16": False,
}  # fmt: skip
TRAINERS = {"HF Trainer": (Trainer, TrainingArguments), "TRL": (SFTTrainer, SFTConfig)}
NAMES = ("llmkit", *TRAINERS)
HIT = "runs stopped or damaged"
SAME, LOST, OTHER = "same weights", "cannot be resumed", "different weights, no warning"


def train(name: str, folder: Path, at_middle=None) -> None:
    """Train, from the newest checkpoint if there is one, and record a digest of the final weights.

    at_middle: called after the middle step.
    """
    digest = hashlib.sha256()
    if name == "llmkit":
        weights = train_with_llmkit(folder, at_middle)
        digest.update(weights.read_bytes())
    else:
        model = train_with_trainer(name, folder, at_middle)
        for key, weight in sorted(model.state_dict().items()):
            digest.update(key.encode() + weight.numpy().tobytes())
    (folder / "final").write_text(digest.hexdigest())


def train_with_llmkit(folder: Path, at_middle) -> Path:
    """The weights of the last checkpoint."""
    rows = folder.parent / "rows.txt"
    if not rows.is_file():
        generator = random.Random(0)
        texts = ["".join(generator.choices("abcdefgh ", k=generator.randint(8, 40)))
                 for _ in range(60)]  # fmt: skip
        rows.write_text("\n\n".join(texts))
    if at_middle:
        train_step = llmkit_trainer.Trainer.train_step

        def step_and_act(trainer, log):
            train_step(trainer, log)
            if trainer.progress.step == MIDDLE:
                at_middle()

        llmkit_trainer.Trainer.train_step = step_and_act
    run = folder / "run"
    settings = {
        "model": "scratch", "model.scratch.n_layer": 2, "model.scratch.n_head": 2,
        "model.scratch.n_embd": 32,
        "model.scratch.n_positions": 64, "model.scratch.vocab_size": 300, "data.max_length": 64,
        "train.max_steps": STEPS, "train.epochs": "null", "train.global_batch_size": 8,
        "train.micro_batch_size": 4, "train.schedule": "constant", "train.warmup_steps": 0,
        "train.learning_rate": 1e-3, "train.dropout": 0.1, "train.mixed_precision": "no",
        "train.log_every": 1, "checkpoint.every": EVERY, "evaluation.every": STEPS,
        **{f"data.{split}": rows for split in ("train", "validation", "test")},
    }  # fmt: skip
    overrides = tuple(f"{key}={value}" for key, value in settings.items())
    recipe = load_recipe("pretrain", overrides=overrides)
    if not results_path(run).is_file():  # else it was killed after it had finished
        finetune(recipe, run, Console(), resume=bool(checkpoints(run)))
    return checkpoints(run)[0] / "weights.safetensors"


class AtMiddle(TrainerCallback):
    def __init__(self, act) -> None:
        self.act = act

    def on_step_end(self, _, state, __, **___) -> None:
        if state.global_step == MIDDLE:
            self.act()


def train_with_trainer(name: str, folder: Path, at_middle) -> torch.nn.Module:
    """The trained model."""
    trainer_class, arguments_class = TRAINERS[name]
    set_seed(0)
    tokenizer = GPT2Tokenizer(vocab={"<|endoftext|>": 0, "a": 1}, merges=[])
    config = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=64, vocab_size=200,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    generator = random.Random(0)
    ids = [[generator.randrange(200) for _ in range(generator.randint(8, 40))] for _ in range(60)]
    rows = Dataset.from_list([{"input_ids": row, "labels": row} for row in ids])
    tokenizer.pad_token = tokenizer.eos_token
    trainer = trainer_class(
        model=GPT2LMHeadModel(config),
        args=arguments_class(output_dir=str(folder), max_steps=STEPS, **SETTINGS),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        callbacks=[AtMiddle(at_middle)] if at_middle else [],
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) is not None)
    return trainer.model


def run(name: str, folder: Path, kill_after: float | None = None, at_middle=None) -> int:
    """`train` in a forked process; its exit code."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if kill_after is not None:
                threading.Timer(kill_after, die).start()
            train(name, folder, at_middle)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def limit_files(num_bytes: int) -> None:
    """Limit the size of every file from now on, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def outcome(name: str, folder: Path, expected: str) -> str:
    """Resume until the run ends or cannot be resumed."""
    for _ in range(ATTEMPTS):
        if (folder / "final").is_file() or run(name, folder) == 0:
            return SAME if (folder / "final").read_text() == expected else OTHER
    return LOST


def damage(checkpoint: Path, generator: random.Random) -> None:
    """Flip a bit in a file of the checkpoint, truncate it, delete it, or swap two files."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    path = generator.choice(files)
    content = path.read_bytes()
    match generator.choice(["flip", "cut", "remove", "swap"]):
        case "flip" if content:
            place = generator.randrange(len(content))
            changed = bytes([content[place] ^ 1 << generator.randrange(8)])
            path.write_bytes(content[:place] + changed + content[place + 1 :])
        case "cut" if content:
            path.write_bytes(content[: generator.randrange(len(content))])
        case "swap":
            other = generator.choice([each for each in files if each != path])
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case _:
            path.unlink()


def newest_checkpoint(name: str, folder: Path) -> Path:
    if name == "llmkit":
        return newest(folder / "run")[0]
    return Path(get_last_checkpoint(str(folder)))


def measure(name: str, kills: int, sizes: int, damages: int, folder: Path) -> dict[str, Counter]:
    """Count the outcomes of each fault."""
    whole = folder / "whole"
    run(name, whole)  # what is cached is there now
    shutil.rmtree(whole)
    started = time.monotonic()
    if run(name, whole) != 0:
        sys.exit(f"{name}: {Path(f'{whole}.log').read_text()[-2000:]}")
    seconds = time.monotonic() - started
    expected = (whole / "final").read_text()
    if outcome(name, folder / "again", expected) != SAME:
        sys.exit(f"{name}: two undisturbed runs end with different weights")
    generator, outcomes = random.Random(1), {}

    def count(fault: str, num_trials: int, harm) -> None:
        """harm: injects the fault; returns whether it had an effect."""
        outcomes[fault] = Counter()
        for number in range(num_trials):
            each = folder / f"each{number}"
            outcomes[fault][HIT] += harm(each, number)
            outcomes[fault][outcome(name, each, expected)] += 1
            shutil.rmtree(each)

    def kill(each: Path, _) -> bool:
        while run(name, each, kill_after=generator.uniform(0.05, seconds)) != -signal.SIGKILL:
            shutil.rmtree(each)  # it was quicker
        return True

    def fill(each: Path, number: int) -> bool:
        num_bytes = LARGEST * number // sizes
        return run(name, each, at_middle=lambda: limit_files(num_bytes)) != 0

    half = folder / "half"
    run(name, half, at_middle=die)

    def harm(each: Path, _) -> bool:
        shutil.copytree(half, each)
        damage(newest_checkpoint(name, each), generator)
        return True

    count("SIGKILL at a random moment", kills, kill)
    count(f"no space for larger files from step {MIDDLE} on", sizes, fill)
    count("newest checkpoint damaged", damages, harm)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--sizes", type=int, default=40)
    parser.add_argument("--damages", type=int, default=30)
    parser.add_argument("--only", choices=NAMES, help="Print the figures of this one as JSON.")
    parser.add_argument("--append", metavar="FILE", help="Append the table to FILE.")
    options = parser.parse_args()
    counts = {name: getattr(options, name) for name in ("kills", "sizes", "damages")}
    if options.only:
        torch.set_num_threads(1)
        metrics.compute("bleu", ["a"], [["a"]])  # its libraries, before any fork
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            os.environ["LLMKIT_CACHE"] = f"{folder}/cache"
            print(json.dumps(measure(options.only, **counts, folder=Path(folder))))
        return
    given = [f"--{name}={count}" for name, count in counts.items()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = {name: pool.submit(measured, name, given) for name in NAMES}
    outcomes = {name: future.result() for name, future in outcomes.items()}
    table = "\n".join(lines_of(outcomes))
    print(table)
    if options.append:
        with open(options.append, "a", encoding="utf-8") as file:
            file.write(f"\n{table}\n")


def measured(name: str, given: list[str]) -> dict[str, dict[str, int]]:
    """The counts of one trainer, measured in a separate process."""
    command = [sys.executable, "-m", "benchmarks.faults", "--only", name, *given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def lines_of(outcomes: dict[str, dict[str, dict[str, int]]]) -> list[str]:
    """A table in Markdown."""
    lines = [
        "## The same faults in other trainers", "",
        f"{STEPS} steps of a tiny GPT-2 with dropout, a checkpoint every {EVERY} steps; measured "
        "by `python -m benchmarks.faults`.", "",
        f"| fault | end | {' | '.join(outcomes)} |", f"|---|---|{'---:|' * len(outcomes)}",
    ]  # fmt: skip
    for fault in next(iter(outcomes.values())):
        for end in (HIT, SAME, LOST, OTHER):
            counts = (str(each[fault].get(end, 0)) for each in outcomes.values())
            lines.append(f"| {fault} | {end} | {' | '.join(counts)} |")
    return lines


if __name__ == "__main__":
    main()
