"""The image store: an image is a stack of read-only layers, lowest first.

Distribution images are one layer each, in the cache that all sandboxes of a user share. A snapshot adds the
machine's own layer, kept in the sandbox's home, to the layers the machine was made from.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines import base_image, database_image
from sandbox.machines.port import MachineError

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Mount options are one page of text; layers beyond this many characters do not fit.
# https://man7.org/linux/man-pages/man2/mount.2.html
_OPTION_CHARACTERS = 3500


@dataclass(frozen=True, slots=True)
class Image:
    """A bootable image."""

    layers: tuple[Path, ...]  # lowest first
    size_bytes: int


class ImageStore:
    """Images of one sandbox. Not safe for concurrent changes: the driver takes turns."""

    def __init__(self, home: Path, cache: Path) -> None:
        self._home = home
        self._manifests = home / "images"
        self._layers = home / "layers"
        self._cache = cache

    def available(self) -> frozenset[str]:
        own = {path.stem for path in self._manifests.glob("*.json")}
        return frozenset(own | {slug for slug in base_image.SUITES if base_image.find(self._cache, slug)})

    def get(self, key: str) -> Image:
        """Raises MachineError for an image that is not here."""
        if key == database_image.KEY and (database := database_image.find(self._cache)):
            return Image(database.layers, database.size_bytes)
        if key in base_image.SUITES and (base := base_image.find(self._cache, key)):
            return Image((base.root,), base.size_bytes)
        manifest = self._manifest(key)
        if not manifest.is_file():
            build = (
                f"; build it: python -m sandbox.machines build-image {key}"
                if key in base_image.SUITES
                else ""
            )
            raise MachineError(f"image {key!r} is not in the store{build}")
        facts = json.loads(manifest.read_text())
        return Image(tuple(Path(layer) for layer in facts["layers"]), facts["size_bytes"])

    def claim(self, image: Image) -> None:
        """Keep what it has of the cache there as long as this sandbox has disks on it."""
        for layer in image.layers:
            if self._cache in layer.parents:
                base_image.claim(layer, self._home)

    def new_layer(self, key: str) -> Path:
        """Where to copy the layer of an image to be; it does not exist, and counts only after `add`."""
        self._manifest(key)
        self._layers.mkdir(parents=True, exist_ok=True)
        place = self._layers / f".new-{key}"
        if place.exists():
            shutil.rmtree(place)
        return place

    def add(self, key: str, below: Image, layer: Path) -> Image:
        """Record an image made of another one and a finished layer from `new_layer`."""
        manifest = self._manifest(key)
        if manifest.exists():
            raise MachineError(f"image {key!r} is in the store already")
        final = self._layers / f"{key}-{os.urandom(4).hex()}"
        layer.rename(final)
        image = Image((*below.layers, final), below.size_bytes + base_image.disk_usage(final))
        self._manifests.mkdir(parents=True, exist_ok=True)
        draft = manifest.with_suffix(".new")
        facts = {"layers": [str(path) for path in image.layers], "size_bytes": image.size_bytes}
        draft.write_text(json.dumps(facts, indent=2) + "\n")
        draft.rename(manifest)
        return image

    def delete(self, key: str) -> None:
        """Forget an image; layers that others stand on stay until `collect` finds nobody on them."""
        self._manifest(key).unlink(missing_ok=True)

    def collect(self, in_use: Iterable[Path]) -> None:
        """Remove layers that no image and none of those in use needs, and half-made ones."""
        kept = set(in_use)
        for manifest in self._manifests.glob("*.json"):
            kept.update(Path(layer) for layer in json.loads(manifest.read_text())["layers"])
        if self._layers.is_dir():
            for layer in self._layers.iterdir():
                if layer not in kept:
                    shutil.rmtree(layer)

    def _manifest(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise MachineError(f"image key {key!r}: letters, digits, '.', '_' and '-' only")
        return self._manifests / f"{key}.json"


def lowerdir(layers: tuple[Path, ...]) -> str:
    """The layers as overlayfs wants them: topmost first, colons between."""
    for layer in layers:
        if re.search(r"[:,\\\s]", str(layer)):
            raise MachineError(f"{layer}: a disk cannot be mounted from a path with ':', ',', '\\' or blanks")
    text = ":".join(str(layer) for layer in reversed(layers))
    if len(text) > _OPTION_CHARACTERS:
        raise MachineError(
            f"this image is a snapshot of snapshots, {len(layers)} deep; bake it anew from a distribution image"
        )
    return text
