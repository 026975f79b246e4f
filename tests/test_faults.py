"""Runs that are killed, signalled and starved at any moment: nothing that was saved is lost, and in
the end everything is as if nothing had happened."""

import itertools
import json
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
import yaml
from conftest import summary_rows, write_jsonl
from traces import traces

from llmkit.checkpoint import newest
from llmkit.run import checkpoints

pytestmark = pytest.mark.slow
SERVER = Path(__file__).with_name("fault_server.py")
NUM_SERVERS = 2
KILLED = -signal.SIGKILL
STEPS = 24


class Server:
    """fault_server.py, and jobs for it."""

    def __init__(self, environment):
        self.process = subprocess.Popen(
            [sys.executable, SERVER], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, recipe, run, *, resumes=False, fault=None):
        job = {"recipe": str(recipe), "run": str(run), "resumes": resumes, "fault": fault}
        job["log"] = f"{run}.log"
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def servers(subprocess_env):
    environment = {**subprocess_env, "OMP_NUM_THREADS": "1"}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    free = Queue()
    started = [Server(environment) for _ in range(NUM_SERVERS)]
    for server in started:
        free.put(server)
    yield free
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tiny_gpt2):
    folder = tmp_path_factory.mktemp("recipe")
    path = write_jsonl(folder / "rows.jsonl", summary_rows(30))
    content = {
        "task": "summarize",
        "model": str(tiny_gpt2),
        "max_length": 96,
        "data": {"train": str(path), "validation": str(path), "test": str(path)},
        "train": {
            "max_steps": STEPS, "global_batch_size": 8, "micro_batch_size": 3, "log_every": 1,
            "learning_rate": 1e-3, "dropout": 0.1, "mixed_precision": "no",
        },
        "checkpoint": {"every": 3},
        "evaluation": {"every": 8, "validation_rows": 2, "test_rows": 2},
        "generation": {"max_new_tokens": 2},
    }  # fmt: skip
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module")
def whole(servers, recipe, tmp_path_factory):
    """What the run leaves when nothing goes wrong, and how long it takes."""
    run = tmp_path_factory.mktemp("whole") / "run"
    server = servers.get()
    server.run(recipe, run)  # rows are cached now
    shutil.rmtree(run)
    answer = server.run(recipe, run)
    servers.put(server)
    assert answer["code"] == 0
    return traces(run), answer["seconds"]


def to_the_end(server, recipe, run, faults) -> list[int]:
    """Start the run, each time with the next fault, until it has finished; all exit codes."""
    codes = []
    for fault in itertools.chain(faults, itertools.repeat(None)):
        resumes = bool(checkpoints(run))
        codes.append(server.run(recipe, run, resumes=resumes, fault=fault)["code"])
        if codes[-1] == 0 or (fault is None and len(codes) > 10):
            return codes
        found, _ = newest(run)
        if resumes and found is None:
            return [*codes, 99]  # the last good one is gone
    return codes


def all_as_whole(servers, recipe, whole, folder, trials):
    """Of trials (lists of faults) those that end as the run that nothing happened to."""

    def one(numbered):
        number, faults = numbered
        run = folder / str(number)
        server = servers.get()
        try:
            codes = to_the_end(server, recipe, run, faults)
        finally:
            servers.put(server)
        is_same = codes[-1] == 0 and traces(run) == whole
        if is_same:
            shutil.rmtree(run)
        return is_same, codes

    with ThreadPoolExecutor(NUM_SERVERS) as pool:
        return list(pool.map(one, enumerate(trials)))


def test_killed_at_any_moment(servers, recipe, whole, tmp_path, trials, figure):
    expected, seconds = whole
    tried = trials(4, 350)
    generator = random.Random(1)
    faults = [
        [{"kill_after": generator.uniform(0.05, seconds)} for _ in range(generator.randint(1, 5))]
        for _ in tried
    ]
    results = all_as_whole(servers, recipe, expected, tmp_path, faults)
    kills = sum(code == KILLED for _, codes in results for code in codes)
    reached = sum(same for same, _ in results)
    figure("killed at random moments: all as in the run that was not", reached, len(tried),
           f"{kills} kills")  # fmt: skip


def test_killed_inside_a_save(servers, recipe, whole, tmp_path, trials, figure):
    expected, _ = whole
    tried = trials(4, 150)
    generator = random.Random(2)
    faults = [
        [{"in_save": [generator.randint(1, 4), generator.expovariate(1 / 0.004)]}] for _ in tried
    ]
    results = all_as_whole(servers, recipe, expected, tmp_path, faults)
    reached = sum(same and KILLED in codes for same, codes in results)
    figure("killed inside a save: all as in the run that was not", reached, len(tried))


def test_killed_at_each_call_of_a_save(servers, recipe, whole, tmp_path, trials, figure):
    expected, _ = whole
    calls = range(1, 400) if len(trials(1, 2)) == 2 else range(3, 60, 14)
    results = all_as_whole(
        servers, recipe, expected, tmp_path, [[{"at_call": call}] for call in calls]
    )
    killed = [same for same, codes in results if KILLED in codes]
    assert killed
    figure("killed at a call of a save to the file system", sum(killed), len(killed))


@pytest.mark.parametrize("phase", ["tokenize", "train", "evaluate", "save"])
def test_asked_to_stop(servers, recipe, whole, tmp_path, trials, figure, phase):
    expected, _ = whole
    tried = trials(1, 25)
    generator = random.Random(phase)
    numbers = [generator.choice([signal.SIGTERM, signal.SIGINT]) for _ in tried]
    faults = [
        [{"signal": number, "phase": phase, "after": generator.uniform(0, 0.05)}]
        for number in numbers
    ]
    results = all_as_whole(servers, recipe, expected, tmp_path, faults)
    reached = sum(
        same and codes == [128 + number, 0]
        for (same, codes), number in zip(results, numbers, strict=True)
    )
    figure(f"asked to stop ({phase}): exit code 143 or 130, then as if not", reached, len(tried))


def test_no_file_grows_any_more(servers, recipe, whole, tmp_path, trials, figure):
    expected, _ = whole
    num_tried = len(trials(3, 40))
    # The log of a run is a few kB; above a MB nothing is in the way any more.
    sizes = [int(16_000 * 75 ** (number / num_tried)) for number in range(num_tried)]
    results = all_as_whole(
        servers, recipe, expected, tmp_path, [[{"file_size": size}] for size in sizes]
    )
    stopped = [same for same, codes in results if codes[0] in (1, 2)]
    assert stopped
    reached = sum(same and codes[0] in (0, 1, 2) for same, codes in results)
    figure("a disk that is full at some size: one line, then all as if not", reached, num_tried,
           f"{len(stopped)} of them stopped the run")  # fmt: skip
