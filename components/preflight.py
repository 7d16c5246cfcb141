"""Asks the clouds at preview whether what a stack wants exists, and says all that is wrong before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pulumi

from cloudinit import release
from cloudinit.release import Release
from components import capacity, complaints, edge_ranges, naming, values
from components.capacity import Wish
from components.clouds import port
from components.contradictions import NEW_SEED, PROJECT
from components.model import Role
from components.schema import AppSettings
from components.settings import Settings

_T = TypeVar("_T")

# Where the config names images.
WEB_IMAGE = "web.image"
REST_IMAGE = "web.rollout.partial.rest"
DATABASE_IMAGE = "database.image"
AUTOSCALER_IMAGE = "autoscaler.image"

# How many of the possible values an error lists.
_LISTED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A kind of machine that the stack's config asks for."""

    role: Role
    key: str
    """Where the config names the image, such as web.image."""
    image: str
    size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootImage:
    """An image as the cloud wants it named."""

    id: str
    from_scratch: bool
    """Whether it is a distribution's, so that the first boot must do what baking does."""
    manifest: str = ""
    """How the digest of its manifest begins, which the gate demands; empty: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was looked up: an image for each role, the site if it is not in its image, and the edge's own words."""

    images: Mapping[str, BootImage]
    """By the config's key, such as web.image."""
    release: Release | None
    zone_id: str
    edge_ranges: tuple[str, ...]


def run(settings: Settings, catalogue: port.Catalogue, edge_lookups: port.EdgeLookups | None) -> Findings:
    """Look everything up. Raises pulumi.RunError with one line for each thing that is missing or unbelievable."""
    checker = _Checker(settings.cloud.region)
    images = checker.find_images(_wanted(settings), catalogue)
    zone_id, edge_ranges = checker.ask_edge(edge_lookups) if edge_lookups else ("", ())
    if edge_lookups and zone_id:
        checker.check_zone_is_free(settings, edge_lookups, zone_id)
    if not checker.problems:
        checker.check_room(settings, _wishes(settings, images), catalogue)
    scratch = any(image.from_scratch for key, image in images.items() if key in (WEB_IMAGE, REST_IMAGE))
    site = checker.read_site(settings.app) if scratch else None
    if checker.problems:
        lines = "\n".join(f"  {problem}" for problem in checker.problems)
        raise pulumi.RunError(
            f"stack {settings.stack} cannot be built as configured; nothing was changed:\n{lines}"
        )
    return Findings(images=images, release=site, zone_id=zone_id, edge_ranges=edge_ranges)


def _wanted(settings: Settings) -> Sequence[Wanted]:
    web, database, partial = settings.web, settings.self_hosted, settings.web.rollout.partial
    wanted = [Wanted(role=Role.WEB, key=WEB_IMAGE, image=web.image, size=web.size)]
    if partial:
        wanted.append(Wanted(role=Role.WEB, key=REST_IMAGE, image=partial.rest, size=web.size))
    if database:
        wanted.append(
            Wanted(role=Role.DATABASE, key=DATABASE_IMAGE, image=database.image, size=database.size)
        )
    if settings.autoscaler:
        node = settings.autoscaler
        wanted.append(Wanted(role=Role.AUTOSCALER, key=AUTOSCALER_IMAGE, image=node.image, size=node.size))
    return wanted


def _wishes(settings: Settings, images: Mapping[str, BootImage]) -> Sequence[Wish]:
    """What machine each slot is to have."""
    rollout, web, database = settings.rollout, settings.web, settings.self_hosted
    members = [
        Wish(
            slot=naming.slot(Role.WEB, number),
            image=images[WEB_IMAGE if rollout.is_new(number) else REST_IMAGE].id,
            size=web.size,
            beside=rollout.mode == "surge",
        )
        for number in range(1, rollout.count + 1)
    ]
    others = []
    if database:
        # Its volume can be attached to one machine only.
        others.append((Role.DATABASE, images[DATABASE_IMAGE], database.size))
    if settings.autoscaler:
        # Two controllers at once would not know of each other.
        others.append((Role.AUTOSCALER, images[AUTOSCALER_IMAGE], settings.autoscaler.size))
    alone = [
        Wish(slot=naming.slot(role, 1), image=image.id, size=size, beside=False)
        for role, image, size in others
    ]
    return [*members, *alone]


