"""The check of what a release holds: its manifest, its heads, its preprocessing."""

from ops.errors import ConfigurationError


def require(good: bool, problem: str) -> None:
    """Raise a ConfigurationError for a release with this problem unless `good`."""
    if not good:
        raise ConfigurationError(f"This is not a release that this version can use: {problem}")
