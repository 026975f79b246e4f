"""Generation: batches change nothing, limits hold, a prompt is what the user typed."""

import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from pydantic import ValidationError
from rows import TEXT, summary_rows, write_jsonl
from runs import SHORT, forget_accelerator

from llmkit.config.schema import Generation
from llmkit.data.encode import encode_text
from llmkit.errors import UserError
from llmkit.generation.generate import SeededSampling, generate
from llmkit.generation.prompts import PromptReader
from llmkit.metrics.prediction import Prediction
from llmkit.model.load import load_model
from llmkit.scoring.predictions import read_predictions
from llmkit.tasks import get_task, with_template


@pytest.fixture(scope="module")
def loaded(tiny_gpt2):
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def prompts(loaded):
    texts = [TEXT[i % 3][: 5 + 3 * i] for i in range(16)]
    return encode_text(texts, loaded[1])


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_batch_gives_what_each_prompt_gives_alone(loaded, prompts, batch_size):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=12)
    together = generate(model, tokenizer, prompts, settings, batch_size)
    alone = [generate(model, tokenizer, [prompt], settings, 1)[0] for prompt in prompts]
    assert together == alone


def test_greedy_is_the_argmax_of_the_model(loaded, prompts):
    model, tokenizer = loaded
    ids = list(prompts[3])
    for _ in range(6):
        ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    expected = tokenizer.decode(ids[len(prompts[3]) :])
    ((made,),) = generate(model, tokenizer, [prompts[3]], Generation(max_new_tokens=6), 1)
    assert made == Prediction(expected, ended=False)


def test_lengths_hold(loaded, prompts):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=9, min_new_tokens=9)
    stop = generate(model, tokenizer, prompts[:1], Generation(max_new_tokens=9), 1)[0][0]
    assert stop.text
    model.generation_config.eos_token_id = None
    with torch.no_grad():  # a model that always wants to stop must not, before its time
        bias = torch.zeros(model.config.vocab_size)
        bias[tokenizer.eos_token_id] = 1e4
        hook = model.lm_head.register_forward_hook(lambda m, i, out: out + bias)
        short = generate(model, tokenizer, prompts[:2], Generation(max_new_tokens=9), 2)
        long = generate(model, tokenizer, prompts[:2], settings, 2)
        hook.remove()
    assert short == [[Prediction("", ended=True)]] * 2
    assert all(made.text and not made.ended for (made,) in long)
    with pytest.raises(UserError, match="exceed the model's 128 positions"):
        generate(model, tokenizer, [[5] * 120], settings, 1)
    assert generate(model, tokenizer, [[5] * 119], settings, 1)[0][0].text
    with pytest.raises(UserError, match="prompt 2: the prompt is empty"):
        generate(model, tokenizer, [[5], []], settings, 1)


def test_nothing_in_the_model_folder_changes_decoding(tiny_gpt2, tmp_path, loaded, prompts):
    folder = tmp_path / "model"
    shutil.copytree(tiny_gpt2, folder)
    (folder / "generation_config.json").write_text(
        '{"repetition_penalty": 50.0, "no_repeat_ngram_size": 1, "max_length": 20}'
    )
    settings = Generation(max_new_tokens=12)
    expected = generate(*loaded, prompts, settings, 4)
    assert generate(*load_model(str(folder)), prompts, settings, 4) == expected


def test_sampling_follows_the_seed_and_beams_return_several(loaded, prompts):
    model, tokenizer = loaded
    sampled = Generation(
        max_new_tokens=12, temperature=1.0, top_k=50, top_p=0.9, num_return_sequences=3
    )

    def sample(seed):
        return generate(model, tokenizer, prompts[:2], sampled, 2, seed)

    assert sample(1) == sample(1) != sample(2)
    assert [len(set(texts)) for texts in sample(1)] == [3, 3]
    beams = Generation(max_new_tokens=5, num_beams=3, num_return_sequences=2)
    assert [len(t) for t in generate(model, tokenizer, prompts[:2], beams, 2)] == [2, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "num_return_sequences": 3},
        {"temperature": 1.0, "num_beams": 2, "num_return_sequences": 2},
    ],
)
def test_what_is_sampled_does_not_depend_on_the_batch(loaded, prompts, settings):
    model, tokenizer = loaded
    settings = Generation(max_new_tokens=8, **settings)

    def sample(batch_size, numbers=None):
        chosen = prompts if numbers is None else [prompts[number] for number in numbers]
        return generate(model, tokenizer, chosen, settings, batch_size, 5, numbers)

    whole = sample(32)
    assert len({texts[0] for texts in whole}) > len(whole) / 2
    for batch_size in (1, 2, 5):
        assert sample(batch_size) == whole
    for rank in (0, 1):  # as two processes share them
        assert sample(2, range(rank, len(prompts), 2)) == whole[rank::2]


