"""A bar for long work, as terminals and notebooks know it."""

from __future__ import annotations

from typing import Any

from mirrorflow.errors import MissingExtraError

__all__ = ["progress_bar"]


def progress_bar(enabled: bool, total: float, title: str, **options: Any) -> Any:
    """A `tqdm` bar, which is silent where it is not `enabled`.

    Raises:
        MissingExtraError: it is asked for and tqdm is not installed.
    """
    if not enabled:
        return _Silent()
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            'progress = True needs tqdm; pip install "mirrorflow[experiments]"'
        ) from error
    return tqdm(total=total, desc=title, **options)


class _Silent:
    """What of a bar is used, without one."""

    n = 0.0

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, n: float = 1.0) -> None:
        """Nothing."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Nothing."""
