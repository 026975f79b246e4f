"""What becomes of Hugging Face's Trainer and of TRL's when runs are killed and files are damaged.

    python -m benchmarks.faults --kills 60 --damages 60

The same faults as in tests/test_faults.py and tests/test_resume.py: a run of 24 steps of a tiny
GPT-2 with dropout saves every third step; it is killed at random moments and resumed the way its
documentation says (`resume_from_checkpoint=True`), until it ends or cannot be resumed; or the
newest of two checkpoints is damaged before it is resumed. Printed is how many runs ended with the
very weights of a run that nothing happened to.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import torch
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

STEPS, EVERY = 24, 3
ATTEMPTS = 3  # to resume, before a run counts as lost
SETTINGS = {
    "use_cpu": True, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3, "lr_scheduler_type": "constant", "logging_steps": 1,
    "save_steps": EVERY, "save_total_limit": 2, "seed": 0, "report_to": "none",
    "disable_tqdm": True, "bf16": False,
}  # fmt: skip
TRAINERS = {"HF Trainer": (Trainer, TrainingArguments), "TRL": (SFTTrainer, SFTConfig)}


def train(name: str, folder: Path, max_steps: int) -> None:
    """Train, from the newest checkpoint if there is one, and write the final weights down."""
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
        args=arguments_class(output_dir=str(folder), max_steps=max_steps, **SETTINGS),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) is not None)
    digest = hashlib.sha256()
    for key, weight in sorted(trainer.model.state_dict().items()):
        digest.update(key.encode() + weight.numpy().tobytes())
    (folder / "final").write_text(digest.hexdigest())


def run(name: str, folder: Path, max_steps: int = STEPS, kill_after: float | None = None) -> int:
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
                threading.Timer(kill_after, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
            train(name, folder, max_steps)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome(name: str, folder: Path, expected: str) -> str:
    """Resume until it ends, or cannot be."""
    for _ in range(ATTEMPTS):
        if run(name, folder) == 0:
            same = (folder / "final").read_text() == expected
            return "the same weights" if same else "other weights, and no word of it"
    return "cannot be resumed"


def damage(checkpoint: Path, generator: random.Random) -> None:
    """Flip a bit in a file of the checkpoint, cut it short, or take it away."""
    path = generator.choice(sorted(path for path in checkpoint.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes())
    match generator.choice(["flip", "cut", "remove"]):
        case "flip":
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            path.write_bytes(bytes(content))
        case "cut":
            path.write_bytes(bytes(content[: generator.randrange(len(content))]))
        case "remove":
            path.unlink()


def measure(name: str, kills: int, damages: int, folder: Path) -> None:
    whole = folder / "whole"
    started = time.monotonic()
    if run(name, whole) != 0:
        sys.exit(f"{name}: {Path(f'{whole}.log').read_text()[-2000:]}")
    seconds = time.monotonic() - started
    expected = (whole / "final").read_text()
    again = folder / "again"
    run(name, again)
    print(f"{name}: twice the same: {(again / 'final').read_text() == expected}", flush=True)
    generator = random.Random(1)
    outcomes: Counter[str] = Counter()
    for number in range(kills):
        each = folder / f"kill{number}"
        run(name, each, kill_after=generator.uniform(0.05, seconds))
        outcomes[outcome(name, each, expected)] += 1
        shutil.rmtree(each)
    print(f"{name}: killed at a random moment, {kills} runs: {dict(outcomes)}", flush=True)
    half = folder / "half"
    run(name, half, max_steps=STEPS // 2)
    (half / "final").unlink()
    outcomes.clear()
    for number in range(damages):
        each = folder / f"damage{number}"
        shutil.copytree(half, each)
        damage(each / f"checkpoint-{STEPS // 2}", generator)
        outcomes[outcome(name, each, expected)] += 1
        shutil.rmtree(each)
    print(f"{name}: newest checkpoint damaged, {damages} runs: {dict(outcomes)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--damages", type=int, default=60)
    parser.add_argument("--only", choices=list(TRAINERS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in [options.only] if options.only else TRAINERS:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            measure(name, options.kills, options.damages, Path(folder))


if __name__ == "__main__":
    main()
