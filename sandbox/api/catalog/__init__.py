"""What the cloud sells: regions, sizes, images and database clusters, a realistic handful of the public lists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sandbox.store import Document


@dataclass(frozen=True)
class Catalog:
    """The offer by slug; `images` holds the public distribution images, `most_nodes` what a cluster may have."""

    regions: dict[str, Document]
    sizes: dict[str, Document]
    images: dict[str, Document]
    database_engines: dict[str, Document]
    database_sizes: dict[str, Document]

    def region(self, slug: str) -> Document:
        """A region as the API shows it, with the sizes it offers; KeyError for an unknown slug."""
        region = self.regions[slug]
        sizes = [name for name, size in self.sizes.items() if slug in size["regions"] and region["available"]]
        return {**region, "sizes": sizes}

    def open_regions(self) -> list[str]:
        return [slug for slug, region in self.regions.items() if region["available"]]


@cache
def load_catalog() -> Catalog:
    return Catalog(
        regions=_by_slug("regions"),
        sizes=_by_slug("sizes"),
        images=_by_slug("images"),
        database_engines=_by_slug("database_engines"),
        database_sizes=_by_slug("database_sizes"),
    )


def _by_slug(name: str) -> dict[str, Document]:
    entries = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    return {entry["slug"]: entry for entry in entries}
