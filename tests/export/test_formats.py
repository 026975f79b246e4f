"""Formats and precisions as they are typed."""

import errno
import importlib.util
import resource

import pytest

from llmkit.errors import UserError
from llmkit.export.formats import FORMATS, Target


def test_the_first_precision_is_the_default():
    assert str(Target.parse("safetensors")) == "safetensors:float32"
    assert Target.parse("safetensors:bf16").folder_name == "safetensors-bf16"
    assert Target.parse("adapter") == Target.parse("adapter:float32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gguff", "onnx, ctranslate2; did you mean gguf?"),
        ("", "unknown format ''; known formats: safetensors, adapter, gguf, onnx, ctranslate2"),
        ("safetensors:float33", "no precision 'float33'; it has float32, bf16, fp16; did you "),
        ("adapter:q8_0", "no precision 'q8_0'; it has float32"),
    ],
)
def test_an_unknown_format_or_precision_is_rejected(text, message):
    with pytest.raises(UserError) as error:
        Target.parse(text)
    assert message in str(error.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("gguf", "ctranslate2"):
        with pytest.raises(UserError, match=rf"pip install 'llmkit\[{name}\]'"):
            Target.parse(name)
    assert Target.parse("safetensors") is not None


def test_lower_precisions_have_wider_bounds():
    for each in FORMATS.values():
        for bounds in each.precisions.values():
            assert 0 < bounds.logit_error <= 1
    bounds = FORMATS["gguf"].precisions
    by_bits = [bounds[name] for name in ("f32", "f16", "q8_0", "q4_0")]
    for values in ([b.logit_error for b in by_bits], [b.weight_error for b in by_bits]):
        assert values == sorted(set(values))
    for each in FORMATS.values():
        bounded = [b for b in each.precisions.values() if b.weight_error is not None]
        assert bool(bounded) == (each.weight_error is not None)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("safetensors", "safetensors"),
        ("gguf", "model.gguf"),
        pytest.param("onnx", "model.onnx.data", marks=pytest.mark.slow),
        ("ctranslate2", "model.bin"),
    ],
)
def test_a_disk_that_is_full_is_named(full, tmp_path, name, file):
    pytest.importorskip(name)
    folder = tmp_path / name
    folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|requested and \d+ written") as error:
            FORMATS[name].write(full.source, "f32" if name == "gguf" else "float32", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename.endswith(file)
    assert error.value.errno in (errno.EFBIG, errno.ENOSPC)
