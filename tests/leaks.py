"""Finding secrets where they must not be, in whatever form they travelled: raw, base64, URL form, hex, gzip."""

from __future__ import annotations

import base64
import re
import subprocess
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fleet.identity import Identity, SshKeyPair

_GZIP = b"\x1f\x8b\x08"
_GZIP_IN_BASE64 = re.compile(rb"H4sI[A-Za-z0-9+/_-]{16,}={0,2}")
# What base64 is broken into lines by: real line ends, and those that JSON writes.
_LINE_ENDS = re.compile(rb"\s+|\\[nr]")
_UNPACKED_BYTES = 64 << 20
_NESTED = 4


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secrets by name, each as fragments that are told to nobody and are long enough to occur by no accident."""

    fragments: Mapping[str, tuple[bytes, ...]]
    _needles: dict[str, tuple[bytes, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, fragments in self.fragments.items():
            forms = (form for fragment in fragments for form in _forms(fragment))
            self._needles[name] = tuple(dict.fromkeys(forms))

    @classmethod
    def of(
        cls,
        seed: str,
        slots: Collection[str],
        certificates: Collection[str],
        passwords: Collection[str],
        rotations: Collection[int] = (),
    ) -> Secrets:
        """Everything secret of a stack, from its seed. `rotations`: those of the certificates at the edge."""
        own = Identity.from_seed(seed)
        ssh = {"deploy key": own.deploy_key()} | {f"host key {slot}": own.host_key(slot) for slot in slots}
        tls = {f"TLS key {name}": own.certificate(name).private_key_pem for name in certificates}
        for number in rotations:
            tls[f"members' key {number}"] = own.origin_request("any.example", number).private_key_pem
            tls[f"edge's key {number}"] = own.certificate(f"edge/{number}", client=True).private_key_pem
        fragments: dict[str, tuple[bytes, ...]] = {name: _of_ssh(key) for name, key in ssh.items()}
        fragments |= {name: _of_pem(pem) for name, pem in tls.items()}
        fragments["authority's key"] = _of_key(own.authority()._key)
        fragments["seed"] = (seed.encode(), base64.b64decode(seed))
        fragments |= {f"password {purpose}": (own.password(purpose).encode(),) for purpose in passwords}
        return cls(fragments)

    def found_in(self, data: bytes) -> frozenset[str]:
        """Names of the secrets that occur in it in any form."""
        texts = list(_unpacked(data))
        return frozenset(
            name
            for name, needles in self._needles.items()
            if any(needle in text for text in texts for needle in needles)
        )

    def found_in_files(self, directory: Path) -> dict[str, frozenset[str]]:
        """The same for each file below a directory of hundreds of megabytes; only those with findings."""
        needles = b"\n".join(
            needle for needles in self._needles.values() for needle in needles if b"\n" not in needle
        )
        options = ("--recursive", "--files-with-matches", "--null", "--text", "--fixed-strings")
        search = subprocess.run(
            ["grep", *options, "--devices=skip", "--file=-", "--", str(directory)],
            input=needles,
            capture_output=True,
            env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
        assert search.returncode in (0, 1), search.stderr.decode()
        suspects = {Path(name.decode()) for name in search.stdout.split(b"\0") if name}
        suspects |= {path for path in directory.rglob("*.gz") if path.is_file() and not path.is_symlink()}
        found = {str(path.relative_to(directory)): self.found_in(path.read_bytes()) for path in suspects}
        return {path: names for path, names in found.items() if names}


def _of_ssh(pair: SshKeyPair) -> tuple[bytes, ...]:
    key = serialization.load_ssh_private_key(pair.private_openssh.encode(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return _in_pem(pair.private_openssh, key.private_bytes_raw())


def _of_pem(pem: str) -> tuple[bytes, ...]:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return _in_pem(pem, key.private_numbers().private_value.to_bytes(32))


def _of_key(key: ec.EllipticCurvePrivateKey) -> tuple[bytes, ...]:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return _of_pem(key.private_bytes(encoding, form, serialization.NoEncryption()).decode())


def _in_pem(pem: str, private: bytes) -> tuple[bytes, ...]:
    """The private bytes, and the lines of the text that hold them; other lines may be public."""
    _, *lines, _ = pem.strip().splitlines()
    width = len(lines[0])
    start = base64.b64decode("".join(lines)).index(private) * 4 // 3
    first, last = start // width, (start + len(private) * 4 // 3) // width
    return (private, *(line.encode() for line in lines[first : last + 1]))


def _forms(fragment: bytes) -> Iterator[bytes]:
    """How a fragment looks raw and inside of encodings."""
    yield fragment
    yield fragment.hex().encode()
    quoted = quote(fragment, safe="").encode()
    yield quoted
    yield re.sub(rb"%..", lambda escape: escape[0].lower(), quoted)
    for before in range(3):
        # In base64 a text looks different at each place modulo 3; what the neighbours influence is cut off.
        encoded = base64.b64encode(b"\0" * before + fragment)
        inner = encoded[(0, 2, 3)[before] : len(encoded) // 4 * 4 - 4]
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def _unpacked(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The data itself, without its line ends, and whatever it holds in gzip, again in the same way."""
    joined = _LINE_ENDS.sub(b"", data)
    yield data
    yield joined
    if depth == _NESTED:
        return
    for start in (match.start() for match in re.finditer(re.escape(_GZIP), data)):
        yield from _gunzipped(data[start:], depth)
    for match in _GZIP_IN_BASE64.finditer(joined):
        text = match[0].replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        yield from _gunzipped(base64.b64decode(text[: len(text) // 4 * 4]), depth)


def _gunzipped(data: bytes, depth: int) -> Iterator[bytes]:
    """As much as can be unpacked; what only looks like gzip gives nothing."""
    try:
        content = zlib.decompressobj(wbits=31).decompress(data, _UNPACKED_BYTES)
    except zlib.error:
        return
    if content:
        yield from _unpacked(content, depth + 1)
