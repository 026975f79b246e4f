"""Tiny real models and a network that is blocked, in this process and in those it starts."""

import os
import tempfile
from pathlib import Path

# Every session encodes afresh, and leaves nothing behind in the user's cache.
CACHE = tempfile.TemporaryDirectory(prefix="llmkit-test-cache-")  # deleted at the end
os.environ["LLMKIT_CACHE"] = CACHE.name
# With more threads their number would follow the machine's load, and results their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before any Hugging Face library is imported: never ask a hub, whatever the test does.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Where connections are written down that would leave this machine, by every process of the session.
OUTWARD = Path(CACHE.name) / "outward"
os.environ.setdefault("LLMKIT_TEST_OUTWARD", str(OUTWARD))

import hypothesis
import no_network.sitecustomize  # noqa: F401  blocks the network in this process
import pytest
from click.testing import CliRunner, Result
from fork_server import ForkServer
from proofs import FIGURES, add_figure, write_proof
from rows import TEXT, summary_rows, write_jsonl
from runs import forget_accelerator

from llmkit import cli
from llmkit.runtime.console import library_imports

hypothesis.settings.register_profile("llmkit", deadline=None, derandomize=True)
hypothesis.settings.load_profile("llmkit")

NO_NETWORK = Path(__file__).parent / "helpers" / "no_network"


def pytest_addoption(parser):
    parser.addoption(
        "--proof", metavar="FILE", help="run the proofs in full and write their figures there"
    )


def pytest_configure(config):
    config.stash[FIGURES] = {}
    starts_others = bool(config.getoption("numprocesses", None))  # and runs no test itself
    if not starts_others:
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
    if config.getoption("--proof"):
        suite = config.cache.get("llmkit/suite", None)
        if suite:
            claim = "tests of the suite during which no Python process connected to another machine"
            add_figure(config, claim, *suite)
        write_proof(Path(config.getoption("--proof")), figures, outcomes, counts.get("skipped", []))
    elif (
        config.args == config.getini("testpaths")
        and not config.getoption("keyword")
        and config.pluginmanager.hasplugin("cacheprovider")
    ):
        num_tests = outcomes["passed"]
        config.cache.set("llmkit/suite", [0 if outward else num_tests, num_tests])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """One of several processes has ended: add its figures."""
    for claim, entry in ({} if error else node.workeroutput["figures"]).items():
        add_figure(node.config, claim, **entry)


@pytest.fixture
def trials(request):
    """Numbers of the trials of a proof: few in the suite, all of them for the table."""
    return lambda few, all: range(all if request.config.getoption("--proof") else few)


@pytest.fixture
def figure(request):
    """Put a figure, or a part of it, into the table of proofs, and require it."""

    def record(claim: str, reached: int, of: int, note: str = "", **counts: int) -> None:
        add_figure(request.config, claim, reached, of, note, counts)
        assert reached == of, claim

    return record


@pytest.fixture
def is_quick(request):
    """Whether fewer seconds than a limit have gone by. Only the proofs measure it, on an idle
    machine: the suite has to pass on a busy one."""
    is_measured = bool(request.config.getoption("--proof"))
    return lambda seconds, limit: not is_measured or seconds < limit


@pytest.fixture
def tally(request):
    """Count this test among those of a claim, and, by calling what comes back, as passed."""

    def begin(claim: str):
        add_figure(request.config, claim, 0, 1)
        return lambda: add_figure(request.config, claim, 1, 0)

    return begin


@pytest.fixture(autouse=True)
def one_run_a_process():
    yield
    forget_accelerator()


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory) -> Path:
    """The folder of a GPT-2 of two blocks, 32 wide, random weights, with its own small BPE."""
    import torch

    from llmkit.config.schema import Scratch
    from llmkit.model.load import scratch_model

    torch.manual_seed(0)
    shape = Scratch(n_layer=2, n_head=2, n_embd=32, n_positions=128, vocab_size=320)
    model, tokenizer = scratch_model(shape, TEXT)
    folder = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def rows(tmp_path):
    return write_jsonl(tmp_path / "rows.jsonl", summary_rows(60))


@pytest.fixture
def llmkit(monkeypatch, tmp_path):
    """Run the command line in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def subprocess_env() -> dict[str, str]:
    """Environment of a process that can reach this machine only."""
    paths = [str(NO_NETWORK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture(scope="session")
def fork_server(subprocess_env):
    """Starts processes that have the libraries already; see fork_server.py."""
    server = ForkServer({**subprocess_env, "OMP_NUM_THREADS": "1"})
    yield server
    server.close()
