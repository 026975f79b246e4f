"""Fixtures: tiny real models, and a blocked network in this process and its children."""

import gc
import os
import signal
import sys
import tempfile
from pathlib import Path

# Every session encodes its rows anew and does not touch the cache of the user.
CACHE = tempfile.TemporaryDirectory(prefix="llmkit-test-cache-")  # deleted at the end
os.environ["LLMKIT_CACHE"] = CACHE.name
# Other processes keep their temporary files there, too: some tests kill them.
TEMPORARY = Path(CACHE.name) / "temporary"
TEMPORARY.mkdir()
os.environ["TMPDIR"] = str(TEMPORARY)
# Otherwise the number of threads would follow the load of the machine, and results would follow it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Set before any Hugging Face library is imported: no test contacts the hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# All processes of the session record blocked connections to other machines in this file.
OUTWARD = Path(CACHE.name) / "outward"
os.environ.setdefault("LLMKIT_TEST_OUTWARD", str(OUTWARD))

from functools import partial

import hypothesis
import no_network.sitecustomize  # noqa: F401  blocks the network in this process
import pytest
from checked_rows import check_rows
from click.testing import CliRunner, Result
from fork_server import start_server
from forked_process import ForkServer
from proofs import FIGURES, add_figure, write_proof
from rows import TEXT, summary_rows, write_jsonl
from runs import forget_accelerator

from llmkit import cli
from llmkit.runtime.console import library_imports

with library_imports():  # its settings hold before the conftest of a folder imports a library
    pass
hypothesis.settings.register_profile("llmkit", deadline=None, derandomize=True)
hypothesis.settings.load_profile("llmkit")

NO_NETWORK = Path(__file__).parent / "helpers" / "no_network"
# One thread, and the level of torch's log that the command sets before it imports torch.
LIKE_THE_COMMAND = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
# All processes of the session share one fork server, which listens in this folder.
FORK_SERVER = Path(os.environ.setdefault("LLMKIT_TEST_FORK_SERVER", CACHE.name))


def pytest_addoption(parser):
    parser.addoption(
        "--proof", metavar="FILE", help="run the proofs in full and write their figures there"
    )


def pytest_configure(config):
    config.stash[FIGURES] = {}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # deletes the folders as Ctrl-C does
    is_first_process = Path(CACHE.name) == FORK_SERVER
    if is_first_process:
        end = start_server(FORK_SERVER, without_network() | LIKE_THE_COMMAND)
        config.add_cleanup(end)
    starts_others = bool(config.getoption("numprocesses", None))  # and this process runs no tests
    if not starts_others:
        gc.disable()  # until all tests are collected: imports leave little garbage
        with library_imports():
            import llmkit.model.load  # noqa: F401


def pytest_sessionfinish(session, exitstatus):
    config, figures = session.config, session.config.stash[FIGURES]
    if hasattr(config, "workeroutput"):  # one of several processes
        config.workeroutput["figures"] = figures
        return
    counts = config.pluginmanager.get_plugin("terminalreporter").stats
    outcomes = {name: len(counts.get(name, [])) for name in ("passed", "failed", "skipped")}
    outward = OUTWARD.read_text("utf-8").splitlines() if OUTWARD.is_file() else []
    for address in outward:
        print(f"\na connection out of this machine, which was blocked: {address}")
    if outward:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    has_cache = config.pluginmanager.hasplugin("cacheprovider")
    if config.getoption("--proof"):
        suite = config.cache.get("llmkit/suite", None) if has_cache else None
        if suite:
            claim = "tests of the suite during which no Python process connected to another machine"
            add_figure(config, claim, *suite)
        write_proof(Path(config.getoption("--proof")), figures, outcomes, counts.get("skipped", []))
    elif (
        config.args == config.getini("testpaths") and not config.getoption("keyword") and has_cache
    ):
        num_tests = outcomes["passed"]
        config.cache.set("llmkit/suite", [0 if outward else num_tests, num_tests])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Add the figures of a worker process that has ended."""
    for claim, entry in ({} if error else node.workeroutput["figures"]).items():
        add_figure(node.config, claim, **entry)


@pytest.fixture
def trials(request):
    """Indices of the trials of a claim: few in the suite, all of them with --proof."""
    return lambda few, all: range(all if request.config.getoption("--proof") else few)


@pytest.fixture
def figure(request):
    """Add the trials of a claim to the table, and require that it held in all of them."""

    def record(claim: str, reached: int, of: int, note: str = "", **counts: int) -> None:
        add_figure(request.config, claim, reached, of, note, counts)
        assert reached == of, claim

    return record


@pytest.fixture
def is_quick(request):
    """Whether `seconds` is below a limit. Always true without --proof: proofs run on an idle
    machine, but the suite must pass on a busy one."""
    is_measured = bool(request.config.getoption("--proof"))
    return lambda seconds, limit: not is_measured or seconds < limit


@pytest.fixture
def tally(request):
    """Count this test as a trial of a claim; the returned function counts it as passed."""

    def begin(claim: str):
        add_figure(request.config, claim, 0, 1)
        return lambda: add_figure(request.config, claim, 1, 0)

    return begin


def pytest_collection_finish(session):
    exempt_from_garbage_collection()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def libraries_are_exempt_from_garbage_collection():
    num_modules = len(sys.modules)
    yield
    if len(sys.modules) > num_modules:
        exempt_from_garbage_collection()


def exempt_from_garbage_collection() -> None:
    """Let the garbage collector skip all present objects: to visit those of the libraries and of
    the collected tests takes a tenth of the time of a short run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def one_run_a_process():
    yield
    forget_accelerator()


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory) -> Path:
    """Folder of a GPT-2 with two blocks of width 32, random weights and its own small BPE."""
    import torch

    from llmkit.config.schema import Scratch
    from llmkit.data.bpe import train_bpe
    from llmkit.model.load import scratch_model

    torch.manual_seed(0)
    shape = Scratch(n_layer=2, n_head=2, n_embd=32, n_positions=128, vocab_size=320)
    model, tokenizer = scratch_model(shape, partial(train_bpe, TEXT))
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def finished(tiny_gpt2, tmp_path_factory) -> Path:
    """A run of `summarize` that trained all weights for two steps; tests change copies of it."""
    from exported import tuned_run

    return tuned_run("summarize", tiny_gpt2, tmp_path_factory.mktemp("finished"))


@pytest.fixture
def rows(tmp_path):
    return write_jsonl(tmp_path / "rows.jsonl", summary_rows(60))


@pytest.fixture
def llmkit(monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])

    return run


def without_network() -> dict[str, str]:
    """The environment of a process whose network is blocked."""
    paths = [str(NO_NETWORK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session")
def subprocess_env() -> dict[str, str]:
    """Environment of a process whose network is blocked."""
    return without_network()


@pytest.fixture(scope="session")
def fork_server(subprocess_env):
    """Starts processes with imported libraries; see fork_server.py."""
    return ForkServer(FORK_SERVER, subprocess_env | LIKE_THE_COMMAND)


@pytest.fixture
def check(llmkit, tmp_path):
    """Run `llmkit check` on rows; see `check_rows`."""
    return partial(check_rows, llmkit, tmp_path)
