"""The directory of one machine: disk, seed, console, and the record of what the disk was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines.images import Image
from sandbox.machines.port import MachineError
from sandbox.machines.volumes import Plugged

# A console that has grown beyond this starts anew at the next power-on.
_CONSOLE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Disk:
    """What a machine's disk is a difference to, and how many disks the machine had."""

    image: Image
    incarnation: int


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """Paths of a machine; nothing here is shared with another one."""

    directory: Path

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def devices(self) -> Path:
        return self.directory / "devices"

    @property
    def seed(self) -> Path:
        return self.directory / "seed"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def _record(self) -> Path:
        return self.directory / "disk.json"

    def disk(self) -> Disk | None:
        """None before the disk was laid completely."""
        try:
            facts = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        layers = tuple(Path(layer) for layer in facts["layers"])
        return Disk(Image(layers, facts["size_bytes"]), facts["incarnation"])

    def lay_disk(self, image: Image) -> None:
        """An empty difference to that image in place of whatever was there, as the next incarnation."""
        before = self.disk()
        incarnation = before.incarnation + 1 if before else 1
        for place in (self.upper, self.directory / "work"):
            if place.exists():
                shutil.rmtree(place)
            place.mkdir(parents=True, mode=0o755)
            place.chmod(0o755)
        facts = {
            "layers": [str(layer) for layer in image.layers],
            "size_bytes": image.size_bytes,
            "incarnation": incarnation,
        }
        draft = self._record.with_suffix(".new")
        draft.write_text(json.dumps(facts, indent=2) + "\n")
        draft.rename(self._record)

    def write_seed(self, files: Mapping[str, str]) -> None:
        """Replace the seed; it holds the machine's host key, so only root reads it."""
        self.seed.mkdir(exist_ok=True, mode=0o700)
        for name, text in files.items():
            file = self.seed / name
            file.touch(mode=0o600)
            file.write_text(text)

    def volumes(self) -> tuple[Plugged, ...]:
        """The volumes whose devices the machine has, by the list its runner reads at power-on."""
        try:
            lines = (self.directory / "volumes").read_text().splitlines()
        except FileNotFoundError:
            return ()
        fields = (line.split(" ") for line in lines)
        return tuple(Plugged(volume, int(major), int(minor), name) for major, minor, name, volume in fields)

    def write_volumes(self, plugged: Iterable[Plugged]) -> None:
        lines = [f"{one.major} {one.minor} {one.name} {one.volume}\n" for one in plugged]
        draft = self.directory / "volumes.new"
        draft.write_text("".join(lines))
        draft.rename(self.directory / "volumes")

    def prepare_console(self) -> None:
        if self.console.exists() and self.console.stat().st_size > _CONSOLE_BYTES:
            self.console.unlink()
        self.console.touch(mode=0o600)

    def last_words(self, lines: int = 8) -> str:
        """The end of the console, to tell why a boot failed."""
        if not self.console.exists():
            return "(no console)"
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])

    def require_disk(self) -> Disk:
        disk = self.disk()
        if disk is None:
            raise MachineError(f"machine {self.directory.name} has no disk; create it first")
        return disk
