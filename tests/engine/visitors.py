"""What visitors of a simulated fleet would have met, moment by moment, by what the clouds and the machines logged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleet.digitalocean import public_address
from tests.engine.local_cloud import Request
from tests.engine.site import Site, now

_RECORD = re.compile(r"/client/v4/zones/\w+/dns_records(?:/(\w+))?")
_DROPLET = re.compile(r"/v2/droplets/(\d+)")


@dataclass(slots=True)
class Visitors:
    """Looks back over everything since it was made; until then the site was whole."""

    site: Site
    unanswered_done: bool = True  # whether the clouds did what they gave no answer to
    began: float = field(default_factory=now)
    _records: Mapping[str, str] = field(init=False)  # address by the record's id
    _addresses: dict[str, str] = field(default_factory=dict)  # of droplets, by id and by name
    _passed: set[str] = field(init=False)  # addresses of machines that had passed their gate before

    def __post_init__(self) -> None:
        self._records = {
            number: address for address, number in self.site.cloud.records(self.site.domain).items()
        }
        self._passed = set(self._records.values())
        self.meet()

    def meet(self) -> None:
        """Learn the addresses of the machines that are there now. To be called before they may be gone."""
        for name, droplet in self.site.droplets().items():
            self._addresses[name] = self._addresses[str(droplet["id"])] = public_address(droplet)

    def check_served(self) -> None:
        """At every moment there was a record, and every record named a machine that was there and had passed its
        gate."""
        self.meet()
        told, passed, gone = dict(self._records), set(self._passed), set[str]()
        for _, what, subject, address in sorted(self._events()):
            if what == "passed":
                passed.add(address)
            elif what == "gone":
                gone.add(address)
            elif what == "unrecorded":
                del told[subject]
            else:
                told[subject] = address
            assert told, f"no record at all after {what} {subject}"
            wrong = {told_address for told_address in told.values() if told_address not in passed - gone}
            assert not wrong, (
                f"after {what} {subject or address} records name {wrong}; passed: {passed - gone}"
            )

    def _events(self) -> Iterator[tuple[float, str, str, str]]:
        """When, what, which record, which address."""
        for ran in self.site.cloud.commands(self.began):
            if "flotilla-gate" in ran.command and ran.exit == 0 and ran.name in self._addresses:
                yield ran.at, "passed", "", self._addresses[ran.name]
        for request in self.site.cloud.changes(self.began):
            done = self.unanswered_done if request.status is None else request.status < 300
            if done:
                yield from self._change(request)

    def _change(self, request: Request) -> Iterator[tuple[float, str, str, str]]:
        if record := _RECORD.fullmatch(request.path):
            # A record that is made is known by its content until somebody names its id, which nobody does here.
            subject = record[1] or f"new {request.body['content']}"
            if request.method == "DELETE":
                yield request.at, "unrecorded", subject, ""
            else:
                yield request.at, "recorded", subject, request.body["content"]
        droplet = _DROPLET.fullmatch(request.path)
        if droplet and request.method == "DELETE" and droplet[1] in self._addresses:
            yield request.at, "gone", "", self._addresses[droplet[1]]
