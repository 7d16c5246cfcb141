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
LEAVING: Final = "/run/flotilla/leaving"  # there since a drain began
LAME_DUCK: Final = "/run/flotilla/lame-duck"  # while it exists nginx closes each connection after its answer
ACCESS_LOG: Final = "/var/log/nginx/access.log"
SITE_CERTIFICATE: Final = "/etc/flotilla/nginx/site.pem"  # certificate and key as nginx's workers read them
PACKAGES: Final = "/usr/share/flotilla/packages"  # those the role needs, one a line
PEERS: Final = "/etc/flotilla/peers/peers.json"  # the members of the tier, this one included, by slot
TOLD_PEERS: Final = "/etc/flotilla/peers/told.json"  # those of them that the desk told of
ROLES: Final = "/etc/flotilla/roles"  # who may come as which role: see role_sets.py
DATASTORE_VIEW: Final = "/var/lib/flotilla-datastore/view.json"  # the last good view of the stack's machines
EDGE: Final = "/etc/flotilla/edge"  # the edge's addresses in force: see edge_set.py
FENCE: Final = "/run/flotilla/fence"
FENCE_STATUS: Final = f"{FENCE}/status.json"
FENCE_LAME_DUCK: Final = f"{FENCE}/lame-duck"  # as LAME_DUCK, for as long as the fence is closed
FENCE_RULES: Final = f"{FENCE}/closed.nft"  # included by /etc/nftables.conf
FENCE_EXCUSE: Final = f"{FENCE}/app-restarts"  # touched when flotilla-receive restarts the app
FENCE_HOLD: Final = "/var/lib/flotilla/fence/hold.json"  # there while somebody holds the fence closed
FENCE_HELD_RULES: Final = "/var/lib/flotilla/fence/closed.nft"  # as FENCE_RULES, and it survives a reboot
DATA: Final = "/srv/data"  # the database's volume
