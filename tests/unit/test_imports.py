"""The arrows of the architecture: who may import whom. Parsed from the sources, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRODUCT = ("components", "cloudinit", "fleet", "app", "policy")
# Each provider SDK is known by exactly one module.
SDKS = {
    "pulumi_digitalocean": "components.clouds.digitalocean",
    "pulumi_cloudflare": "components.clouds.cloudflare",
    "pulumi_command": "components.commands",
}
# What components may use of the machines' and the desk's side: schemas and pure functions, no I/O.
FLEET_FOR_COMPONENTS = (
    "fleet.identity",
    "fleet.config",
    "fleet.commands",
    "fleet.datastore",
    "fleet.controller.config",
    "fleet.controller.model",
    "fleet.controller.schedule",
)
# Machines have no packages but Debian's.
MACHINE_PROGRAMS = (
    "fleet.machine",
    "fleet.config",
    "fleet.reading",
    "fleet.controller.config",
    "fleet.datastore",
    "fleet.datastore_s3",
    "fleet.datastore_signature",
    "fleet.datastore_verbs",
    "fleet.datastore_xml",
)
# Debian's python3-cryptography, which members have for their database's client.
OPENS_CREDENTIALS = "fleet.machine.datastore_seal"


@dataclass(frozen=True, slots=True)
class Import:
    """One module imported by another."""

    importer: str
    imported: str
    top_level: bool

    def __str__(self) -> str:
        return f"{self.importer} -> {self.imported}"


def sources() -> list[Path]:
    packages = (*PRODUCT, "sandbox", "toolchain", "review", "demo")
    return [
        ROOT / "__main__.py",
        *(path for package in packages for path in sorted((ROOT / package).rglob("*.py"))),
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    tree = ast.parse(path.read_text(), filename=str(path))
    top_level = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = list(_from(node, importer, is_package=path.name == "__init__.py"))
        else:
            continue
        yield from (Import(importer, name, node in top_level) for name in names)


def _from(node: ast.ImportFrom, importer: str, *, is_package: bool) -> Iterator[str]:
    """Modules of a `from X import a, b`: X.a where that is a module of ours, else X."""
    base = node.module or ""
    if node.level:
        parents = importer.split(".")
        keep = len(parents) - node.level + (1 if is_package else 0)
        base = ".".join([*parents[:keep], *([base] if base else [])])
    for alias in node.names:
        whole = f"{base}.{alias.name}"
        yield whole if is_module(whole) else base


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


ALL = [found for path in sources() for found in imports_of(path)]


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_the_parser_sees_what_is_there() -> None:
    seen = {(found.importer, found.imported) for found in ALL}
    assert ("components.web_payload", "cloudinit.roles.web") in seen
    assert ("__main__", "components.settings") in seen
    assert ("components.clouds.digitalocean", "pulumi_digitalocean") in seen
    assert len(sources()) > 40


def test_the_composition_root_imports_components_only() -> None:
    wrong = [
        found
        for found in ALL
        if found.importer == "__main__" and not within(found.imported, "components", "pulumi")
    ]
    assert not wrong


def test_components_import_the_ports_but_no_adapter() -> None:
    adapters = ("components.clouds.digitalocean", "components.clouds.cloudflare", "components.clouds.aws")
    wrong = [
        found for found in ALL if within(found.imported, *adapters) and found.importer != "components.clouds"
    ]
    assert not wrong, [str(found) for found in wrong]
    chooses = [found for found in ALL if found.imported == "components.clouds"]
    assert {found.importer for found in chooses} == {"__main__"}


def test_components_use_only_schemas_and_pure_functions_of_fleet() -> None:
    wrong = [
        found
        for found in ALL
        if within(found.importer, "components")
        and within(found.imported, "fleet")
        and found.imported not in FLEET_FOR_COMPONENTS
    ]
    assert not wrong, [str(found) for found in wrong]


@pytest.mark.parametrize(("sdk", "owner"), SDKS.items())
def test_a_provider_sdk_is_known_by_one_module(sdk: str, owner: str) -> None:
    assert {found.importer for found in ALL if within(found.imported, sdk)} <= {owner}


def test_adapters_know_their_port_and_their_sdk_only() -> None:
    wrong = [
        found
        for found in ALL
        if found.importer in ("components.clouds.digitalocean", "components.clouds.cloudflare")
        and within(found.imported, *PRODUCT)
        and found.imported != "components.clouds.port"
    ]
    assert not wrong, [str(found) for found in wrong]


def test_slow_sdks_are_imported_only_when_they_are_chosen() -> None:
    wrong = [
        found
        for found in ALL
        if found.importer == "components.clouds" and found.top_level and "port" not in found.imported
    ]
    assert {found.imported for found in wrong} <= {
        "__future__",
        "collections.abc",
        "components.schema",
        "components.settings",
    }


def test_only_settings_reads_pulumis_config() -> None:
    readers = [
        module_name(path)
        for path in sources()
        if within(module_name(path), "components", "__main__")
        and any(
            isinstance(node, ast.Attribute) and node.attr in ("Config", "CONFIG", "get_config")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert readers == ["components.settings"]


def test_cloudinit_knows_of_fleet_only_the_schema() -> None:
    allowed = ("fleet.config",)
    wrong = [
        found
        for found in ALL
        if within(found.importer, "cloudinit")
        and within(found.imported, *PRODUCT)
        and not within(found.imported, "cloudinit", *allowed)
    ]
    assert not wrong, [str(found) for found in wrong]


def test_fleet_imports_neither_pulumi_nor_components() -> None:
    wrong = [
        found
        for found in ALL
        if within(found.importer, "fleet")
        and (within(found.imported, "pulumi", "components") or found.imported.startswith("pulumi_"))
    ]
    assert not wrong, [str(found) for found in wrong]


def test_programs_on_machines_use_only_the_standard_library_and_each_other() -> None:
    import sys

    wrong = [
        found
        for found in ALL
        if within(found.importer, *MACHINE_PROGRAMS)
        and found.imported.split(".")[0] not in sys.stdlib_module_names
        and not within(found.imported, *MACHINE_PROGRAMS)
        and not (found.importer == OPENS_CREDENTIALS and within(found.imported, "cryptography"))
    ]
    assert not wrong, [str(found) for found in wrong]


def test_the_sandbox_knows_nothing_of_the_product() -> None:
    wrong = [found for found in ALL if within(found.importer, "sandbox") and within(found.imported, *PRODUCT)]
    assert not wrong, [str(found) for found in wrong]


def test_the_product_knows_nothing_of_the_sandbox() -> None:
    wrong = [
        found
        for found in ALL
        if within(found.importer, "__main__", *PRODUCT) and within(found.imported, "sandbox", "toolchain")
    ]
    assert not wrong, [str(found) for found in wrong]


def test_the_app_knows_nothing_of_flotilla() -> None:
    wrong = [
        found
        for found in ALL
        if within(found.importer, "app")
        and within(found.imported, "components", "cloudinit", "fleet", "policy")
    ]
    assert not wrong, [str(found) for found in wrong]


def test_the_review_of_changes_uses_commands_and_the_clouds_api_only() -> None:
    """It runs two versions of everything side by side, so it may know neither from inside."""
    others = (*PRODUCT, "sandbox", "toolchain")
    used = {
        found.imported
        for found in ALL
        if within(found.importer, "review") and within(found.imported, *others)
    }
    assert used == {"fleet.digitalocean"}
    users = {found.importer for found in ALL if within(found.imported, "review")}
    assert all(within(user, "review") for user in users)


def test_the_demo_types_what_an_operator_would_and_imports_nothing_of_ours() -> None:
    others = ("components", "cloudinit", "fleet", "sandbox", "toolchain", "review", "app")
    wrong = [
        str(found) for found in ALL if within(found.importer, "demo") and within(found.imported, *others)
    ]
    assert wrong == []
