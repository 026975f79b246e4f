"""Folders for CTranslate2."""

import pytest

pytest.importorskip("ctranslate2")

from llmkit.export.ctranslate2_folder import unsupported
from llmkit.export.formats import FORMATS
from llmkit.export.verification import exceeded, problems


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("precision", FORMATS["ctranslate2"].precisions)
def test_ctranslate2_computes_the_same(request, export, kind, precision):
    of_run = request.getfixturevalue(kind)
    written = export(of_run, f"ctranslate2:{precision}")
    assert problems(written.outputs, of_run.original.outputs) == []
    assert exceeded(written.figures, FORMATS["ctranslate2"].precisions[precision]) == []


def test_a_model_that_ctranslate2_does_not_know_is_refused(full):
    config = full.source.model.config
    config.scale_attn_weights = False
    try:
        assert "scale_attn_weights=false" in unsupported(full.source, "int8")
    finally:
        config.scale_attn_weights = True
