"""Where this host gets Debian packages from, and the same place for another Debian release.

Nothing about mirrors is written down in this project: the host's own apt configuration decides.
Formats: https://manpages.debian.org/bookworm/apt/sources.list.5.en.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)$"
)
# What follows the code name in the suites that make up a release.
_POCKETS = ("", "-updates", "-security")
# Options that say how an archive is trusted; they hold for another suite of the same archive as well.
_KEPT_OPTIONS = ("trusted", "check-valid-until", "check-date")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One suite of one archive."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def render(self, keyring: str) -> str:
        """As a deb822 stanza, signed by that keyring."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {self.suite}"]
        lines.append(f"Components: {' '.join(self.components)}")
        lines.append(f"Signed-By: {keyring}")
        lines.extend(f"{name.title()}: {value}" for name, value in self.options if name in _KEPT_OPTIONS)
        return "\n".join(lines) + "\n"

    @property
    def trusted(self) -> bool:
        return dict(self.options).get("trusted") == "yes"


def read_sources(etc_apt: Path) -> tuple[AptSource, ...]:
    """Every enabled binary source below /etc/apt, in apt's own order of files."""
    files = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    found: list[AptSource] = []
    for file in files:
        if not file.is_file():
            continue
        if file.suffix == ".list":
            found.extend(parse_one_line(file.read_text()))
        elif file.suffix == ".sources":
            found.extend(parse_deb822(file.read_text()))
    return tuple(found)


def parse_one_line(text: str) -> Iterator[AptSource]:
    """Sources of a `.list` file; comments and source packages are skipped."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.split("#", 1)[0].strip())
        if match is None:
            continue
        pairs = (option.partition("=") for option in (match["options"] or "").split())
        options = tuple((name.lower(), value) for name, _, value in pairs)
        yield AptSource(match["uri"], match["suite"], tuple(match["components"].split()), options)


def parse_deb822(text: str) -> Iterator[AptSource]:
    """Sources of a `.sources` file, one for each pair of URI and suite."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        options = tuple(
            (name, value) for name, value in fields.items() if name in (*_KEPT_OPTIONS, "signed-by")
        )
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield AptSource(uri, suite, tuple(fields.get("components", "").split()), options)


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line[0] in " \t":
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            continue
        name, _, value = line.partition(":")
        name = name.strip().lower()
        fields[name] = value.strip()
    return fields


def for_release(sources: Iterable[AptSource], own: Sequence[str], wanted: str) -> tuple[AptSource, ...]:
    """The sources that carry the host's own release (its names in `own`), turned to another release.

    Sources of other makers are left out because they name their suites otherwise; one that copies Debian's names
    is found out later, by what its release file says it is. `-security` is asked of the archives that have it.
    """
    turned: list[AptSource] = []
    for source in sources:
        pocket = _pocket(source.suite, own)
        if (
            pocket is None
            or "main" not in source.components
            or not source.uri.startswith(("http://", "https://"))
        ):
            continue
        new = replace(source, suite=f"{wanted}{pocket}", uri=source.uri.rstrip("/"), components=("main",))
        if new not in turned:
            turned.append(new)
    return tuple(turned)


def _pocket(suite: str, own: Sequence[str]) -> str | None:
    name = suite.strip("/").replace("/updates", "-security")  # the old spelling of the security suite
    for release in own:
        if name.startswith(release) and name[len(release) :] in _POCKETS:
            return name[len(release) :]
    return None


def archive_origin(release_file: str) -> str | None:
    """What a Release file says it belongs to, such as "Debian"; None when it is no Release file."""
    match = re.search(r"^Origin:\s*(\S.*)$", release_file, re.MULTILINE)
    return match[1].strip() if match else None
