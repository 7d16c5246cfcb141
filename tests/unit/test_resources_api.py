"""Account, catalog, keys, tags, images, snapshots and projects over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.store import Store
from tests.unit.cloud_api import SSH_KEY, Api, started


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"), droplet_limit=7)
    yield api
    await api.cloud.stop()


async def test_the_account_tells_its_droplet_limit(api: Api) -> None:
    account = (await api.get("/v2/account"))["account"]

    assert (account["droplet_limit"], account["status"]) == (7, "active")


async def test_regions_offer_the_sizes_that_name_them(api: Api) -> None:
    regions = {one["slug"]: one for one in (await api.get("/v2/regions"))["regions"]}
    sizes = {one["slug"]: one for one in (await api.get("/v2/sizes"))["sizes"]}

    assert "s-1vcpu-1gb" in regions["lon1"]["sizes"]
    assert "lon1" not in sizes["s-1vcpu-512mb-10gb"]["regions"]
    assert regions["nyc2"] == {**regions["nyc2"], "available": False, "sizes": []}


# SSH keys


async def test_a_key_has_its_md5_fingerprint_and_is_found_by_it(api: Api) -> None:
    key = (await api.made("/v2/account/keys", {"name": "me", "public_key": f"{SSH_KEY}\n"}))["ssh_key"]

    assert key["public_key"] == f"{SSH_KEY}\n"
    assert len(key["fingerprint"].split(":")) == 16
    assert (await api.get(f"/v2/account/keys/{key['fingerprint']}"))["ssh_key"] == key
    renamed = await api.call("PUT", f"/v2/account/keys/{key['id']}", {"name": "you"})
    assert renamed.body["ssh_key"]["name"] == "you"
    assert (await api.call("DELETE", f"/v2/account/keys/{key['fingerprint']}")).status == 204
    assert (await api.refused("GET", f"/v2/account/keys/{key['id']}")).status == 404


@pytest.mark.parametrize(
    "text", ["", "ssh-rsa", "ssh-rsa AAAA", "ssh-rsa " + SSH_KEY.split()[1], "rubbish key"]
)
async def test_what_is_no_key_is_refused(api: Api, text: str) -> None:
    reply = await api.refused("POST", "/v2/account/keys", {"name": "me", "public_key": text})

    assert reply.message == "Key invalid, key should be of the format `type key [comment]`"


async def test_a_key_is_on_the_account_once(api: Api) -> None:
    await api.made("/v2/account/keys", {"name": "me", "public_key": SSH_KEY})

    reply = await api.refused("POST", "/v2/account/keys", {"name": "again", "public_key": SSH_KEY})

    assert (reply.status, reply.message) == (422, "SSH Key is already in use on your account")


# Tags


async def test_a_tag_counts_what_it_is_on(api: Api) -> None:
    await api.made("/v2/tags", {"name": "web"})
    droplet = await api.droplet(tags=["WEB"])

    resources = (await api.get("/v2/tags/Web"))["tag"]["resources"]

    assert (resources["count"], resources["droplets"]["count"]) == (1, 1)
    assert resources["droplets"]["last_tagged_uri"].endswith(f"/v2/droplets/{droplet['id']}")
    assert droplet["tags"] == ["web"]
    assert {"images", "volumes", "volume_snapshots", "databases"} <= resources.keys()


async def test_making_a_tag_again_answers_with_it(api: Api) -> None:
    await api.made("/v2/tags", {"name": "Web"})

    assert (await api.made("/v2/tags", {"name": "web"}))["tag"]["name"] == "Web"
    assert (await api.get("/v2/tags"))["meta"]["total"] == 1


@pytest.mark.parametrize("name", ["", "has space", "ümlaut", "x" * 256])
async def test_what_is_no_tag_is_refused_in_the_tag_services_words(api: Api, name: str) -> None:
    reply = await api.refused("POST", "/v2/tags", {"name": name})

    assert reply.status == 400
    assert reply.body.keys() == {"error", "messages", "root_causes"}


async def test_tagging_needs_tag_and_resource(api: Api) -> None:
    droplet = await api.droplet()
    body = {"resources": [{"resource_id": str(droplet["id"]), "resource_type": "droplet"}]}

    assert (await api.refused("POST", "/v2/tags/web/resources", body)).status == 404
    await api.made("/v2/tags", {"name": "web"})
    assert (await api.call("POST", "/v2/tags/web/resources", body)).status == 204
    body["resources"][0]["resource_id"] = "1"
    assert (await api.refused("POST", "/v2/tags/web/resources", body)).status == 422


async def test_deleting_a_tag_leaves_the_droplet_without_it(api: Api) -> None:
    droplet = await api.droplet(tags=["web", "prod"])

    assert (await api.call("DELETE", "/v2/tags/web")).status == 204

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["tags"] == ["prod"]


# Images and snapshots


async def snapshot(api: Api, name: str = "golden") -> dict[str, Any]:
    droplet = await api.droplet()
    await api.act(droplet["id"], "snapshot", name=name)
    listed: list[dict[str, Any]] = (await api.get("/v2/images?private=true"))["images"]
    return next(image for image in listed if image["name"] == name)


async def test_images_filter_by_type_owner_and_tag(api: Api) -> None:
    golden = await snapshot(api)
    await api.made("/v2/tags", {"name": "baked"})
    body = {"resources": [{"resource_id": str(golden["id"]), "resource_type": "image"}]}
    await api.call("POST", "/v2/tags/baked/resources", body)

    async def names(query: str) -> set[str]:
        return {image["name"] for image in (await api.get(f"/v2/images?{query}"))["images"]}

    assert await names("private=true") == {"golden"}
    assert "golden" not in await names("type=distribution")
    assert await names("type=application") == set()
    assert await names("tag_name=baked") == {"golden"}
    assert {"golden", "13 x64"} <= await names("per_page=200")
    assert (await api.refused("GET", "/v2/images?type=other")).status == 400
    assert (await api.refused("GET", "/v2/images?private=maybe")).status == 400


async def test_a_public_image_is_found_by_slug_and_not_changed(api: Api) -> None:
    image = (await api.get("/v2/images/debian-13-x64"))["image"]

    assert (image["public"], image["status"], image["type"]) == (True, "available", "base")
    assert (await api.refused("PUT", f"/v2/images/{image['id']}", {"name": "mine"})).status == 403
    assert (await api.refused("DELETE", f"/v2/images/{image['id']}")).status == 403


async def test_a_snapshot_is_renamed_moved_and_deleted_as_an_image(api: Api) -> None:
    golden = await snapshot(api)

    renamed = await api.call("PUT", f"/v2/images/{golden['id']}", {"name": "web-2026.11.21-3f2a"})
    moved = await api.made(f"/v2/images/{golden['id']}/actions", {"type": "transfer", "region": "fra1"})
    await api.cloud.settled()

    assert renamed.body["image"]["name"] == "web-2026.11.21-3f2a"
    action = await api.get(f"/v2/images/{golden['id']}/actions/{moved['action']['id']}")
    assert action["action"]["status"] == "completed"
    assert (await api.get(f"/v2/images/{golden['id']}"))["image"]["regions"] == ["lon1", "fra1"]
    assert (await api.call("DELETE", f"/v2/images/{golden['id']}")).status == 204
    assert (await api.refused("GET", f"/v2/snapshots/{golden['id']}")).status == 404


async def test_a_droplet_outlives_its_image(api: Api) -> None:
    golden = await snapshot(api)
    droplet = await api.droplet("copy", image=golden["id"])

    await api.call("DELETE", f"/v2/snapshots/{golden['id']}")
    await api.cloud.settled()

    shown = (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]
    assert shown["image"]["status"] == "deleted"
    assert [entry["key"] for entry in api.cloud.store.all("doomed_image")] == [str(golden["id"])]
    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")
    await api.cloud.settled()
    assert api.cloud.store.all("doomed_image") == []


@pytest.mark.parametrize("path", ["images", "snapshots"])
async def test_every_list_forgets_a_deleted_snapshot_also_under_a_droplet(api: Api, path: str) -> None:
    kept, golden = await snapshot(api, "kept"), await snapshot(api)
    droplet = await api.droplet("copy", image=golden["id"])

    async def listed(query: str) -> list[str]:
        key = query.split("?")[0].rsplit("/", 1)[1]
        return [str(one["id"]) for one in (await api.get(query))[key]]

    queries = ("/v2/images?private=true", "/v2/snapshots", "/v2/snapshots?resource_type=droplet")
    for query in queries:
        assert await listed(query) == [str(kept["id"]), str(golden["id"])]

    await api.call("DELETE", f"/v2/{path}/{golden['id']}")
    await api.cloud.settled()

    for query in queries:
        assert await listed(query) == [str(kept["id"])]
    born_of = next(one for one in api.cloud.store.all("image") if one["id"] == kept["id"])["droplet"]
    assert await listed(f"/v2/droplets/{born_of}/snapshots") == [str(kept["id"])]
    assert (await api.act(droplet["id"], "power_cycle"))["status"] == "completed"
    refused = await api.refused(
        "POST", f"/v2/droplets/{droplet['id']}/actions", {"type": "rebuild"} | {"image": golden["id"]}
    )
    assert refused.status in (404, 422)


async def test_a_public_image_is_no_snapshot(api: Api) -> None:
    image = (await api.get("/v2/images/debian-13-x64"))["image"]

    reply = await api.refused("GET", f"/v2/snapshots/{image['id']}")

    assert (reply.status, reply.message) == (400, "the resource is not a snapshot")


# Projects


async def test_what_no_project_was_given_is_the_defaults(api: Api) -> None:
    droplet = await api.droplet()
    await api.made("/v2/domains", {"name": "foobar.com"})

    listed = (await api.get("/v2/projects/default/resources"))["resources"]

    assert [one["urn"] for one in listed] == [f"do:droplet:{droplet['id']}", "do:domain:foobar.com"]


async def test_resources_move_between_projects(api: Api) -> None:
    urn = f"do:droplet:{(await api.droplet())['id']}"
    project = (await api.made("/v2/projects", {"name": "site", "purpose": "Web Application"}))["project"]
    path = f"/v2/projects/{project['id']}"

    first = await api.call("POST", f"{path}/resources", {"resources": [urn]})
    again = await api.call("POST", f"{path}/resources", {"resources": [urn]})

    assert [reply.body["resources"][0]["status"] for reply in (first, again)] == [
        "assigned",
        "already_assigned",
    ]
    assert [one["urn"] for one in (await api.get(f"{path}/resources"))["resources"]] == [urn]
    reply = await api.refused("DELETE", path)
    assert (reply.status, reply.body["id"]) == (412, "precondition_failed")
    await api.call("POST", "/v2/projects/default/resources", {"resources": [urn]})
    assert (await api.call("DELETE", path)).status == 204


@pytest.mark.parametrize("urn", ["do:space:x", "droplet:1"])
async def test_a_project_takes_only_what_it_can_hold(api: Api, urn: str) -> None:
    reply = await api.refused("POST", "/v2/projects/default/resources", {"resources": [urn]})

    assert reply.status == 400


async def test_what_is_gone_is_told_beside_what_is_assigned(api: Api) -> None:
    urns = [f"do:droplet:{(await api.droplet())['id']}", "do:droplet:1"]
    project = (await api.made("/v2/projects", {"name": "site", "purpose": "Web Application"}))["project"]
    path = f"/v2/projects/{project['id']}/resources"

    reply = await api.call("POST", path, {"resources": urns})

    assert reply.status == 200
    assert [one["status"] for one in reply.body["resources"]] == ["assigned", "not_found"]
    assert [one["urn"] for one in (await api.get(path))["resources"]] == urns[:1]


async def test_the_default_moves_and_keeps_its_resources(api: Api) -> None:
    droplet = await api.droplet()
    old = (await api.get("/v2/projects/default"))["project"]
    new = (await api.made("/v2/projects", {"name": "site", "purpose": "Web Application"}))["project"]

    await api.call("PATCH", f"/v2/projects/{new['id']}", {"is_default": True})

    assert (await api.get("/v2/projects/default"))["project"]["id"] == new["id"]
    kept = (await api.get(f"/v2/projects/{old['id']}/resources"))["resources"]
    assert [one["urn"] for one in kept] == [f"do:droplet:{droplet['id']}"]
    assert (await api.refused("DELETE", f"/v2/projects/{new['id']}")).status == 412


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "x" * 176}, {"environment": "Other"}, {"purpose": None}, {"colour": "red"}],
)
async def test_a_bad_project_is_refused(api: Api, change: dict[str, Any]) -> None:
    body = {"name": "site", "purpose": "Web Application", **change}

    assert (await api.refused("POST", "/v2/projects", body)).status == 422
