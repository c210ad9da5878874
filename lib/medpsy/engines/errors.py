"""The one error of an engine that cannot work, as against a prompt that one engine could not answer."""


class EngineError(RuntimeError):
    """An engine could not be started, or stopped working; the message says what to do."""
