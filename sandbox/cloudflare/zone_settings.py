"""Zone settings: which exist, what they may be, and which of them this edge acts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.cloudflare.clock import timestamp
from sandbox.cloudflare.envelope import ApiError
from sandbox.store import Document, Store

KIND = "cf_setting"
_SWITCH = ("off", "on")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting's default and its values; without effect on the local edge it may not leave its default."""

    default: Any
    values: tuple[Any, ...]
    effective: bool = True


# Names, values and defaults: https://developers.cloudflare.com/api/resources/zones/subresources/settings/
CATALOGUE: dict[str, Setting] = {
    "always_use_https": Setting("off", _SWITCH),
    "http2": Setting("on", _SWITCH),
    "min_tls_version": Setting("1.0", ("1.0", "1.1", "1.2", "1.3")),
    "ssl": Setting("full", ("off", "flexible", "full", "strict")),
    "tls_1_3": Setting("on", _SWITCH),
    # Global authenticated origin pulls, with the certificate that all of Cloudflare's customers share.
    "tls_client_auth": Setting("off", _SWITCH),
    "0rtt": Setting("off", _SWITCH, effective=False),
    "always_online": Setting("off", _SWITCH, effective=False),
    "automatic_https_rewrites": Setting("off", _SWITCH, effective=False),
    "brotli": Setting("off", _SWITCH, effective=False),
    "browser_check": Setting("off", _SWITCH, effective=False),
    "development_mode": Setting("off", _SWITCH, effective=False),
    "email_obfuscation": Setting("off", _SWITCH, effective=False),
    "http3": Setting("off", _SWITCH, effective=False),
    "ip_geolocation": Setting("off", _SWITCH, effective=False),
    "ipv6": Setting("off", _SWITCH, effective=False),
    "opportunistic_encryption": Setting("off", _SWITCH, effective=False),
    "rocket_loader": Setting("off", _SWITCH, effective=False),
    "security_level": Setting("medium", ("essentially_off", "low", "medium", "high"), effective=False),
    "websockets": Setting("on", _SWITCH, effective=False),
}


def read(store: Store, zone: str, name: str) -> Document:
    """One setting as the API shows it; ApiError when Cloudflare has none of that name."""
    setting = _known(name)
    stored = store.get(KIND, f"{zone}/{name}")
    value, modified = (stored["value"], stored["modified_on"]) if stored else (setting.default, None)
    return {"id": name, "value": value, "modified_on": modified, "editable": setting.effective}


def read_all(store: Store, zone: str) -> list[Document]:
    return [read(store, zone, name) for name in sorted(CATALOGUE)]


def change(store: Store, zone: str, name: str, value: Any) -> Document:
    """Set one setting. A value the edge could not honour is refused, never silently taken."""
    setting = _known(name)
    if not isinstance(value, str) or value not in setting.values:
        raise ApiError(400, 1007, f"Invalid value for zone setting {name}")
    if not setting.effective and value != setting.default:
        raise ApiError(400, 1057, f"{name} cannot be modified for this zone")
    modified = timestamp()
    document = {"zone": zone, "name": name, "value": value, "modified_on": modified}
    store.put(KIND, f"{zone}/{name}", document)
    return read(store, zone, name)


def _known(name: str) -> Setting:
    if name not in CATALOGUE:
        raise ApiError(400, 1006, f"Unrecognized zone setting name: {name}")
    return CATALOGUE[name]
