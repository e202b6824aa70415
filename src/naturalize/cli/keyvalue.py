"""``--set KEY=VALUE`` of the commands that take settings of a mode or a segmenter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def settings_of(texts: Iterable[str], *, example: str) -> dict[str, Any]:
    """Return ``KEY=VALUE`` texts as settings; values are read as YAML.

    Parameters
    ----------
    texts
        What the user gave with ``--set``.
    example
        Shown where a text is of another form.
    """
    import yaml

    from naturalize.base.errors import SettingsError

    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise SettingsError(f"--set {text}: expected KEY=VALUE, such as {example}")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {text}: the value is not YAML") from error
    return found