@pytest.mark.parametrize(
    ("settings", "left"), [({}, 5), ({"top_k": 3}, 3), ({"top_p": 0.6}, 2), ({"temperature": 2}, 5)]
)
def test_tokens_are_sampled_with_their_probabilities(settings, left):
    """Of five tokens, chi-square of 4,000 draws; the warpers are restated by hand."""
    settings = Generation(**{"temperature": 1.0, "max_new_tokens": 1, **settings})
    logits = torch.tensor([2.0, 1.5, -1.0, 0.0, 1.0])
    sampling = SeededSampling(settings, [(0, number) for number in range(4000)], prompt_length=1)
    scores = sampling(torch.zeros(4000, 1, dtype=torch.long), logits.repeat(4000, 1))
    counts = scores.argmax(1).bincount(minlength=5)
    kept = logits.argsort(descending=True)[:left]
    expected = torch.zeros(5).scatter(0, kept, (logits / settings.temperature).softmax(0)[kept])
    expected *= 4000 / expected.sum()
    assert counts[expected == 0].sum() == 0
    chi_square = ((counts - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    assert chi_square < 18.5, "with 4 degrees of freedom, once in a thousand seeds"


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 0.5},
        {"top_k": 3},
        {"num_return_sequences": 2},
        {"max_new_tokens": 0},
        {"max_new_tokens": 3, "min_new_tokens": 4},
    ],
)
def test_settings_that_contradict_are_refused(settings):
    with pytest.raises(ValidationError):
        Generation(**settings)


def prompt_of(segments):
    return "".join(segment.text for segment in segments)


@pytest.mark.parametrize(
    ("template", "prompt", "expected"),
    [
        (None, "The ferry left.", "The ferry left.\n\nTL;DR:"),
        (None, "The ferry left.\n\nTL;DR: ", "The ferry left.\n\nTL;DR:"),
        ("Sum: {document}", "The ferry left.", "Sum: The ferry left."),
    ],
)
def test_a_prompt_is_put_into_the_template_once(template, prompt, expected):
    task = get_task("summarize")
    task = task if template is None else with_template(task, template)
    assert prompt_of(PromptReader(task, {}).typed(prompt)) == expected
    assert prompt_of(PromptReader(task, {}, is_raw=True).typed(prompt)) == prompt


@pytest.mark.parametrize(
    ("task", "prompt", "expected"),
    [
        ("chat", "Who?", "User: Who?\nAssistant:"),
        ("chat", "User: Who?\nAssistant:", "User: Who?\nAssistant:"),
        ("qa", "Context: A.\nQuestion: B?\nAnswer:", "Context: A.\nQuestion: B?\nAnswer:"),
        ("reason", "1 + 1?", "Question: 1 + 1?\nAnswer:"),
        ("pretrain", "Once upon", "Once upon"),
    ],
)
def test_a_prompt_is_what_each_task_was_trained_with(task, prompt, expected):
    assert prompt_of(PromptReader(get_task(task), {}).typed(prompt)) == expected


MESSAGES = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Mara."},
    {"role": "user", "content": "When?"},
]
ASKED = "User: Who?\nAssistant: Mara.\nUser: When?\nAssistant:"


