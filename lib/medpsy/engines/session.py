"""What all engines share: they are context managers, and closing one twice does no harm."""

from typing import Self


class Session:
    """Base of the engines; `close` frees what the engine holds."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
