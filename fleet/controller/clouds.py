"""What the controller asks of the clouds' APIs: droplets of one stack, and the records of its domain.

Nothing is tried again here, for the next pass looks at everything anew; and a list counts only when it is proven
complete, for an empty or partial answer taken as the truth would make members vanish.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Final, Protocol

import urllib3

from fleet import cloudflare, digitalocean
from fleet.cloudflare import Cloudflare
from fleet.controller.config import ControllerConfig, ControllerSecrets
from fleet.controller.model import Record, Seen
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.web_api import ApiError, Json, WebApi

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
RECORDS_PER_PAGE: Final = 1000
RECORD_TYPES: Final = ("A", "AAAA")
# 1 stands for "automatic", the only value a proxied record may have.
# https://developers.cloudflare.com/dns/manage-dns-records/reference/ttl/
AUTOMATIC_TTL: Final = 1
# As the program gives the slots' records: components/clouds/digitalocean.py
PLAIN_TTL_SECONDS: Final = 60
# https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/create/
IDENTICAL_RECORD: Final = 81058


class IncompleteError(FleetError):
    """A list that may lack entries; nothing follows from what is not in it."""


class Droplets:
    """The droplets of a stack, read complete or not at all."""

    def __init__(self, account: DigitalOcean) -> None:
        self.account = account

    def tagged(self, tag: str) -> list[Json]:
        """All droplets with a tag. Raises IncompleteError when pages and their own count disagree."""
        found: dict[int, Json] = {}
        page, told = 1, 0
        while True:
            answer = self.account.get("/v2/droplets", tag_name=tag, page=page, per_page=digitalocean.PER_PAGE)
            rows, told = _rows(answer, "droplets"), _total(answer)
            found.update({int(row["id"]): row for row in rows})
            if not ((answer.get("links") or {}).get("pages") or {}).get("next"):
                break
            page += 1
        if len(found) != told:
            raise IncompleteError(
                f"DigitalOcean tells of {told} droplets with the tag {tag} and lists {len(found)}"
            )
        return list(found.values())

    def one(self, droplet: int) -> Json | None:
        """A droplet by its id, None when there is none."""
        answer = self.account.find(f"/v2/droplets/{droplet}")
        return answer["droplet"] if answer else None

    def create(self, body: Json) -> int:
        """Ask for a droplet. When this fails it may be made all the same."""
        return int(self.account.post("/v2/droplets", body)["droplet"]["id"])

    def delete(self, droplet: int) -> None:
        self.account.delete(f"/v2/droplets/{droplet}")


class Records(Protocol):
    """The address records of a stack's domain."""

    @property
    def api(self) -> WebApi: ...

    def every(self, owners: Mapping[str, str]) -> list[Record]:
        """All that have the domain's name or belong to a slot; `owners` are slots by address, for a DNS whose
        records have no comments. Raises IncompleteError."""

    def one(self, record: str, owners: Mapping[str, str]) -> Record | None: ...
    def create(self, address: str, comment: str) -> None: ...
    def rename(self, record: str, name: str) -> None: ...
    def delete(self, record: str) -> None: ...


class CloudflareRecords:
    """Proxied records in a zone; a comment says whose they are."""

    def __init__(self, account: Cloudflare, config: ControllerConfig) -> None:
        self._account = account
        self._domain = config.domain
        self._prefix = f"flotilla {config.stack} "
        self._path = f"/zones/{config.edge.zone_id}/dns_records"

    @property
    def api(self) -> WebApi:
        return self._account.api

    def every(self, owners: Mapping[str, str]) -> list[Record]:
        found: dict[str, Json] = {}
        page, told = 1, 0
        while True:
            answer = self._account.api.call(
                "GET", self._path, query={"page": page, "per_page": RECORDS_PER_PAGE}
            )
            told = int((answer.get("result_info") or {}).get("total_count", -1))
            rows = _rows(answer, "result")
            found.update({str(row["id"]): row for row in rows})
            if not rows or len(found) >= told:
                break
            page += 1
        if len(found) != told:
            raise IncompleteError(
                f"Cloudflare tells of {told} records in the zone of {self._domain} and lists {len(found)}"
            )
        return [self._record(row) for row in found.values() if self._ours(row)]

    def one(self, record: str, owners: Mapping[str, str]) -> Record | None:
        try:
            return self._record(self._account.api.call("GET", f"{self._path}/{record}")["result"])
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, address: str, comment: str) -> None:
        body = {
            "type": _type(address),
            "name": self._domain,
            "content": address,
            "ttl": AUTOMATIC_TTL,
            "proxied": True,
            "comment": comment,
        }
        try:
            self._account.api.call("POST", self._path, body=body)
        except ApiError as error:
            # An answer was lost before, and the record was made.
            if str(IDENTICAL_RECORD) not in str(error):
                raise

    def rename(self, record: str, name: str) -> None:
        self._account.api.call("PATCH", f"{self._path}/{record}", body={"name": name})

    def delete(self, record: str) -> None:
        self._account.delete(f"{self._path}/{record}")

    def _ours(self, row: Json) -> bool:
        named = row.get("name") == self._domain or str(row.get("comment") or "").startswith(self._prefix)
        return named and row.get("type") in RECORD_TYPES

    @staticmethod
    def _record(row: Json) -> Record:
        return Record(
            id=str(row["id"]),
            name=str(row["name"]),
            content=_canonical(str(row["content"])),
            comment=str(row.get("comment") or ""),
        )