@pytest.mark.parametrize(
    ("task", "columns", "row", "prompt", "references"),
    [
        ("summarize", {}, {"document": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"prompt": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"prompt": "x", "document": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {"document": "prompt"}, {"prompt": "A b."}, "A b.\n\nTL;DR:", None),
        ("summarize", {}, {"document": "A b.", "summary": "A."}, "A b.\n\nTL;DR:", ["A."]),
        ("qa", {"context": "p.c"}, {"p": {"c": "A."}, "question": "B?"},
         "Context: A.\nQuestion: B?\nAnswer:", None),
        *(
            ("qa", {}, {"context": "A.", "question": "B?", "answers": answers},
             "Context: A.\nQuestion: B?\nAnswer:", references)
            for answers, references in (
                ([], [""]), ({"text": [], "answer_start": []}, [""]), ("", None), (None, None)
            )
        ),
        ("chat", {}, {"messages": MESSAGES}, ASKED, None),
        ("chat", {}, {"messages": [*MESSAGES, {"role": "assistant", "content": "Now."}]},
         ASKED, ["Now."]),
        ("chat", {}, {"messages": [*MESSAGES, {"role": "assistant", "content": "x", "weight": 0}]},
         ASKED, None),
        ("pretrain", {}, {"prompt": "Once"}, "Once", None),
        ("pretrain", {}, {"text": "Once"}, "Once", None),
        ("pretrain", {"text": "body"}, {"body": "Once"}, "Once", None),
    ],
)  # fmt: skip
def test_rows_become_the_prompts_of_each_task(tmp_path, task, columns, row, prompt, references):
    path = write_jsonl(tmp_path / "in.jsonl", [row])
    (made,) = PromptReader(get_task(task), columns).read(path)
    assert (made.text, made.references) == (prompt, references)
    assert made.columns == row


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_lines_of_a_text_file_are_prompts(tmp_path, newline):
    path = tmp_path / "in.txt"
    path.write_bytes(newline.join(["First.", "", "Second one. "]).encode())
    first, second = PromptReader(get_task("pretrain"), {}).read(path)
    assert (first.text, second.text) == ("First.", "Second one.")
    assert second.where == f"{path}:3"
    (summary, _) = PromptReader(get_task("summarize"), {}).read(path)
    assert summary.text == "First.\n\nTL;DR:"


def test_the_command_prints_the_completion_only(llmkit, tiny_gpt2, loaded):
    result = llmkit("generate", "--model", tiny_gpt2, "--prompt", TEXT[0], "--max-new-tokens", 5)
    assert result.exit_code == 0, result.output
    prompt = encode_text([TEXT[0]], loaded[1])
    # Whether bf16 pays is measured, and the command is to be as fast as the evaluation.
    with Accelerator(mixed_precision=AcceleratorState().mixed_precision).autocast():
        ((made,),) = generate(*loaded, prompt, Generation(max_new_tokens=5), 1)
    assert result.stdout == f"{made.text.strip()}\n"
    assert str(tiny_gpt2) in result.stderr


def test_several_samples_are_written_with_the_first_apart(llmkit, tiny_gpt2, tmp_path):
    rows = [{"id": "x", "prompt": TEXT[0]}, {"prompt": TEXT[1], "id": None}]
    write_jsonl(tmp_path / "in.jsonl", rows)
    run = (
        "generate", "--model", tiny_gpt2, "--max-new-tokens", 4, "--num-return-sequences", 2,
        "--temperature", 1,
    )  # fmt: skip
    result = llmkit(*run, "--input", "in.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert (first["id"], second["id"]) == ("x", "1")
    assert list(first) == ["id", "prompt", "prediction", "predictions"]
    assert first["prompt"] == TEXT[0]
    assert first["prediction"] == first["predictions"][0]
    assert len(first["predictions"]) == 2
    result = llmkit(*run, "--input", "in.jsonl", "--output", "out.csv")
    assert result.exit_code == 0, result.output
    for name in ("out.jsonl", "out.csv"):
        made = read_predictions(tmp_path / name, "--predictions", get_task("summarize"))
        assert made["x"].prediction == Prediction(first["prediction"], None, first["predictions"])


def test_samples_are_numbered_on_the_terminal(llmkit, tiny_gpt2):
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 4, "--prompt", TEXT[0])
    result = llmkit(*run, "--num-return-sequences", 3, "--temperature", 1)
    assert [line[:4] for line in result.stdout.splitlines() if line[:1] == "["] == [
        "[1] ", "[2] ", "[3] "
    ]  # fmt: skip


def test_a_long_source_is_shortened_a_long_prompt_is_refused(llmkit, tiny_gpt2, tmp_path, rows):
    llmkit("finetune", "summarize", f"model={tiny_gpt2}", f"data.train={rows}", *SHORT,
           "--run-dir", "run")  # fmt: skip
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"document": "a b " * 200}, {"document": "c"}])
    run = ("generate", "--model", "run", "--input", "in.jsonl")
    result = llmkit(*run, "--output", "out.jsonl")
    assert result.exit_code == 0, result.output
    assert "1 of 2 sources truncated to fit 128 tokens" in result.stderr
    assert r'prompt template: "{document}\n\nTL;DR:"' in result.stderr
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": "c"}, {"prompt": "a b " * 200}])
    result = llmkit(*run, "--raw")
    assert result.exit_code == 2
    assert "in.jsonl:2: " in result.stderr
    assert "exceed the model's 128 positions" in result.stderr


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_invalid_rows_are_left_out_and_named_if_the_user_says_so(
    llmkit, tiny_gpt2, tmp_path, suffix
):
    """Rows without an id keep their place in the input as their id."""
    path, long = tmp_path / f"in.{suffix}", "a b " * 200
    if suffix == "jsonl":
        rows = [{"prompt": "a"}, {"prompt": 5}, {"prompt": long}, {"prompt": "\ud83d"},
                {"id": "x", "prompt": "b"}, {"text": "c"}]  # fmt: skip
        lines = ["{broken", *map(json.dumps, rows)]
        kept, invalid = {"1": "a", "x": "b", "6": "c"}, (1, 3, 4, 5)
    else:
        lines = ["prompt,id", "a,b,c", "a,", f"{long},", "two\rlines,", "b,x", "c,"]
        kept, invalid = {"1": "a", "x": "b", "5": "c"}, (2, 4, 5)
    path.write_text("\n".join(lines))
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 2, "--input", path)
    refused = llmkit(*run, "--output", "out.jsonl")
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()[1:]
    assert line.startswith(f"llmkit: {path}:{invalid[0]}: ")
    assert line.endswith("; or skip such rows with data.skip_invalid=true")
    assert not (tmp_path / "out.jsonl").exists()

    forget_accelerator()
    result = llmkit(*run, "--output", "out.jsonl", "data.skip_invalid=true")
    assert result.exit_code == 0, result.output
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").open()]
    assert {row["id"]: row["prompt"] for row in written} == kept
    assert f"warning: {len(invalid)} rows have no prediction" in result.stderr
    assert all(f"{path}:{number}: " in result.stderr for number in invalid)
    assert f"{path}:7: " not in result.stderr
    for number in sorted(invalid)[::-1]:  # what is kept is predicted as if it stood alone
        del lines[number - 1]
    path.write_text("\n".join(lines))
    forget_accelerator()
    alone = llmkit(*run, "--json")
    made = [json.loads(line)["prediction"] for line in alone.stdout.splitlines()]
    assert made == [row["prediction"] for row in written]


