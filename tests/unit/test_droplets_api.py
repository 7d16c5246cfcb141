"""Droplets over the API: what they are made of, what is refused, and how they go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv6Interface

import pytest

from sandbox.store import Store
from tests.unit.cloud_api import SSH_KEY, Api, started

BODY = {"name": "web-1", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def test_a_new_droplet_becomes_active_by_its_create_action(api: Api) -> None:
    made = await api.made("/v2/droplets", BODY)

    assert made["droplet"]["status"] == "new"
    link = made["links"]["actions"][0]
    assert link["rel"] == "create"
    await api.cloud.settled()
    action = (await api.get(link["href"].removeprefix("http://api.test")))["action"]
    assert (action["status"], action["resource_id"]) == ("completed", made["droplet"]["id"])
    assert action["completed_at"] is not None
    assert (await api.get(f"/v2/droplets/{made['droplet']['id']}"))["droplet"]["status"] == "active"


async def test_several_droplets_come_from_one_request(api: Api) -> None:
    body = {key: value for key, value in BODY.items() if key != "name"} | {"names": ["a", "b", "c"]}

    made = await api.made("/v2/droplets", body)

    assert [droplet["name"] for droplet in made["droplets"]] == ["a", "b", "c"]
    assert len(made["links"]["actions"]) == 3


async def test_addresses_are_unique_and_not_reused_at_once(api: Api) -> None:
    first = await api.droplet("first")
    await api.call("DELETE", f"/v2/droplets/{first['id']}")
    await api.cloud.settled()
    second = await api.droplet("second")

    def addresses(droplet: dict) -> set[str]:  # type: ignore[type-arg]
        return {network["ip_address"] for network in droplet["networks"]["v4"]}

    assert addresses(first).isdisjoint(addresses(second))


async def test_features_tell_what_was_asked_for(api: Api) -> None:
    plain = await api.droplet("plain", with_droplet_agent=False)
    rich = await api.droplet("rich", monitoring=True, ipv6=True, backups=True)

    assert plain["features"] == ["private_networking"]
    assert set(rich["features"]) == {"backups", "ipv6", "monitoring", "droplet_agent", "private_networking"}
    assert rich["next_backup_window"] is not None


async def test_ipv6_comes_from_a_network_of_the_droplets_own(api: Api) -> None:
    first, second = await api.droplet("first", ipv6=True), await api.droplet("second", ipv6=True)
    plain = await api.droplet("plain")

    (one,), (two,) = first["networks"]["v6"], second["networks"]["v6"]
    assert plain["networks"]["v6"] == []
    assert one == {
        "ip_address": "2001:db8:f100:86a3::2",
        "netmask": 64,
        "gateway": "2001:db8:f100:86a3::1",
        "type": "public",
    }
    assert (
        IPv6Interface(f"{two['ip_address']}/64").network != IPv6Interface(f"{one['ip_address']}/64").network
    )


async def test_ipv6_can_be_enabled_later_and_only_once(api: Api) -> None:
    droplet = await api.droplet()

    assert (await api.act(droplet["id"], "enable_ipv6"))["status"] == "completed"

    changed = (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]
    assert "ipv6" in changed["features"]
    assert changed["networks"]["v6"][0]["netmask"] == 64
    assert changed["networks"]["v4"] == droplet["networks"]["v4"]
    spec = api.cloud.spec(api.cloud.store.get("droplet", droplet["id"]) or {})
    assert spec.public.ipv6 is not None
    assert spec.public.ipv6.address == changed["networks"]["v6"][0]["ip_address"]
    reply = await api.refused("POST", f"/v2/droplets/{droplet['id']}/actions", {"type": "enable_ipv6"})
    assert (reply.status, reply.message) == (422, "IPv6 is already enabled on this droplet.")


async def test_where_machines_have_no_ipv6_it_is_refused() -> None:
    api = await started(Store(":memory:"), public_network6=None)
    droplet = await api.droplet()
    replies = [
        await api.refused("POST", "/v2/droplets", {**BODY, "ipv6": True}),
        await api.refused("POST", f"/v2/droplets/{droplet['id']}/actions", {"type": "enable_ipv6"}),
    ]
    assert {(reply.status, reply.message) for reply in replies} == {
        (422, "ipv6: simulated machines have no IPv6; start the sandbox with `--machines real`")
    }
    await api.cloud.stop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "under_score"}, "Only valid hostname characters"),
        ({"name": None, "names": []}, "1 to 10 droplets"),
        ({"name": None, "names": [f"n{i}" for i in range(11)]}, "1 to 10 droplets"),
        ({"names": ["a"]}, "either name"),
        ({"size": "s-9vcpu"}, "invalid size for Droplet creation"),
        ({"region": "mars1"}, "invalid region for Droplet creation"),
        ({"region": "nyc2"}, "Region is not available"),
        ({"size": "s-1vcpu-512mb-10gb"}, "Size is not available in this region"),
        ({"image": "debian-1-x64"}, "invalid image for Droplet creation"),
        ({"image": 17}, "invalid image for Droplet creation"),
        ({"ssh_keys": ["aa:bb"]}, "aa:bb are invalid key identifiers for Droplet creation."),
        ({"vpc_uuid": "00000000-0000-4000-8000-000000000000"}, "does not exist"),
        ({"volumes": ["00000000-0000-4000-8000-000000000000"]}, "does not exist"),
        ({"user_data": "x" * 65537}, "User data is too long"),
        ({"monitoring": "yes"}, "monitoring"),
        ({"flavour": "large"}, 'unknown field "flavour"'),
    ],
)
async def test_a_bad_order_is_refused_and_changes_nothing(api: Api, change: dict, message: str) -> None:  # type: ignore[type-arg]
    body = {key: value for key, value in (BODY | change).items() if value is not None}

    reply = await api.refused("POST", "/v2/droplets", body)

    assert reply.status == 422
    assert reply.body["id"] == "unprocessable_entity"
    assert message in reply.message


async def test_the_droplet_limit_holds_over_a_whole_order() -> None:
    api = await started(Store(":memory:"), droplet_limit=2)
    await api.droplet()
    body = {name: value for name, value in BODY.items() if name != "name"} | {"names": ["a", "b"]}

    reply = await api.refused("POST", "/v2/droplets", body)

    assert reply.message == "creating this/these droplet(s) will exceed your droplet limit"
    await api.cloud.stop()


async def test_a_droplet_needs_a_size_with_the_disk_of_its_image(api: Api) -> None:
    big = await api.droplet("big", size="s-2vcpu-4gb")
    await api.act(big["id"], "snapshot", name="big-disk")
    snapshot = (await api.get(f"/v2/droplets/{big['id']}/snapshots"))["snapshots"][0]

    reply = await api.refused("POST", "/v2/droplets", {**BODY, "image": snapshot["id"]})

    assert "smaller disk than the image" in reply.message


async def test_an_image_is_bootable_only_in_its_regions(api: Api) -> None:
    droplet = await api.droplet()
    await api.act(droplet["id"], "snapshot", name="here")
    snapshot = (await api.get("/v2/snapshots"))["snapshots"][0]

    reply = await api.refused(
        "POST", "/v2/droplets", {**BODY, "region": "fra1", "image": int(snapshot["id"])}
    )

    assert reply.message == "The image you specified is not available in the selected region."


async def test_keys_are_found_by_number_and_fingerprint(api: Api) -> None:
    key = (await api.made("/v2/account/keys", {"name": "me", "public_key": SSH_KEY}))["ssh_key"]

    droplet = await api.droplet(ssh_keys=[key["id"], key["fingerprint"]])

    spec = api.cloud.machine_at(droplet["networks"]["v4"][0]["ip_address"])
    assert spec is not None
    assert set(spec.ssh_keys) == {SSH_KEY}


async def test_lists_filter_by_tag_and_name(api: Api) -> None:
    await api.droplet("web-1", tags=["Prod-Web"])
    await api.droplet("db-1", tags=["prod-db"])

    by_tag = await api.get("/v2/droplets?tag_name=prod-web")
    by_name = await api.get("/v2/droplets?name=DB-1")

    assert [droplet["name"] for droplet in by_tag["droplets"]] == ["web-1"]
    assert [droplet["name"] for droplet in by_name["droplets"]] == ["db-1"]
    assert (await api.refused("GET", "/v2/droplets?tag_name=a&name=b")).status == 400
    assert (await api.refused("GET", "/v2/droplets?tag=prod-web")).status == 400


async def test_deleting_answers_without_body_and_then_404(api: Api) -> None:
    droplet = await api.droplet()

    reply = await api.call("DELETE", f"/v2/droplets/{droplet['id']}")

    assert (reply.status, reply.content) == (204, b"")
    assert (await api.refused("GET", f"/v2/droplets/{droplet['id']}")).status == 404


async def test_deleting_by_tag_spares_the_others(api: Api) -> None:
    await api.droplet("a", tags=["gone"])
    await api.droplet("b", tags=["kept"])

    assert (await api.call("DELETE", "/v2/droplets?tag_name=gone")).status == 204

    assert [droplet["name"] for droplet in (await api.get("/v2/droplets"))["droplets"]] == ["b"]
    assert (await api.refused("DELETE", "/v2/droplets?tag_name=never-seen")).status == 404
    assert (await api.refused("DELETE", "/v2/droplets")).status == 400


async def test_a_droplet_with_a_pending_event_is_locked(api: Api) -> None:
    droplet = await api.droplet(settle=False)

    acted = await api.refused("POST", f"/v2/droplets/{droplet['id']}/actions", {"type": "reboot"})
    deleted = await api.refused("DELETE", f"/v2/droplets/{droplet['id']}")

    assert {acted.message, deleted.message} == {"Droplet already has a pending event."}
    assert {acted.status, deleted.status} == {422}


async def test_power_actions_change_the_status(api: Api) -> None:
    number = (await api.droplet())["id"]

    async def status() -> str:
        return str((await api.get(f"/v2/droplets/{number}"))["droplet"]["status"])

    await api.act(number, "power_off")
    assert await status() == "off"
    assert not api.cloud.machines.running(number)
    await api.act(number, "power_on")
    assert await status() == "active"
    assert api.cloud.machines.running(number)
    await api.act(number, "shutdown")
    assert await status() == "off"
    await api.act(number, "power_on")
    await api.act(number, "reboot")
    await api.act(number, "power_cycle")
    assert await status() == "active"


@pytest.mark.parametrize(
    ("state", "action", "message"),
    [
        ("on", {"type": "power_on"}, "Droplet is currently on."),
        ("on", {"type": "resize", "size": "s-1vcpu-2gb"}, "Droplet is currently on."),
        ("off", {"type": "power_off"}, "Droplet is already powered off."),
        ("off", {"type": "shutdown"}, "Droplet is already powered off."),
        ("off", {"type": "reboot"}, "Droplet is currently off."),
        ("off", {"type": "resize", "size": "s-1vcpu-512mb-10gb"}, "not available in this region"),
        ("off", {"type": "resize", "size": "c-9"}, "invalid size for Droplet resize"),
        ("off", {"type": "resize", "size": "s-1vcpu-1gb"}, "already has this size"),
        ("on", {"type": "rebuild", "image": "no-such"}, "invalid image for Droplet rebuild"),
        ("on", {"type": "restore", "image": "debian-13-x64"}, "no backup or snapshot of this droplet"),
        ("on", {"type": "rename", "name": "bad_name"}, "Only valid hostname characters"),
        ("on", {"type": "rename"}, "name is required"),
        ("on", {"type": "disable_backups"}, "Backups are not enabled"),
        ("on", {"type": "explode"}, "invalid action"),
        ("on", {}, "type is required"),
        ("on", {"type": "reboot", "now": True}, 'unknown field "now"'),
    ],
)
async def test_actions_that_the_droplet_cannot_do(
    api: Api,
    state: str,
    action: dict,  # type: ignore[type-arg]
    message: str,
) -> None:
    number = (await api.droplet())["id"]
    if state == "off":
        await api.act(number, "power_off")

    reply = await api.refused("POST", f"/v2/droplets/{number}/actions", action)

    assert reply.status == 422
    assert message in reply.message


async def test_a_disk_grows_by_resize_and_never_shrinks(api: Api) -> None:
    number = (await api.droplet())["id"]
    await api.act(number, "power_off")

    await api.act(number, "resize", size="s-1vcpu-2gb", disk=True)

    droplet = (await api.get(f"/v2/droplets/{number}"))["droplet"]
    assert (droplet["size_slug"], droplet["disk"], droplet["memory"]) == ("s-1vcpu-2gb", 50, 2048)
    body = {"type": "resize", "size": "s-1vcpu-1gb"}
    reply = await api.refused("POST", f"/v2/droplets/{number}/actions", body)
    assert reply.message == "This size is not available because it has a smaller disk."


async def test_a_resize_without_disk_can_be_taken_back(api: Api) -> None:
    number = (await api.droplet())["id"]
    await api.act(number, "power_off")

    await api.act(number, "resize", size="s-1vcpu-2gb")
    await api.act(number, "resize", size="s-1vcpu-1gb")

    droplet = (await api.get(f"/v2/droplets/{number}"))["droplet"]
    assert (droplet["size_slug"], droplet["disk"]) == ("s-1vcpu-1gb", 25)


async def test_a_snapshot_carries_the_time_of_its_action(api: Api) -> None:
    number = (await api.droplet())["id"]

    action = await api.act(number, "snapshot", name="golden")

    [listed] = (await api.get(f"/v2/droplets/{number}/snapshots?per_page=200"))["snapshots"]
    assert listed["created_at"] == action["started_at"]
    shown = (await api.get(f"/v2/snapshots/{listed['id']}"))["snapshot"]
    assert (shown["id"], shown["resource_id"]) == (str(listed["id"]), str(number))
    image = (await api.get(f"/v2/images/{listed['id']}"))["image"]
    assert (image["name"], image["public"], image["slug"]) == ("golden", False, None)


async def test_a_rebuild_keeps_id_and_addresses(api: Api) -> None:
    before = await api.droplet()

    await api.act(before["id"], "rebuild", image="debian-12-x64")

    after = (await api.get(f"/v2/droplets/{before['id']}"))["droplet"]
    assert after["image"]["slug"] == "debian-12-x64"
    assert after["networks"] == before["networks"]
    assert after["status"] == "active"


async def test_bulk_actions_go_to_all_of_a_tag(api: Api) -> None:
    numbers = {(await api.droplet(name, tags=["all"]))["id"] for name in ("a", "b")}

    begun = await api.made("/v2/droplets/actions?tag_name=all", {"type": "power_off"})

    assert {action["resource_id"] for action in begun["actions"]} == numbers
    reply = await api.refused("POST", "/v2/droplets/actions?tag_name=all", {"type": "rename", "name": "x"})
    assert "cannot be performed on tagged droplets" in reply.message


async def test_the_actions_of_a_droplet_come_newest_first(api: Api) -> None:
    number = (await api.droplet())["id"]
    await api.act(number, "reboot")

    listed = (await api.get(f"/v2/droplets/{number}/actions"))["actions"]

    assert [action["type"] for action in listed] == ["reboot", "create"]
    one = await api.get(f"/v2/droplets/{number}/actions/{listed[0]['id']}")
    assert one["action"] == listed[0]


async def test_backups_are_switched_and_their_window_follows_the_policy(api: Api) -> None:
    number = (await api.droplet())["id"]

    await api.act(number, "enable_backups", backup_policy={"plan": "daily", "hour": 8})

    droplet = (await api.get(f"/v2/droplets/{number}"))["droplet"]
    assert "T08:00:00Z" in droplet["next_backup_window"]["start"]
    policy = (await api.get(f"/v2/droplets/{number}/backups/policy"))["policy"]
    assert policy["backup_policy"]["retention_period_days"] == 7
    await api.act(number, "disable_backups")
    assert (await api.get(f"/v2/droplets/{number}"))["droplet"]["next_backup_window"] is None
