"""A family of models is described in one folder: no other file names its classes or layers."""

import re

import pytest
from transformers import BertConfig, GPT2Config

from llmkit.families import FAMILIES, GPT2, family_of, find_family
from llmkit.paths import PACKAGE

# Config keys and layers of GPT-2. Its classes begin with GPT2.
GPT2_WORDS = {
    "n_positions", "n_embd", "n_layer", "n_head", "n_ctx", "n_inner", "embd_pdrop", "resid_pdrop",
    "attn_pdrop", "gelu_new", "wte", "wpe", "ln_1", "ln_2", "ln_f", "c_attn", "c_proj", "c_fc",
    "lm_head",
}  # fmt: skip
GPT2_PHRASES = re.compile(r"\.transformer\b|model_type\W+[\"']gpt2[\"']")
# Names that a file may use all the same, and why.
ALLOWED = {
    # Keys of a recipe: model.scratch takes the config's own keys, train.lora.target_modules peft's.
    "config/schema.py": {
        "n_layer", "n_head", "n_embd", "n_positions", "c_attn", "c_proj", "c_fc",
    },
    "export/llama_server.py": {"n_ctx"},  # a field of llama.cpp's settings
}  # fmt: skip
FILES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.parent.name != "families"
)


def names_in(text: str) -> set[str]:
    """Names of GPT-2's classes, config keys and layers in a source text, comments included."""
    words = set(re.findall(r"\w+", text))
    classes = {word for word in words if re.match("GPT2[A-Z]", word)}
    return (words & GPT2_WORDS) | classes | set(GPT2_PHRASES.findall(text))


@pytest.mark.parametrize("file", FILES)
def test_no_file_outside_the_families_folder_names_gpt2(file):
    found = names_in((PACKAGE / file).read_text("utf-8"))
    assert found - ALLOWED.get(file, set()) == set()


@pytest.mark.parametrize("file", ALLOWED)
def test_every_file_allowed_to_name_gpt2_still_does(file):
    assert names_in((PACKAGE / file).read_text("utf-8")) == ALLOWED[file]


@pytest.mark.parametrize(
    "line",
    ["model.config.n_positions", "model.transformer(x)", "isinstance(m, GPT2LMHeadModel)",
     'if config.model_type == "gpt2":', "(N, n_embd)", '"c_attn"'],
)  # fmt: skip
def test_names_of_gpt2_are_recognized_in_code_and_comments(line):
    assert len(names_in(line)) == 1
    assert names_in("from transformers import AutoModel\nin_layers = my_n_head") == set()


def test_a_config_leads_to_its_family():
    assert family_of(GPT2Config()) is GPT2
    assert [find_family(family.model_type) for family in FAMILIES] == list(FAMILIES)


@pytest.mark.parametrize("model_type", ["bert", None, [], {}, 3])
def test_an_unknown_model_type_has_no_family(model_type):
    assert find_family(model_type) is None


def test_a_config_of_another_family_is_not_taken_for_gpt2():
    with pytest.raises(AssertionError, match="other families are refused"):
        family_of(BertConfig())
