"""What a bundle means for the autoscaler node: the controller's config and secrets, and a controller that has them.

The secrets are those of the whole web tier, so they lie on disk encrypted with the machine's own key, as systemd keeps
credentials: https://www.freedesktop.org/software/systemd/man/latest/systemd-creds.html
"""

from __future__ import annotations

import hashlib
from typing import Final

from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS, Bundle, MachineConfig
from fleet.controller.config import ControllerConfig, ControllerSecrets
from fleet.machine import units
from fleet.machine.host import Clock, Host, MachineError

UNIT: Final = "flotilla-controller.service"
DOCUMENTS: Final = frozenset({f"secrets/{CONTROLLER_CONFIG}", f"secrets/{CONTROLLER_SECRETS}"})
# Where the unit takes them from.
SEALED: Final = f"/etc/flotilla/sealed/{CONTROLLER_SECRETS}"
# systemd hands a service no more: CREDENTIALS_TOTAL_SIZE_MAX, "Limits" in
# https://systemd.io/CREDENTIALS/
MOST_BYTES: Final = 1024 * 1024


class AutoscalerRole:
    """Checks what the controller is told, and starts it anew when that has changed."""

    def __init__(self, host: Host, clock: Clock, machine: MachineConfig) -> None:
        self._host = host
        self._stack = machine.stack

    def check(self, bundle: Bundle) -> None:
        """Raises ConfigError or MachineError; what the controller cannot read never comes into force."""
        config = ControllerConfig.from_json(bundle.secrets[CONTROLLER_CONFIG])
        ControllerSecrets.from_json(bundle.secrets[CONTROLLER_SECRETS])
        if config.stack != self._stack:
            raise MachineError(
                f"the controller's config is for stack {config.stack}; this machine is {self._stack}'s"
            )
        size = sum(len(bundle.secrets[name].encode()) for name in (CONTROLLER_CONFIG, CONTROLLER_SECRETS))
        if size > MOST_BYTES:
            raise MachineError(
                f"the controller's config and secrets have {size} bytes and a service is handed {MOST_BYTES} at most; "
                "give web members a baked image (`fleet bake web`), or a lower autoscaler.max"
            )

    def render(self, bundle: Bundle) -> dict[str, str]:
        """Instead of the secrets their digest, so that a change is seen."""
        digest = hashlib.sha256(bundle.secrets[CONTROLLER_SECRETS].encode()).hexdigest()
        return {f"secrets/{CONTROLLER_SECRETS}": f"sealed in {SEALED}, SHA-256 {digest}\n"}

    def before_switch(self, bundle: Bundle) -> None:
        """The secrets are sealed when they are not yet; no two sealed texts are alike, so the old one stays if it can."""
        text, name = bundle.secrets[CONTROLLER_SECRETS], f"--name={CONTROLLER_SECRETS}"
        if self._host.path(SEALED).exists():
            opened = self._host.run("systemd-creds", "decrypt", name, str(self._host.path(SEALED)), "-")
            if opened.code == 0 and opened.output == text:
                return
        sealed = self._host.must("systemd-creds", "encrypt", "--with-key=host", name, "-", "-", feed=text)
        self._host.path(SEALED).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._host.write(SEALED, sealed)

    def verify(self) -> None:
        """`check` has read all that the controller reads."""

    def apply(self, bundle: Bundle, changed: frozenset[str]) -> list[str]:
        """What runs in the controller is cut off by a restart, and taken up again by its next pass."""
        if units.active(self._host, UNIT) and not DOCUMENTS & changed:
            return ["the controller runs"]
        units.act(self._host, "restart", UNIT, timeout=90)
        return ["the controller started"]
