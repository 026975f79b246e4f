"""Exports with injected faults: each is refused, whatever its format and precision."""

import json
import random
import shutil
from dataclasses import replace
from importlib.util import find_spec

import pytest
from safetensors.torch import load_file, save_file

from llmkit.export.formats import FORMATS, Target
from llmkit.export.outputs import compute_outputs
from llmkit.export.verification import exceeded, problems
from llmkit.model.load import load_model
from llmkit.runs.folder import model_dir

QUICK = ("safetensors:float32",)


def marks_of(name, extra):
    missing = not all(find_spec(package) for package in extra)
    skipped = [pytest.mark.skipif(missing, reason=f"needs {' and '.join(extra)}")]
    return skipped if name in QUICK else [*skipped, pytest.mark.slow]


NAMES = {
    f"{name}:{precision}": each.packages
    for name, each in FORMATS.items()
    for precision in each.precisions
}
EXPORTS = [pytest.param(name, marks=marks_of(name, extra)) for name, extra in NAMES.items()]


def scale_a_layer(folder, weights_file, draw):
    """One matrix of one block has the double or half of its scale."""
    path = folder / weights_file
    weights = load_file(path)
    names = [name for name, weight in weights.items() if ".h." in name and weight.dim() == 2]
    name = draw.choice(sorted(names))
    weights[name] *= draw.choice([0.5, 2])
    save_file(weights, path, metadata={"format": "pt"})
    return name


def end_with_another_token(folder, *_):
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, "eos_token": "!"}), "utf-8")


def swap_the_tokenizer(folder, _, draw):
    """The tokenizer of another model: the same texts under other numbers."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    special = {token["id"] for token in content["added_tokens"]}
    texts = [text for text, number in vocabulary.items() if number not in special]
    numbers = [vocabulary[text] for text in texts]
    draw.shuffle(numbers)
    vocabulary |= zip(texts, numbers, strict=True)
    path.write_text(json.dumps(content), "utf-8")


FAULTS = (scale_a_layer, end_with_another_token, swap_the_tokenizer)


def reasons_of(target, folder, of_run):
    """Why an export is refused."""
    original = of_run.original
    outputs = compute_outputs(target.format.open_folder(folder), original.inputs)
    figures, found = original.compare(outputs, 1), problems(outputs, original.outputs)
    if target.bounds.weight_error is not None:
        error = target.format.weight_error(of_run.source, folder)
        figures = replace(figures, weight_error=error)
    return found or exceeded(figures, target.bounds)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", EXPORTS)
def test_a_fault_is_found(request, tmp_path, name, fault, tally):
    found = tally("exports with a planted fault (a scale, the stop token, the tokenizer) refused")
    target, draw = Target.parse(name), random.Random(f"{name} {fault.__name__}")
    is_adapter = target.format_name == "adapter"
    of_run = request.getfixturevalue("lora" if is_adapter else "tuned")
    folder = tmp_path / "export"
    folder.mkdir()
    if is_adapter:
        target.format.write(of_run.source, target.precision, folder)
        fault(folder, "adapter_model.safetensors", draw)
    else:
        run = shutil.copytree(of_run.source.run, tmp_path / "run")
        fault(model_dir(run), "model.safetensors", draw)
        model, tokenizer = load_model(model_dir(run))
        source = replace(of_run.source, run=run, model=model, tokenizer=tokenizer)
        target.format.write(source, target.precision, folder)
    assert reasons_of(target, folder, of_run)
    found()


@pytest.mark.parametrize("name", EXPORTS)
def test_the_same_export_without_a_fault_is_not_refused(request, tmp_path, name):
    target = Target.parse(name)
    of_run = request.getfixturevalue("lora" if target.format_name == "adapter" else "tuned")
    target.format.write(of_run.source, target.precision, tmp_path)
    assert reasons_of(target, tmp_path, of_run) == []
