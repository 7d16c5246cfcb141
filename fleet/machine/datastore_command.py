"""flotilla-datastore: the stack's datastore from a machine, for root; credentials are opened here and nowhere else."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from fleet.config import DATASTORE_SEAL, DATASTORE_SECRETS, ConfigError, Settings
from fleet.datastore import DATABASE_CREDENTIAL
from fleet.datastore_s3 import LARGEST_OBJECT, AbsentError, Bucket, Place, StoreError
from fleet.datastore_signature import Keys
from fleet.datastore_verbs import health, refuse, rows
from fleet.machine import places
from fleet.machine.host import Host, MachineError

FIELDS: Final = ("engine", "host", "port", "name", "user", "password")


def settings_of(host: Host) -> Settings:
    """What the bundle in force says."""
    text = host.read(places.SETTINGS)
    if text is None:
        raise MachineError("this machine has no bundle yet; `pulumi up` delivers it")
    return Settings.from_json(text)


def bucket_of(host: Host) -> Bucket:
    """The datastore that the bundle in force names."""
    place = settings_of(host).datastore
    if place is None:
        raise MachineError("this stack has no datastore; `flotilla:datastore: {}` in its config makes one")
    access, secret = (_secret(host, name) for name in DATASTORE_SECRETS)
    return Bucket(Place(place.endpoint, place.bucket, place.region), Keys(access, secret))


def put_credential(host: Host, bucket: Bucket) -> str:
    """Seal what this machine opens its database with, and lay it in the datastore when it does not lie there yet."""
    from fleet.machine.datastore_seal import seal

    database = settings_of(host).database
    if database is None:
        raise MachineError("this machine's bundle has no database")
    known = {**asdict(database), "password": _secret(host, "database-password")}
    wanted = {field: known[field] for field in FIELDS}
    what = f"{DATABASE_CREDENTIAL}: user {database.user} at {database.host}, sealed"
    with suppress(MachineError):  # none, or none that opens: that is what this is for
        if json.loads(get_credential(host, bucket, None)) == wanted:
            return f"{what} already"
    text = json.dumps(wanted).encode()
    bucket.put(DATABASE_CREDENTIAL, seal(_secret(host, DATASTORE_SEAL), DATABASE_CREDENTIAL, text))
    return what


def get_credential(host: Host, bucket: Bucket, field: str | None) -> str:
    """The database's credential, or one field of it."""
    from fleet.machine.datastore_seal import open_sealed

    try:
        sealed, _ = bucket.get(DATABASE_CREDENTIAL)
    except AbsentError:
        raise MachineError(
            f"there is no {DATABASE_CREDENTIAL}; `fleet datastore put-db-credential` lays it"
        ) from None
    known = json.loads(open_sealed(_secret(host, DATASTORE_SEAL), DATABASE_CREDENTIAL, sealed))
    return str(known[field]) if field else json.dumps(known, indent=1)


def _secret(host: Host, name: str) -> str:
    text = host.read(f"{places.SECRETS}/{name}")
    if text is None:
        raise MachineError(f"this machine's bundle has no secret {name}")
    return text


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="flotilla-datastore", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="is the store well; with KEY: is there such an object")
    check.add_argument("key", nargs="?", default="")
    listing = verbs.add_parser("list", help="keys, sizes and ages")
    listing.add_argument("prefix", nargs="?", default="")
    for verb, words in (("get", "content to standard output"), ("delete", "its versions are kept")):
        verbs.add_parser(verb, help=words).add_argument("key")
    put = verbs.add_parser("put", help="content from standard input")
    put.add_argument("key")
    put.add_argument("--if-absent", action="store_true", help="fail when it is there")
    put.add_argument("--if-match", default="", metavar="ETAG", help="fail when it is another by now")
    credential = verbs.add_parser("get-db-credential", help="open the database's credential")
    credential.add_argument("--field", choices=FIELDS)
    verbs.add_parser("put-db-credential", help="seal this machine's own database credential")
    return parser.parse_args()


def run(host: Host, bucket: Bucket, given: argparse.Namespace) -> int:
    """Do what was asked; the exit code."""
    match given.verb:
        case "check" if given.key:
            return 0 if bucket.exists(given.key) else 1
        case "check":
            found = health(bucket)
            print("\n".join(found.lines()))
            return 0 if found.well else 1
        case "list":
            print("\n".join(str(row) for row in rows(bucket, given.prefix)))
        case "get":
            sys.stdout.buffer.write(bucket.get(given.key)[0])
        case "put":
            body = sys.stdin.buffer.read(LARGEST_OBJECT + 1)
            if len(body) > LARGEST_OBJECT:
                raise ConfigError(f"the content is larger than {LARGEST_OBJECT} bytes")
            refuse(given.key, body)
            print(bucket.put(given.key, body, if_absent=given.if_absent, if_match=given.if_match))
        case "delete":
            bucket.delete(given.key)
        case "get-db-credential":
            print(get_credential(host, bucket, given.field))
        case "put-db-credential":
            print(put_credential(host, bucket))
    return 0


def main() -> int:
    host, given = Host(), _arguments()
    try:
        with bucket_of(host) as bucket:
            return run(host, bucket, given)
    except (ConfigError, MachineError, OSError, StoreError) as error:
        print(f"flotilla-datastore: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
