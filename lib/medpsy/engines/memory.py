"""How many tokens a model may hold at once on this machine. An estimate to choose a batch size by, not a promise."""

from typing import Any

SHARE = 0.5  # ours: of the free memory; the rest is for activations, logits and everybody else


def bytes_per_token(config: dict[str, Any], itemsize: int) -> int:
    """Return the bytes that keys and values of one token take: 2 x layers x key-value heads x head size x `itemsize`.

    Args:
        config: ``config.json`` of the part that writes text.
        itemsize: bytes of one number, e.g. 4 for float32.

    Raises:
        ValueError: the configuration uses other names; says which option to set.
    """
    try:
        layers, heads, width = (config[name] for name in ("num_hidden_layers", "num_attention_heads", "hidden_size"))
    except KeyError as error:
        raise ValueError(
            f"config.json has no {error}; set the engine's batch size (`batch_tokens` or `slots`)"
        ) from None
    return (
        2
        * layers
        * (config.get("num_key_value_heads") or heads)
        * (config.get("head_dim") or width // heads)
        * itemsize
    )


def free_bytes(device: str = "cpu") -> int:
    """Return the bytes that are free on `device` (``"cpu"`` or a torch device name such as ``"cuda:0"``)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


def token_budget(config: dict[str, Any], itemsize: int, device: str = "cpu") -> int:
    """Return how many tokens' keys and values fit into `SHARE` of the free memory of `device`."""
    return max(1, int(free_bytes(device) * SHARE) // bytes_per_token(config, itemsize))
