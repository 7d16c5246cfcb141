"""Where things are on a machine."""

from typing import Final

MACHINE: Final = "/etc/flotilla/machine.json"
BUNDLES: Final = "/etc/flotilla/bundles"
CURRENT: Final = "/etc/flotilla/current"  # symbolic link to the bundle in force; switching it is the commit
APPLIED: Final = "/etc/flotilla/applied"  # name of the bundle that the services follow
SETTINGS: Final = f"{CURRENT}/settings.json"
SECRETS: Final = f"{CURRENT}/secrets"
TLS: Final = "/etc/flotilla/tls"  # the certificate made here when the bundle gives none
MANIFEST: Final = "/usr/share/flotilla/manifest.json"
RELEASE: Final = "/opt/flotilla/release.env"
GATE: Final = "/var/lib/flotilla/gate.json"
LAME_DUCK: Final = "/run/flotilla/lame-duck"  # while it exists nginx closes each connection after its answer
ACCESS_LOG: Final = "/var/log/nginx/access.log"
DATA: Final = "/srv/data"  # the database's volume
