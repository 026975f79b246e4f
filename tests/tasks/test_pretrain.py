"""Plain language modelling: the compressor baseline."""

import random

from llmkit.tasks.pretrain import compressor_bits_per_byte


def test_a_compressor_needs_8_bits_for_noise_and_few_for_repetition():
    noise = random.Random(0).choices([chr(c) for c in range(32, 96)], k=20_000)  # 6 bits each
    assert 6 < compressor_bits_per_byte(["".join(noise)]) < 6.5
    assert compressor_bits_per_byte(["The ferry left at noon. "] * 500) < 0.2
