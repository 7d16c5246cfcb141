"""The last good view of the stack's machines, as a file: written without rights, read again by root, checked by both."""

from __future__ import annotations

import json
from typing import Final

from fleet.config import ConfigError
from fleet.datastore import Record, RecordError
from fleet.machine import places
from fleet.machine.datastore_view import Known, View
from fleet.machine.host import Host
from fleet.reading import decode_object

VERSION: Final = 1
NOTHING: Final = View({})


def save(host: Host, view: View) -> None:
    document = {
        "version": VERSION,
        "members": {
            key: {"etag": known.etag, "record": json.loads(known.record.to_json())}
            for key, known in sorted(view.members.items())
        },
        "complaints": list(view.complaints),
    }
    host.write(places.DATASTORE_VIEW, json.dumps(document, indent=1) + "\n", 0o644)


def load(host: Host) -> View:
    """The view; nothing when there is none yet, or none that can be read."""
    try:
        text = host.read(places.DATASTORE_VIEW)
        if text is None:
            return NOTHING
        document = decode_object("view.json", text)
        if document["version"] != VERSION:
            return NOTHING
        members = {
            str(key): Known(
                str(entry["etag"]), Record.from_json(str(key), json.dumps(entry["record"]).encode())
            )
            for key, entry in document["members"].items()
        }
        return View(members, tuple(str(line) for line in document["complaints"]))
    except (ConfigError, RecordError, KeyError, TypeError, AttributeError, ValueError):
        return NOTHING
