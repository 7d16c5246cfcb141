"""flotilla-publish: tell the stack's datastore about this machine, and see who else is there.

It runs every minute without any rights. What it has seen lies in a file from which flotilla-follow makes the packet
filter's sets and the list of peers; whatever goes wrong here, that file and with it the last good list stay.
"""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fleet.config import DATASTORE_SECRETS, ConfigError, MachineConfig, Settings
from fleet.datastore import MAX_RECORD_BYTES, MAX_RECORDS, RECORDS, Record
from fleet.datastore_s3 import Bucket, Place, StoreError
from fleet.datastore_signature import Keys
from fleet.machine import datastore_memory, manifest
from fleet.machine.address import in_network, public
from fleet.machine.datastore_view import UnbelievableError, View, look
from fleet.machine.description import load_machine
from fleet.machine.host import Clock, Host, MachineError

INSTANCE: Final = "/run/cloud-init/instance-data.json"
MANIFEST_DIGITS: Final = 12
# Less than the unit's time, so that what was read is kept: a large fleet is read once, in several looks if need be.
READING_SECONDS: Final = 60.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def own_record(host: Host, clock: Clock, machine: MachineConfig) -> Record:
    """What this machine says about itself."""
    return Record(
        role=machine.role,
        name=own_name(host, machine),
        address=public(host, machine.network),
        private_address=in_network(host, machine.network),
        at=datetime.fromtimestamp(clock.wall(), UTC).isoformat(timespec="seconds"),
        image=manifest.read(host)["digest"][:MANIFEST_DIGITS],
        release=manifest.release(host),
    )


def own_name(host: Host, machine: MachineConfig) -> str:
    """The name that the cloud knows this machine by, unlike its slot's never another's; else the slot."""
    try:
        name = json.loads(host.read(INSTANCE) or "")["v1"]["local_hostname"]
    except (ValueError, KeyError, TypeError):
        return machine.slot
    return name if isinstance(name, str) and _NAME.fullmatch(name) else machine.slot


def publish(host: Host, clock: Clock, machine: MachineConfig, bucket: Bucket) -> View:
    """Write this machine's record, read the others'; the view is kept on disk and returned."""
    before = datastore_memory.load(host)
    own = own_record(host, clock, machine)
    known = before.members.get(own.key)
    # Equal facts keep their time, so that equal content has an equal ETag and nobody needs to read it again.
    record = known.record if known is not None and own.same_facts(known.record) else own
    bucket.put(own.key, record.to_json())
    listing = bucket.list(RECORDS, limit=MAX_RECORDS)
    end = clock.now() + READING_SECONDS

    def fetch(key: str) -> bytes:
        if clock.now() > end:
            raise StoreError(f"reading takes more than {READING_SECONDS:g} s; the next look goes on")
        return bucket.get(key, largest=MAX_RECORD_BYTES)[0]

    view = look(listing, before.members, own.key, machine.network, fetch)
    for line in view.complaints:
        if line not in before.complaints:
            _say(line)
    for line in before.complaints:
        if line not in view.complaints:
            _say(f"no longer so: {line}")
    datastore_memory.save(host, view)
    return view


def _say(text: str) -> None:
    print(f"flotilla-publish: {text}", file=sys.stderr)


def main() -> int:
    host = Host()
    try:
        given = Path(os.environ["CREDENTIALS_DIRECTORY"])
        settings = Settings.from_json((given / "settings.json").read_bytes()).datastore
        if settings is None:
            raise MachineError("the bundle names no datastore")
        access, secret = ((given / name).read_text() for name in DATASTORE_SECRETS)
        place = Place(settings.endpoint, settings.bucket, settings.region)
        with Bucket(place, Keys(access, secret)) as bucket:
            publish(host, Clock(), load_machine(host), bucket)
    except KeyError as error:
        _say(f"{error} is not set; it is started by flotilla-publish.service")
        return 1
    except (ConfigError, MachineError, OSError, StoreError, UnbelievableError) as error:
        _say(f"the last good list of machines stays: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