@dataclass(slots=True)
class _Checker:
    """Gathers problems while it looks."""

    region: str | None
    problems: list[str] = field(default_factory=list)

    def find_images(self, wanted: Sequence[Wanted], catalogue: port.Catalogue) -> Mapping[str, BootImage]:
        """The image of each key, after a look at region and sizes."""
        sizes, images = self._ask(catalogue.sizes), self._ask(catalogue.images)
        if sizes is not None and self._knows_region(sizes):
            for item in {item.role: item for item in wanted}.values():
                self._check_size(item, sizes)
        chosen = {
            item.key: self._choose_image(item, images, sizes or ()) for item in wanted if images is not None
        }
        return {key: image for key, image in chosen.items() if image is not None}

    def ask_edge(self, lookups: port.EdgeLookups) -> tuple[str, tuple[str, ...]]:
        """The edge's name for the zone, and its ranges if they can be believed."""
        zone_id, ranges = self._ask(lookups.zone_id), self._ask(lookups.ranges)
        if ranges is None:
            return "", ()
        ordered, problems = edge_ranges.checked(ranges)
        for problem in problems:
            self.problems.append(
                f"the edge's address ranges cannot be believed: {problem}; nothing is opened or closed on such an "
                "answer, so try again later"
            )
        return zone_id or "", ordered

    def check_room(self, settings: Settings, wishes: Sequence[Wish], catalogue: port.Catalogue) -> None:
        """Whether the account takes what the update makes; what is not known is said and not guessed."""
        try:
            limit, placed = catalogue.machine_limit(), catalogue.machines()
        except port.LookupFailedError as error:
            pulumi.log.warn(f"whether the account has room for this update is not known: {error}")
            return
        found = capacity.peak(limit, settings.stack, wishes, placed)
        if not found.fits:
            self.problems.append(capacity.complaint(found, settings.stack))
        elif settings.autoscaler:
            beside = len(wishes) - settings.web.count
            problem = capacity.cannot_grow(limit, settings.autoscaler.max, beside)
            self.problems += [problem] if problem else []

    def check_zone_is_free(self, settings: Settings, lookups: port.EdgeLookups, zone_id: str) -> None:
        """What the edge shows members is the whole zone's, so that the newest certificate wins over all others."""
        if settings.has_new_seed:
            return
        shown = self._ask(lambda: lookups.client_certificates(zone_id)) or ()
        authority = settings.identity.authority()
        if not all(authority.issued(certificate) for certificate in shown):
            self.problems.append(
                f"{PROJECT}:edge.zone = {complaints.shown(settings.edge.zone)}: the zone has a client certificate for "
                "authenticated origin pulls that is not this stack's, and these are zone-wide, so each stack's members "
                "would refuse the other's; give this stack a zone of its own, or delete that certificate if nobody "
                f"uses it any more, or, when it is this stack's from before a new seed, set {PROJECT}:force to "
                f"[{NEW_SEED}] for one update"
            )

    def read_site(self, app: AppSettings) -> Release | None:
        """The site's files, for machines whose image does not hold them."""
        directory = Path(app.directory)
        try:
            if app.ref is None:
                return release.from_directory(directory, app.callable)
            return release.from_git(directory, app.ref, app.callable)
        except release.ReleaseError as error:
            self.problems.append(f"{PROJECT}:app: {error}")
            return None

    def _ask(self, lookup: Callable[[], _T]) -> _T | None:
        try:
            return lookup()
        except port.LookupFailedError as error:
            self.problems.append(str(error))
            return None

    def _knows_region(self, sizes: Sequence[port.Size]) -> bool:
        known = sorted({region for size in sizes for region in size.regions})
        if self.region in known:
            return True
        self._complain("cloud.region", self.region, "the cloud has no such region", known)
        # Whether an image is there too is no question any more.
        self.region = None
        return False

    def _check_size(self, wanted: Wanted, sizes: Sequence[port.Size]) -> None:
        key = f"{wanted.role}.size"
        known = {size.slug: size for size in sizes}
        size = known.get(wanted.size)
        if size is None:
            self._complain(key, wanted.size, "the cloud has no such size", list(known))
        elif self.region not in size.regions:
            there = [other.slug for other in sizes if self.region in other.regions]
            self._complain(key, wanted.size, f"is not to be had in {self.region}", there)

    def _choose_image(
        self, wanted: Wanted, images: Sequence[port.Image], sizes: Sequence[port.Size]
    ) -> BootImage | None:
        key = wanted.key
        image = _matching(wanted.image, images)
        if image is None:
            bake = f"there is no such image; `fleet bake {wanted.role}` makes one"
            self._complain(key, wanted.image, bake, _alternatives(wanted.role, images))
            return None
        if self.region is not None and self.region not in image.regions:
            where = ", ".join(sorted(image.regions)) or "no region"
            self._complain(key, wanted.image, f"is in {where} and not in {self.region}; bake it there", ())
        disk = next((size.disk_gib for size in sizes if size.slug == wanted.size), None)
        if disk is not None and disk < image.min_disk_gib:
            too_small = (
                f"needs a disk of {image.min_disk_gib} GiB and {wanted.size} has {disk}; give a larger size"
            )
            self._complain(key, wanted.image, too_small, ())
        # By its name a distribution stays the same in the state when the cloud renews the image behind it.
        return BootImage(
            id=image.slug or image.id,
            from_scratch=image.slug is not None,
            manifest=values.manifest_of(image.name) if image.slug is None else "",
        )

    def _complain(self, key: str, value: str | None, problem: str, known: Sequence[str]) -> None:
        hint = complaints.did_you_mean(value or "", known) or "".join(_listed(known))
        self.problems.append(f"{PROJECT}:{key} = {complaints.shown(value)}: {problem}{hint}")


def _matching(name: str, images: Sequence[port.Image]) -> port.Image | None:
    """The image of this slug, number or name; of several with one name the newest."""
    named = [image for image in images if name in (image.slug, image.id)]
    named = named or [image for image in images if image.slug is None and image.name == name]
    return max(named, key=lambda image: image.created, default=None)


def _alternatives(role: Role, images: Sequence[port.Image]) -> Sequence[str]:
    """The images of a role, newest first, or else the distributions."""
    baked = [image for image in images if image.slug is None and image.name.startswith(f"{role}-")]
    if baked:
        return [image.name for image in sorted(baked, key=lambda image: image.created, reverse=True)]
    return sorted(image.slug for image in images if image.slug)


def _listed(known: Sequence[str]) -> Iterator[str]:
    if known:
        yield f" (there are: {', '.join(known[:_LISTED])}{', ...' if len(known) > _LISTED else ''})"
