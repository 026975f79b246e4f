"""Folders for CTranslate2."""

import pytest

pytest.importorskip("ctranslate2")

from llmkit.export.ctranslate2_folder import unsupported
from llmkit.export.formats import FORMATS
from llmkit.export.verification import exceeded, problems


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("precision", FORMATS["ctranslate2"].precisions)
def test_ctranslate2_computes_the_same(request, export, kind, precision):
    asked = request.getfixturevalue(kind)
    written = export(asked, f"ctranslate2:{precision}")
    assert problems(written.answers, asked.reference.answers) == []
    assert exceeded(written.figures, FORMATS["ctranslate2"].precisions[precision]) == []


def test_a_model_that_ctranslate2_does_not_know_is_refused(full):
    config = full.source.model.config
    config.scale_attn_weights = False
    try:
        assert "scale_attn_weights=false" in unsupported(full.source, "int8")
    finally:
        config.scale_attn_weights = True
