"""Puts our language host where the engine looks for plugins."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

LANGUAGE_HOST = Path(__file__).resolve().parent / "bin" / "pulumi-language-python"


def install_language_host(pulumi_home: Path) -> Path:
    """Link it into the plugin cache of a pulumi home (PULUMI_HOME) and return the link.

    An engine of the official distribution prefers the host beside it; ours finds this one without the warning it
    prints for a host on PATH.
    """
    version = importlib.metadata.version("pulumi")
    link = pulumi_home / "plugins" / f"language-python-v{version}" / LANGUAGE_HOST.name
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(LANGUAGE_HOST)
    temporary.replace(link)
    return link
