"""How many tokens fit: by the size of keys and values."""

import pytest
from medpsy.engines import memory

QWEN3_4B = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 2560,
}


@pytest.mark.parametrize(
    ("config", "itemsize", "expected"),
    [
        (QWEN3_4B, 2, 147_456),  # 2 x 36 x 8 x 128 x 2
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 256}, 4, 4096),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 256, "num_key_value_heads": 2}, 4, 2048),
    ],
)
def test_bytes_per_token(config: dict, itemsize: int, expected: int) -> None:
    assert memory.bytes_per_token(config, itemsize) == expected


def test_budget_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 147_456 * 1000)
    assert memory.token_budget(QWEN3_4B, 2) == 1000
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    assert memory.token_budget(QWEN3_4B, 2) == 1
    monkeypatch.undo()
    assert memory.free_bytes() > 0


def test_a_configuration_with_other_names_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="no 'num_hidden_layers'; set the engine's batch size"):
        memory.bytes_per_token({"n_layer": 2}, 4)
