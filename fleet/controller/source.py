"""Where the controller finds what it was told: two files, which systemd hands it as credentials.

Whoever starts it by hand, as root on the node, finds the secrets sealed there: fleet/machine/autoscaler.py
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS
from fleet.controller.config import ControllerConfig, ControllerSecrets
from fleet.controller.world import World
from fleet.errors import FleetError
from fleet.machine.autoscaler import SEALED
from fleet.reading import ConfigError

Say = Callable[[str], None]


@dataclass
class Source:
    """Reads both files again whenever one has changed; what cannot be read leaves the last good ones in force."""

    directory: Path
    state: Path
    say: Say
    _stamp: tuple[tuple[int, int], ...] = ()
    _world: World | None = field(default=None, repr=False)

    def world(self) -> World:
        """Raises FleetError when there never was a config that could be read."""
        try:
            stamp = tuple(_stamp(self.directory / name) for name in (CONTROLLER_CONFIG, CONTROLLER_SECRETS))
            if self._world is None or stamp != self._stamp:
                self._stamp = stamp
                self._world = self._read()
        except (OSError, ConfigError) as error:
            if self._world is None:
                raise FleetError(
                    f"the controller's config in {self.directory} cannot be read: {error}"
                ) from error
            self.say(f"the last good config stays in force: {error}")
        return self._world

    def _read(self) -> World:
        config = ControllerConfig.from_json((self.directory / CONTROLLER_CONFIG).read_bytes())
        secrets = ControllerSecrets.from_json(_opened((self.directory / CONTROLLER_SECRETS).read_bytes()))
        return World.of(config, secrets, self.state)


def _opened(text: bytes) -> bytes:
    """Raises OSError when what is sealed cannot be opened here."""
    if not text.startswith(b"sealed in "):
        return text
    line = ["systemd-creds", "decrypt", f"--name={CONTROLLER_SECRETS}", SEALED, "-"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{SEALED} cannot be opened: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return done.stdout


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
