"""Load a model from a repo with transformers and print a digest of its weights.

pushed_model.py REPO
"""

import hashlib
import sys


def digest(name: str) -> str:
    """SHA-256 of all weights of a model."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(name)
    weights = sorted(model.state_dict().items())
    content = b"".join(key.encode() + value.numpy().tobytes() for key, value in weights)
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    print(digest(sys.argv[1]))
