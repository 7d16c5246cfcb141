"""Keeps out of text what is nobody's business: values of secret variables and paths of this machine. The engine hides
what it knows to be secret; this is the second line, for what it does not."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSWORD|PASSPHRASE|ACCESS_KEY|API_KEY|PRIVATE_KEY", re.IGNORECASE)
# Shorter ones would hide words that are none.
_SHORTEST: Final = 8
HIDDEN: Final = "[secret]"


def hide(text: str, environment: Mapping[str, str]) -> str:
    """The text without the secrets of an environment, plain or as base64, longest first."""
    values = {
        form for value in _values(environment) for form in (value, base64.b64encode(value.encode()).decode())
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def without_path(text: str, directory: Path) -> str:
    """The text with paths below a directory as those in it say them; the engine cuts long values anywhere, also in
    the middle of such a path."""
    path = f"{directory}/"
    text = text.replace(path, "")
    for length in range(len(path), 1, -1):
        text = text.replace(f"{path[:length]}...", "...")
    return text


def _values(environment: Mapping[str, str]) -> set[str]:
    found = set()
    for name, value in environment.items():
        if not _NAMES.search(name):
            continue
        path = Path(value) if name.endswith("_FILE") else None
        secret = path.read_text().strip() if path is not None and path.is_file() else value.strip()
        if len(secret) >= _SHORTEST:
            found.add(secret)
    return found
