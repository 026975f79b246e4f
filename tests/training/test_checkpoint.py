"""Checkpoints are intact or skipped, and the last intact one is never deleted."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from proofs import in_parts
from torch import nn

from llmkit.io.atomic import CorruptFolder, recover, verify, write_folder
from llmkit.runs.folder import checkpoint_dir, checkpoints_dir
from llmkit.training.checkpoint import load_state, newest, prune, restore, save_checkpoint


def small_model_and_optimizer():
    """Weights with moments."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 8)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def save(run, trained, step, best_step=0):
    return save_checkpoint(run, *trained, {"progress": {"step": step, "best_step": best_step}})


@pytest.fixture
def run(tmp_path):
    """With checkpoints of its steps 1, 2 and 3."""
    run = tmp_path / "run"
    checkpoints_dir(run).mkdir(parents=True)
    for step in (1, 2, 3):
        save(run, small_model_and_optimizer(), step)
    return run


def test_weights_and_optimizer_state_are_restored(run):
    model, optimizer = small_model_and_optimizer()
    other, its = small_model_and_optimizer()
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    its.state.clear()
    restore(checkpoint_dir(run, 3), other, its)
    for weight, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
        for name, value in optimizer.state[weight].items():
            assert torch.equal(value, its.state[same][name])


def damage(checkpoint: Path, generator: random.Random) -> None:
    """Flip a bit, cut a file, swap two, or take one away or add one."""
    files = sorted(checkpoint.iterdir())
    path = generator.choice(files)
    content = path.read_bytes()
    match generator.choice(["flip", "cut", "swap", "remove", "add", "link"]):
        case "flip":
            changed = bytearray(content)
            changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            path.write_bytes(bytes(changed))
        case "cut":
            path.write_bytes(content[: generator.randrange(len(content))])
        case "swap":
            other = generator.choice([each for each in files if each != path])
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
        case "remove":
            path.unlink()
        case "add":
            (checkpoint / f"more{generator.randrange(9)}.safetensors").write_bytes(b"x")
        case "link":
            elsewhere = checkpoint.parent.parent / "elsewhere"
            path.rename(elsewhere)
            path.symlink_to(elsewhere)


def test_corrupt_checkpoint_is_skipped(run, tmp_path, trials, figure):
    tried, reached = trials(100, 1000), 0
    for seed in tried:
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        damage(checkpoint_dir(copy, 3), random.Random(seed))
        found, reasons = newest(copy)
        reached += found == checkpoint_dir(copy, 2) and len(reasons) == 1
        shutil.rmtree(copy)
    claim = (
        "damaged checkpoint (a bit flipped, a file truncated, swapped, missing, unexpected or a "
        "link): detected, and the newest intact one used"
    )
    figure(claim, reached, len(tried))


def test_old_checkpoints_are_kept_if_the_new_one_is_corrupt(run):
    (checkpoint_dir(run, 3) / "weights.safetensors").write_bytes(b"of a bad disk")
    with pytest.raises(OSError, match=r"not what was written: weights\.safetensors has 13"):
        prune(run, checkpoint_dir(run, 3), keep=1)
    assert newest(run)[0] == checkpoint_dir(run, 2)


def save_until_killed(run: Path, returned: Path, seed: int, seconds: float) -> None:
    """In another process, save and prune from the newest checkpoint on, until it is killed at a
    random moment within these seconds. Each save that has returned is recorded."""
    generator = random.Random(seed)
    found, _ = newest(run)
    progress = load_state(found)["progress"] if found else {"step": 0, "best_step": 0}
    step, best_step, keep = progress["step"], progress["best_step"], generator.randint(1, 3)
    trained = small_model_and_optimizer()
    child = os.fork()
    if child == 0:
        try:
            file = os.open(returned, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            while True:
                step += generator.randint(1, 3)
                best_step = step if generator.random() < 0.4 else best_step
                prune(run, save(run, trained, step, best_step), keep)
                os.write(file, f"{step}\n".encode())
        finally:
            os._exit(1)
    time.sleep(generator.uniform(0.001, seconds))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@in_parts(4)
def test_last_intact_checkpoint_and_the_best_one_survive_a_kill(tmp_path, trials, figure, part):
    tried, reached, kills, saves = trials(5, 250), 0, 0, 0
    for number in tried:
        run, returned = tmp_path / f"run{number}", tmp_path / f"returned{number}"
        checkpoints_dir(run).mkdir(parents=True)
        is_good = True
        generator = random.Random(number * 10 + part)
        starts, lines, seconds = generator.randint(1, 5), [], 0.06
        while starts > 0 or not lines:  # a busy machine may need more time for a first save
            save_until_killed(run, returned, generator.randrange(2**31), seconds)
            kills += 1
            starts -= 1
            seconds *= 1 if starts > 0 else 2
            lines = returned.read_text().splitlines() if returned.is_file() else []
            found, _ = newest(run)
            if found is not None:
                best_step = load_state(found)["progress"]["best_step"]
                if best_step:
                    verify(checkpoint_dir(run, best_step))
            last = int(lines[-1]) if lines else 0
            is_good &= not last or (found is not None and int(found.name[-8:]) >= last)
        reached += is_good
        saves += len(lines)
        shutil.rmtree(run)
    claim = (
        "saves, SIGKILL and pruning in any order: the newest intact checkpoint and the best one "
        "survive"
    )
    figure(claim, reached, len(tried), saves=saves, kills=kills)


class Cut(BaseException):
    """As if the process were gone."""


def test_folder_is_old_or_new_wherever_its_writing_is_cut_short(tmp_path, monkeypatch):
    """Stopped at each call to the file system in turn."""
    calls = {"at": 0, "stop": None}

    def counted(function):
        def call(*arguments, **options):
            calls["at"] += 1
            if calls["at"] == calls["stop"]:
                raise Cut
            return function(*arguments, **options)

        return call

    for name in ("open", "fsync", "rename", "mkdir", "unlink", "rmdir", "close"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))

    def write(content):
        def fill(folder):
            (folder / "one").write_text(content)
            (folder / "two").write_text(content)

        return fill

    target = tmp_path / "folder"
    write_folder(target, write("old"))
    calls.update(at=0)
    write_folder(target, write("new"))
    num_calls = calls["at"]
    assert num_calls > 10
    for stop in range(1, num_calls + 1):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        calls.update(stop=None)
        write_folder(target, write("old"))
        calls.update(at=0, stop=stop)
        with pytest.raises(Cut):
            write_folder(target, write("new"))
        calls.update(stop=None)
        recover(target)
        verify(target)
        contents = {(target / name).read_text() for name in ("one", "two")}
        assert contents in ({"old"}, {"new"})
        write_folder(target, write("next"))
        verify(target)
        assert {path.name for path in tmp_path.iterdir()} == {"folder"}


def test_intact_checkpoints_verify_and_other_folders_do_not(run):
    for path in checkpoints_dir(run).iterdir():
        verify(path)
    with pytest.raises(CorruptFolder, match="is missing"):
        verify(run)