def test_a_file_of_invalid_rows_is_refused_even_if_they_may_be_left_out(
    llmkit, tiny_gpt2, tmp_path
):
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": 5}, {"prompt": 6}])
    run = ("generate", "--model", tiny_gpt2, "--input", "in.jsonl")
    result = llmkit(*run, "data.skip_invalid=true")
    assert result.exit_code == 2
    assert "in.jsonl:1: no text column 'prompt'" in result.stderr


@pytest.mark.parametrize("prompt", ["The ferry ", "The ferry\t"])
def test_a_prompt_that_ends_in_a_blank_is_warned_of(llmkit, tiny_gpt2, tmp_path, prompt):
    run = ("generate", "--model", tiny_gpt2, "--max-new-tokens", 2)
    result = llmkit(*run, "--prompt", prompt)
    assert result.exit_code == 0, result.output
    assert "warning: 1 prompt ends in a space or tab" in result.stderr
    forget_accelerator()
    write_jsonl(tmp_path / "in.jsonl", [{"prompt": p} for p in ("a", prompt, "b\n", prompt)])
    result = llmkit(*run, "--input", "in.jsonl")
    assert "warning: 2 prompts end in a space or tab" in result.stderr
    assert "in.jsonl:2, in.jsonl:4" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--prompt", ""), "--prompt: the prompt is empty"),
        (("--prompt", "a " * 300), "exceed the model's 128 positions"),
        (("--prompt", "a", "--temperature", "-1"), "--temperature: "),
        (("--prompt", "a", "--top-k", "5"), "need --temperature above 0"),
        (("--prompt", "a", "--input", "b"), "give either --prompt TEXT or --input FILE"),
        ((), "give either --prompt TEXT or --input FILE"),
        (("--input", "missing.jsonl"), "missing.jsonl: no such file; check --input"),
        (("--input", "rows.jsonl"), "rows.jsonl:1: no text column 'prompt'"),
        (
            ("--prompt", "a", "--output", "no/such/folder/out.jsonl"),
            "there is no folder no/such/folder",
        ),
    ],
)
def test_bad_requests_end_in_one_line(llmkit, tiny_gpt2, tmp_path, arguments, expected):
    write_jsonl(tmp_path / "rows.jsonl", summary_rows(2))
    result = llmkit("generate", "--model", tiny_gpt2, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output
