"""Which addresses are this machine's own: no proxy named in the environment can reach them."""

from urllib.parse import urlsplit

HOSTS = ("localhost", "127.0.0.1", "::1")


def is_loopback(address: str) -> bool:
    """Return whether the URL `address` leads to this machine."""
    return urlsplit(address).hostname in HOSTS
