"""Names of other toolkits are answered with llmkit's own."""

import re

import pytest
from recipe_mistakes import KEYS, SECTIONS, mistakes

from llmkit.config import hints


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=1e-4", "did you mean train.learning_rate?"),
        ("lr=1e-4", "did you mean train.learning_rate?"),
        ("optimizer.lr=1e-4", "did you mean train.learning_rate?"),
        ("learning_rate=1e-4", "did you mean train.learning_rate?"),
        ("num_train_epochs=3", "did you mean train.epochs?"),
        ("train.batch_size=8", "set train.global_batch_size for one step, train.micro_batch_size"),
        ("per_device_train_batch_size=8", "train.micro_batch_size"),
        ("gradient_accumulation_steps=2", "set train.global_batch_size"),
        ("train.save_steps=3", "did you mean checkpoint.every?"),
        ("eval_steps=3", "did you mean evaluation.every?"),
        ("output_dir=x", "--run-dir DIR"),
        ("report_to=wandb", "did you mean trackers?"),
        ("lora_r=8", "did you mean train.lora.r?"),
        ("lora.alpha=8", "did you mean train.lora.lora_alpha?"),
        ("train.lora_alpha=8", "did you mean train.lora.lora_alpha?"),
        ("model_name_or_path=gpt2", "did you mean model.name?"),
        ("train.fp16=true", "set train.mixed_precision=fp16"),
        ("bf16=true", "set train.mixed_precision=bf16"),
        ("gradient_checkpointing=true", "did you mean train.activation_checkpointing?"),
        ("train.warmup_ratio=0.1", "train.warmup_steps=0.1"),
        ("training_args.max-seq-length=9", "did you mean data.max_length?"),
        ("+seed=1", "set any key without a plus sign: seed=1"),
        ("++train.new=1", "without a plus sign: train.new=1"),
        ("~trackers", "to unset a key, set it to null: trackers=null"),
        ("train.epochs", "such as train.epochs=VALUE"),
    ],
)
def test_keys_of_other_toolkits_are_answered_with_llmkits_own(override, expected):
    (line,) = mistakes("summarize", override)
    assert override in line
    assert expected in line


def test_keys_of_other_toolkits_in_a_file_are_answered_with_llmkits_own(tmp_path):
    path = tmp_path / "theirs.yaml"
    path.write_text("task: qa\ntrain: {epochs: 1}\ntraining_args:\n  lr: 1e-4\n  fp16: true\n")
    assert mistakes(str(path)) == [
        f"{path}:4: unknown key training_args.lr; did you mean train.learning_rate?",
        f"{path}:5: unknown key training_args.fp16; set train.mixed_precision=fp16",
    ]


def test_hints_lead_to_existing_keys_and_never_shadow_one():
    names = {key.rpartition(".")[2] for key in KEYS + SECTIONS}
    assert set(hints.KEYS.values()) <= {*KEYS, *SECTIONS}
    assert names & {*hints.KEYS, *hints.ADVICE} == {"batch_size"}  # evaluation has one
    assert not set(hints.KEYS) & set(hints.ADVICE)
    dotted = {word for text in hints.ADVICE.values() for word in re.findall(r"\w+\.\w+", text)}
    assert dotted - set(KEYS) == {"0.1"}
