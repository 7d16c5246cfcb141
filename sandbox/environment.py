"""The environment in which a plain `pulumi up` talks to the sandbox."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandbox.config import PROVIDERS, SandboxConfig
from sandbox.paths import SandboxPaths


def api_variables(config: SandboxConfig) -> dict[str, str]:
    """Where the clouds are, in the names their official clients read."""
    base = f"http://127.0.0.1:{config.port}"
    return {
        "DIGITALOCEAN_API_URL": base,
        "DIGITALOCEAN_TOKEN": config.token,
        "CLOUDFLARE_BASE_URL": f"{base}/client/v4",
        "CLOUDFLARE_API_TOKEN": config.cloudflare_token,
        "SPACES_ENDPOINT_URL": f"http://127.0.0.1:{config.ports['s3']}",
        "SPACES_ACCESS_KEY_ID": config.spaces_key,
        "SPACES_SECRET_ACCESS_KEY": config.spaces_secret,
    }


def exports(paths: SandboxPaths, config: SandboxConfig, engine: Path | None) -> dict[str, str]:
    """Variables for a shell. `engine`: the directory of our own `pulumi`; None when an official one is used,
    which brings its plugins and language host itself."""
    variables = api_variables(config) | {
        "PULUMI_BACKEND_URL": f"file://{paths.pulumi_state}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(paths.passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    # The interpreter's own directory, unresolved: in a virtual environment it holds `fleet` as well.
    path = [str(Path(sys.executable).parent)]
    if engine is not None:
        path = [str(engine), *path]
        # An official engine keeps its own home, where its plugins are.
        variables["PULUMI_HOME"] = str(paths.pulumi_home)
        attached = [f"{name}:{config.ports[name]}" for name in PROVIDERS]
        variables["PULUMI_DEBUG_PROVIDERS"] = ",".join(attached)
        variables["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    known = os.environ.get("PATH", "").split(":")
    variables["PATH"] = ":".join([*path, *(entry for entry in known if entry not in path)])
    return variables
