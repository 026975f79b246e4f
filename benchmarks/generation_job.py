"""One measurement for generation.py, in a separate process; prints a line of JSON."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    pipeline,
)

from benchmarks.generation import BATCH, LABELS, NUM_SINGLE

MAX_PROMPT_TOKENS = 900
EQUAL_TOKENS, SINGLE_TOKENS = 40, 64
SHORTEST, LONGEST = 10, 80  # new tokens of the workload `ragged`
NO_TOKEN = -1  # instead of end-of-text, so that completions have their full length
BANDWIDTH_BYTES = 2**29  # read to measure the memory bandwidth


def prepare(job: dict[str, Any]) -> None:
    """Write the model, its tokenizer and the encoded prompts."""
    build = Path(job["build"])
    tokenizer = GPT2Tokenizer.from_pretrained(job["tokenizer"])
    with Path(job["prompts"]).open(encoding="utf-8") as lines:
        texts = [json.loads(line)[job["column"]] for line in islice(lines, job["rows"])]
    prompts = [tokenizer(f"{text}\n\nTL;DR:")["input_ids"][:MAX_PROMPT_TOKENS] for text in texts]
    (build / "prompts.json").write_text(json.dumps(prompts), "utf-8")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(build / "model")
    tokenizer.save_pretrained(build / "model")


def run(job: dict[str, Any]) -> dict[str, Any]:
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(job["threads"])
    build = Path(job["build"])
    prompts = json.loads((build / "prompts.json").read_text("utf-8"))
    counts = {
        "equal": [EQUAL_TOKENS] * len(prompts),
        "ragged": np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, len(prompts)).tolist(),
        "single": [SINGLE_TOKENS] * NUM_SINGLE,
        "labels": [],
    }[job["workload"]]
    folder = str(build / "model")
    if job["contestant"] == "CTranslate2":
        return complete_with_ctranslate2(folder, prompts, counts, job)
    if job["contestant"] in ("llmkit", "generate, tuned"):
        from llmkit.model.load import load_model
        from llmkit.runtime.devices import start_accelerator

        start_accelerator("cpu", "no", 0)
        torch.set_num_threads(job["threads"])
        model, tokenizer = load_model(folder)
    else:
        model, tokenizer = (
            GPT2LMHeadModel.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
    model.eval()
    if job["workload"] == "labels":
        return score_labels(model, tokenizer, prompts, job["contestant"])
    if job["workload"] == "single":
        return complete_one_by_one(model, tokenizer, prompts[:NUM_SINGLE], job["contestant"])
    complete = {
        "llmkit": with_llmkit,
        "generate": with_generate,
        "generate, tuned": with_generate,
        "generate_batch": with_generate_batch,
        "pipeline": with_pipeline,
    }[job["contestant"]]
    return time_prompts(partial(complete, model, tokenizer), prompts, counts)


def time_prompts(
    compute: Callable[[list[list[int]], list[int]], list], prompts: list[list[int]], counts: list
) -> dict[str, Any]:
    """Time a function of the prompts and their numbers of new tokens, after a short warm-up call;
    return its rate and results."""
    compute(prompts[:2], [2, 2])
    started = time.perf_counter()
    results = compute(prompts, counts)
    rate = len(prompts) / (time.perf_counter() - started)
    return {
        "unit": "prompts/s",
        "rate": rate,
        "shown": f"{rate:.2f} prompts/s",
        "results": results,
    }


Completions = list[list[int]]


def with_llmkit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    counts: list[int],
) -> Completions:
    from llmkit.config.generation import Generation
    from llmkit.generation.generate import complete
    from llmkit.generation.request import Request

    requests = [
        Request(prompt, Generation(max_new_tokens=count, min_new_tokens=count))
        for prompt, count in zip(prompts, counts, strict=True)
    ]
    return [sequence.token_ids for sequence in complete(model, tokenizer, requests, BATCH)]


def with_generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    counts: list[int],
) -> Completions:
    """Static batches sorted by length, left-padded; each runs until its longest completion ends."""
    completions: dict[int, list[int]] = {}
    longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(prompts), BATCH):
        batch = longest_first[start : start + BATCH]
        length = max(len(prompts[index]) for index in batch)
        pads = [length - len(prompts[index]) for index in batch]
        output = model.generate(
            input_ids=torch.tensor(
                [[0] * pad + prompts[index] for pad, index in zip(pads, batch, strict=True)]
            ),
            attention_mask=torch.tensor([[0] * pad + [1] * (length - pad) for pad in pads]),
            generation_config=fixed_length(max(counts[index] for index in batch)),
        )
        for index, row in zip(batch, output[:, length:].tolist(), strict=True):
            completions[index] = row[: counts[index]]
    return [completions[index] for index in range(len(prompts))]


def with_generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    counts: list[int],
) -> Completions:
    """Continuous batching of transformers, which requires completions of equal length."""
    output = model.generate_batch(
        prompts, generation_config=fixed_length(max(counts)), progress_bar=False
    )
    by_number = sorted(output.items(), key=lambda item: int(item[0].rpartition("_")[2]))
    return [result.generated_tokens for _, result in by_number]


def with_pipeline(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    counts: list[int],
) -> Completions:
    """One prompt at a time, the default of `pipeline`."""
    complete = pipeline("text-generation", model=model, tokenizer=tokenizer)
    texts = tokenizer.batch_decode(prompts)
    outputs = complete(texts, generation_config=fixed_length(max(counts)), return_tensors=True)
    return [
        output[0]["generated_token_ids"][len(prompt) :]
        for output, prompt in zip(outputs, prompts, strict=True)
    ]


def fixed_length(num_tokens: int) -> GenerationConfig:
    return GenerationConfig(
        max_new_tokens=num_tokens, do_sample=False, eos_token_id=NO_TOKEN, pad_token_id=0
    )


def complete_one_by_one(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    contestant: str,
) -> dict[str, Any]:
    """Tokens per second without the prompt: the time of 64 new tokens minus that of one."""
    if contestant == "llmkit":
        from llmkit.config.generation import Generation
        from llmkit.generation.engine import Engine
        from llmkit.generation.request import Request
        from llmkit.model.packed import packed_linear_layers

        def complete(prompt: list[int], count: int) -> list[int]:
            engine = Engine(model, tokenizer, 1)
            settings = Generation(max_new_tokens=count, min_new_tokens=count)
            sequence = engine.add(Request(prompt, settings))
            while not engine.is_idle:
                engine.step()
            return sequence.token_ids

        with packed_linear_layers(model, torch.float32):
            return rate_after_prompt(complete, prompts, model)

    def complete(prompt: list[int], count: int) -> list[int]:
        output = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            generation_config=fixed_length(count),
        )
        return output[0, len(prompt) :].tolist()

    return rate_after_prompt(complete, prompts, model)


def rate_after_prompt(complete: Any, prompts: list[list[int]], model: Any = None) -> dict[str, Any]:
    complete(prompts[0], 2)
    rates, completions = [], []
    for prompt in prompts:
        started = time.perf_counter()
        complete(prompt, 1)
        one = time.perf_counter()
        completions.append(complete(prompt, SINGLE_TOKENS))
        rates.append((SINGLE_TOKENS - 1) / (time.perf_counter() - one - (one - started)))
    rate = float(np.median(rates))
    result = {
        "unit": "tokens/s",
        "rate": rate,
        "shown": f"{rate:.1f} tokens/s",
        "results": completions,
    }
    if model is not None:
        embedded = model.get_input_embeddings().weight.numel()
        positions = model.config.max_position_embeddings * model.config.hidden_size
        read = sum(weight.numel() for weight in model.parameters()) - positions
        assert model.get_output_embeddings().weight.numel() == embedded, "tied, and read once"
        bandwidth = memory_bandwidth()
        result["note"] = (
            f"Each token reads {read * 4 / 1e6:.0f} MB of weights, so the measured bandwidth of "
            f"{bandwidth / 1e9:.1f} GB/s limits a request to {bandwidth / (read * 4):.1f} "
            f"tokens/s. llmkit reaches {100 * rate * read * 4 / bandwidth:.0f} % of that."
        )
    return result


def memory_bandwidth() -> float:
    """Memory bandwidth in bytes per second: the fastest of several sums over a large block."""
    block = torch.ones(BANDWIDTH_BYTES // 4)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        block.sum()
        seconds.append(time.perf_counter() - started)
    return BANDWIDTH_BYTES / min(seconds)


def complete_with_ctranslate2(
    folder: str, prompts: list[list[int]], counts: list[int], job: dict[str, Any]
) -> dict[str, Any]:
    import ctranslate2

    converted = Path(folder).with_name("ctranslate2")
    if not converted.exists():
        ctranslate2.converters.TransformersConverter(folder).convert(str(converted))
    generator = ctranslate2.Generator(
        str(converted), device="cpu", compute_type="float32", intra_threads=job["threads"]
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def complete_all(prompts: list[list[int]], count: int) -> Completions:
        results = generator.generate_batch(
            [tokenizer.convert_ids_to_tokens(prompt) for prompt in prompts],
            max_batch_size=BATCH,
            max_length=count,
            min_length=count,
            beam_size=1,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token="<|endoftext|>",
        )
        return [result.sequences_ids[0] for result in results]

    if job["workload"] == "single":
        return rate_after_prompt(
            lambda prompt, count: complete_all([prompt], count)[0], prompts[:NUM_SINGLE]
        )
    return time_prompts(lambda rows, numbers: complete_all(rows, numbers[0]), prompts, counts)


def score_labels(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    contestant: str,
) -> dict[str, Any]:
    """Log-likelihoods of each label after each prompt, for the same token ids."""
    labels = {text: [*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in LABELS}
    if contestant == "llmkit":
        from llmkit.generation.label_likelihood import label_log_likelihoods

        def score(rows: list[list[int]]) -> list[list[float]]:
            return label_log_likelihoods(model, rows, list(labels.values()), BATCH)
    else:
        from lm_eval.models.huggingface import HFLM

        harness = HFLM(
            pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=BATCH,
            max_length=model.config.max_position_embeddings, device="cpu",
        )  # fmt: skip

        def score(rows: list[list[int]]) -> list[list[float]]:
            requests = [
                ((str(number), text), row, ids)
                for number, row in enumerate(rows)
                for text, ids in labels.items()
            ]
            found = harness._loglikelihood_tokens(requests, disable_tqdm=True)
            values = [value for value, _ in found]
            starts = range(0, len(values), len(labels))
            return [values[start : start + len(labels)] for start in starts]

    return time_prompts(lambda rows, _: score(rows), prompts, [])


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    if sys.argv[1] == "prepare":
        prepare(given)
    else:
        print(json.dumps(run(given)))
