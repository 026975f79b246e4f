"""The serve command: mistakes that it rejects before listening."""

import socket
import sys

import pytest
from runs import SHORT

from llmkit.serving import server
from llmkit.serving.security import Limits


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--host", "0.0.0.0"), "which requires a token; set LLMKIT_TOKEN or --token-file"),
        (("--host", "::"), "which requires a token"),
        (("--host", "no such host"), "--host: "),
        (("--token-file", "none"), "--token-file: none: no such file"),
        (("--allow-origin", "example.org"), "--allow-origin: 'example.org' is not an origin"),
        (("--port", "70000"), "--port"),
        (("--timeout", "0"), "--timeout"),
        (("--max-queue", "-1"), "--max-queue"),
        (("--prt", "1"), "Did you mean '--port'?"),
        (("runs/a",), "did you mean --model runs/a?"),
        (("train.epochs=3",), "train.epochs=3: serve takes only "),
        (("--model", "./none"), "no such folder"),
        (("generation.temperature=1",), "is not a run, so it has no recipe to override"),
    ],
)
def test_mistakes_end_in_one_line(llmkit, arguments, expected):
    result = llmkit("serve", "--port", "0", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_a_port_in_use_is_reported_before_the_model_is_loaded(llmkit):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = llmkit("serve", "--port", port, "--model", "./none")
    assert result.exit_code == 2
    assert f"127.0.0.1:{port}: this port is in use" in result.stderr


def test_the_error_for_a_missing_package_names_the_extra(llmkit, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for module in [name for name in sys.modules if name.startswith("llmkit.serving")]:
        monkeypatch.delitem(sys.modules, module)
    result = llmkit("serve")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "llmkit: serve requires uvicorn: pip install 'llmkit[serve]'"
    )


def test_a_run_is_served_under_its_name_with_its_limits(llmkit, tiny_gpt2, rows, monkeypatch):
    run = ("summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT, "--run-dir", "runs/it")
    assert llmkit("finetune", *run, "generation.num_beams=2").exit_code == 0
    refused = llmkit("serve", "--port", "0")
    assert refused.exit_code == 2
    assert "add generation.num_beams=1" in refused.stderr
    served = []
    monkeypatch.setattr(server, "run", lambda app, service, *_: served.append(service))
    result = llmkit(
        "serve", "--port", 0, "generation.num_beams=1", "--grace", 0, "--max-rows", 3,
        "--max-prompt-tokens", 50,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (service,) = served
    assert service.name == "it"
    assert service.limits == Limits(grace=0, max_prompt_tokens=50)
    assert service.engine.max_rows == 3
    assert "serving it at http://127.0.0.1:" in result.stderr
