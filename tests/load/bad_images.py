"""Web images that must never get a visitor."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from tests.live_stack import LiveStack
from tests.load.visitors import lay_site

_SECONDS: Final = 60.0
_SITE: Final = "/opt/flotilla/app/visits/__init__.py"
_PER_BOOT: Final = "/var/lib/cloud/scripts/per-boot/10-broken"

# By what is wrong: how a good image is spoiled after its bake, and what the update must say of it.
SPOILED: Final = {
    "manifest": (f"echo '# changed by hand' >> {_SITE}", "FAIL manifest"),
    "package": ("dpkg --remove --force-depends python3-pymysql", "FAIL packages"),
    "cloud-init": (
        f"printf '#!/bin/sh\\nexit 1\\n' > {_PER_BOOT} && chmod 755 {_PER_BOOT}",
        "cloud-init",
    ),
}


def bake(stack: LiveStack, variant: str) -> str:
    """Bake a variant of the load generator's site; its image, which the config now names."""
    lay_site(stack, variant)
    stack.fleet("bake", "web", "--stack", stack.name)
    return stack.setting("web.image")


def spoil(stack: LiveStack, good: str, name: str, command: str) -> str:
    """A copy of an image with a command run on it; its name."""
    api = stack.sandbox.api
    [image] = [entry for entry in api("GET", "images?private=true")["images"] if entry["name"] == good]
    order = {"name": name, "region": "lon1", "size": "s-1vcpu-1gb", "image": image["id"]}
    number = api("POST", "droplets", {**order, "user_data": "#cloud-config\n"})["droplet"]["id"]
    try:
        booted(stack, number)
        asyncio.run(stack.sandbox.inside.run(number, command))
        _act(stack, number, {"type": "power_off"})
        _act(stack, number, {"type": "snapshot", "name": name})
    finally:
        api("DELETE", f"droplets/{number}")
    return name


def booted(stack: LiveStack, number: int) -> None:
    """Wait until cloud-init is done on a droplet."""
    inside, deadline = stack.sandbox.inside, time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            code, _ = asyncio.run(inside.attempt(number, "cloud-init status --wait"))
        except (FileNotFoundError, IndexError):
            code = 1
        # Warnings, such as of user data that say nothing, are code 2.
        if code in (0, 2):
            return
        time.sleep(0.2)
    raise AssertionError(f"droplet {number} does not boot: cloud-init status ended with {code}")


def _act(stack: LiveStack, number: int, body: dict[str, Any]) -> None:
    action = stack.sandbox.api("POST", f"droplets/{number}/actions", body)["action"]["id"]
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        status = stack.sandbox.api("GET", f"actions/{action}")["action"]["status"]
        if status == "completed":
            return
        assert status == "in-progress", f"{body['type']} of droplet {number} ended as {status}"
        time.sleep(0.2)
    raise AssertionError(f"{body['type']} of droplet {number} does not end")
