"""llama.cpp's server as the runtime of a GGUF file, started in this process by xllamacpp."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import torch

from llmkit.export.runtime import Runtime

# Numbers of tokens whose probabilities are requested; the server returns them as text, which is
# slow for the whole vocabulary.
FEW, MOST_LIKELY = 16, 2048
FORCE = 1e6  # added to the logit of a token that has to be chosen


class LlamaServer(Runtime):
    """A GGUF file in llama.cpp, on the CPU, with keys and values cached in float32."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        self.tool = f"llama.cpp (xllamacpp {version('xllamacpp')})"
        self.server = xllamacpp.Server(settings_for(path))
        properties = self._request("/props")
        self.end_tokens = self._tokens(properties["eos_token"], parse_special=True)
        (model,) = self._request("/v1/models")["data"]
        self.vocab_size = model["meta"]["n_vocab"]
        (self.letter,) = self.tokenize("a")

    def _request(self, path: str, **content: Any) -> dict[str, Any]:
        """The server's response, as JSON."""
        data = json.dumps(content).encode() if content else None
        headers = {"Content-Type": "application/json"}
        request = Request(self.server.listening_address + path, data, headers)
        with urlopen(request) as response:
            return json.load(response)

    def log_probabilities(self, ids: list[int], positions: list[int]) -> np.ndarray:
        """NaN for tokens that are not among the MOST_LIKELY ones."""
        found = [
            self._next_log_probabilities(ids[: position + 1], MOST_LIKELY) for position in positions
        ]
        return np.array(found)

    def token_nll(self, ids: list[int], targets: list[int]) -> list[float]:
        return [self._nll(ids[:index], ids[index]) for index in targets]

    def _nll(self, ids: list[int], token: int) -> float:
        for num_tokens in (FEW, MOST_LIKELY, self.vocab_size):
            found = self._next_log_probabilities(ids, num_tokens)[token]
            if not np.isnan(found):
                break
        return -float(found)

    def _next_log_probabilities(self, ids: list[int], num_tokens: int) -> np.ndarray:
        """Log-probabilities of the most likely next tokens, (vocab_size,), before sampling.

        The server returns no probabilities together with a part of a character, so it is made to
        choose a letter.
        """
        response = self._request(
            "/completion",
            prompt=ids,
            n_predict=1,
            temperature=0,
            n_probs=min(self.vocab_size, num_tokens),
            logit_bias=[[self.letter, FORCE]],
        )
        (chosen,) = response["completion_probabilities"]
        row = np.full(self.vocab_size, np.nan, np.float32)
        for each in chosen["top_logprobs"]:
            row[each["id"]] = each["logprob"]
        return row

    def complete(self, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        return [self._complete(prompt, max_new_tokens) for prompt in prompts]

    def _complete(self, prompt: list[int], max_new_tokens: int) -> list[int]:
        response = self._request(
            "/completion",
            prompt=prompt,
            n_predict=max_new_tokens,
            temperature=0,
            repeat_penalty=1,
            return_tokens=True,
        )
        return [token for token in response["tokens"] if token not in self.end_tokens]

    def decode(self, ids: list[int]) -> str:
        return self._request("/detokenize", tokens=ids)["content"]

    def tokenize(self, text: str) -> list[int]:
        return self._tokens(text, parse_special=False)

    def _tokens(self, text: str, *, parse_special: bool) -> list[int]:
        response = self._request(
            "/tokenize", content=text, add_special=False, parse_special=parse_special
        )
        return response["tokens"]


def settings_for(path: Path) -> Any:
    """The settings of the server: xllamacpp.CommonParams."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = 0  # the context length in the file
    settings.n_parallel = 1
    settings.n_gpu_layers = 0
    settings.cpuparams.n_threads = torch.get_num_threads()
    settings.cpuparams_batch.n_threads = torch.get_num_threads()
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_ram_mib = 0
    settings.fit_params = settings.warmup = False
    settings.verbosity = 0
    return settings