class PlainRecords:
    """Records at the cloud's own DNS, which has no comments: whose they are, their addresses tell."""

    def __init__(self, account: DigitalOcean, config: ControllerConfig) -> None:
        self._account = account
        self._zone = config.edge.zone
        self._domain = config.domain
        self._stack = config.stack
        self._path = f"/v2/domains/{self._zone}/records"

    @property
    def api(self) -> WebApi:
        return self._account.api

    def every(self, owners: Mapping[str, str]) -> list[Record]:
        found: dict[str, Json] = {}
        page, told = 1, 0
        while True:
            answer = self._account.get(self._path, page=page, per_page=digitalocean.PER_PAGE)
            rows, told = _rows(answer, "domain_records"), _total(answer)
            found.update({str(row["id"]): row for row in rows})
            if not ((answer.get("links") or {}).get("pages") or {}).get("next"):
                break
            page += 1
        if len(found) != told:
            raise IncompleteError(
                f"DigitalOcean tells of {told} records of {self._zone} and lists {len(found)}"
            )
        records = [self._record(row, owners) for row in found.values() if row.get("type") in RECORD_TYPES]
        return [record for record in records if record.name == self._domain or record.comment]

    def one(self, record: str, owners: Mapping[str, str]) -> Record | None:
        answer = self._account.find(f"{self._path}/{record}")
        return self._record(answer["domain_record"], owners) if answer else None

    def create(self, address: str, comment: str) -> None:
        name = self._relative(self._domain)
        self._account.post(
            self._path,
            {"type": _type(address), "name": name, "data": address, "ttl": PLAIN_TTL_SECONDS},
        )

    def rename(self, record: str, name: str) -> None:
        self._account.api.call("PATCH", f"{self._path}/{record}", body={"name": self._relative(name)})

    def delete(self, record: str) -> None:
        self._account.delete(f"{self._path}/{record}")

    def _relative(self, name: str) -> str:
        return name.removesuffix(self._zone).removesuffix(".") or "@"

    def _record(self, row: Json, owners: Mapping[str, str]) -> Record:
        relative = str(row["name"])
        name = self._zone if relative == "@" else f"{relative}.{self._zone}"
        address = _canonical(str(row["data"]))
        slot = owners.get(address)
        return Record(
            id=str(row["id"]),
            name=name,
            content=address,
            comment=f"flotilla {self._stack} {slot}" if slot else "",
        )


def droplets(secrets: ControllerSecrets, url: str | None = None) -> Droplets:
    """The cloud's account; DIGITALOCEAN_API_URL points it elsewhere, as it does for Pulumi's provider."""
    url = url or os.environ.get("DIGITALOCEAN_API_URL") or digitalocean.DEFAULT_URL
    return Droplets(DigitalOcean(_impatient(DigitalOcean.at(url, secrets.cloud_token).api)))


def records(
    config: ControllerConfig, secrets: ControllerSecrets, edge: str | None = None, cloud: str | None = None
) -> Records:
    """Who tells visitors where the members are; CLOUDFLARE_BASE_URL points Cloudflare elsewhere."""
    if config.edge.kind == "none":
        return PlainRecords(droplets(secrets, cloud).account, config)
    url = edge or os.environ.get("CLOUDFLARE_BASE_URL") or cloudflare.DEFAULT_URL
    return CloudflareRecords(Cloudflare(_impatient(Cloudflare.at(url, secrets.edge_token).api)), config)


def seen(droplet: Json) -> Seen:
    """A droplet of a list as decisions know it."""
    image = droplet.get("image") or {}
    networks = droplet.get("networks") or {}
    return Seen(
        id=int(droplet["id"]),
        name=str(droplet["name"]),
        status=str(droplet["status"]),
        tags=frozenset(str(tag) for tag in droplet.get("tags") or ()),
        images=frozenset(str(image[key]) for key in ("id", "name", "slug") if image.get(key)),
        address=_address(networks.get("v4"), "public"),
        address6=_address(networks.get("v6"), "public"),
        private_address=_address(networks.get("v4"), "private"),
        locked=bool(droplet.get("locked")),
    )


def _address(cards: list[Json] | None, kind: str) -> str | None:
    found = next((str(card["ip_address"]) for card in cards or () if card.get("type") == kind), None)
    return _canonical(found) if found else None


def _canonical(address: str) -> str:
    """Clouds do not all write IPv6 addresses in the same way."""
    return str(ipaddress.ip_address(address))


def _impatient(api: WebApi) -> WebApi:
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), maxsize=8)
    return WebApi(api.name, api.url, api.token, api.message, api.variables, again=False, pool=pool)


def _rows(answer: Json, key: str) -> list[Json]:
    rows = answer.get(key)
    if not isinstance(rows, list):
        raise IncompleteError(f"the answer to a list has no {key}")
    return rows


def _total(answer: Json) -> int:
    """How many entries a list of DigitalOcean says it has; -1 when it does not say."""
    total = (answer.get("meta") or {}).get("total")
    return int(total) if isinstance(total, int) else -1


def _type(address: str) -> str:
    """RFC 1035 and RFC 3596."""
    return "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
