"""What holds for every request to the DigitalOcean API: tokens, pages, rate limit, errors, unknown routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from sandbox.api.app import create_app
from sandbox.api.settings import RateLimits
from sandbox.store import Store
from tests.unit.cloud_api import TOKEN, Api, asgi_request, started


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


@pytest.mark.parametrize("token", ["", "dop_v1_" + "0b" * 32, TOKEN + "0", TOKEN[:-1], "ümlaut"])
async def test_a_wrong_token_is_told_nothing(api: Api, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}

    reply = await asgi_request(api.app, "GET", "/v2/account", b"", headers)

    assert reply.status == 401
    assert (reply.body["id"], reply.message) == ("Unauthorized", "Unable to authenticate you")


async def test_no_token_is_no_entry_even_where_nothing_is(api: Api) -> None:
    assert (await asgi_request(api.app, "GET", "/v2/nothing", b"", {})).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/kubernetes/clusters"), ("PATCH", "/v2/droplets"), ("POST", "/v2/nothing")],
)
async def test_what_the_sandbox_lacks_is_named(api: Api, method: str, path: str) -> None:
    reply = await api.refused(method, path)

    assert (reply.status, reply.body["id"]) == (404, "not_found")
    assert reply.message == f"the sandbox does not have {method} {path}; docs/coverage.md lists what it has"


async def test_every_error_has_a_request_id(api: Api) -> None:
    reply = await api.refused("GET", "/v2/droplets/1")

    assert reply.body["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_is_refused(api: Api, content: bytes) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}

    reply = await asgi_request(api.app, "POST", "/v2/tags", content, headers)

    assert (reply.status, reply.message) == (400, "error parsing request body")


@pytest.mark.parametrize("body", [[], "text", 7, None])
async def test_a_body_that_is_no_object_is_refused(api: Api, body: object) -> None:
    reply = await api.refused("POST", "/v2/vpcs", body)

    assert reply.status == 422


@pytest.mark.parametrize("number", ["abc", "-1", "0x10", "1" * 30, "%31"])
async def test_what_is_no_number_names_nothing(api: Api, number: str) -> None:
    assert (await api.refused("GET", f"/v2/droplets/{number}")).status == 404


# Pages


async def made_tags(api: Api, count: int) -> list[str]:
    names = [f"tag-{number:03}" for number in range(count)]
    for name in names:
        await api.made("/v2/tags", {"name": name})
    return names


async def test_following_next_shows_everything_once(api: Api) -> None:
    names = await made_tags(api, 45)
    seen, target = [], "/v2/tags"

    while target:
        answer = await api.get(target)
        seen += [tag["name"] for tag in answer["tags"]]
        assert answer["meta"]["total"] == 45
        link = urlsplit(answer["links"].get("pages", {}).get("next", ""))
        target = f"{link.path}?{link.query}" if link.path else ""

    assert seen == names


async def test_links_say_where_one_is(api: Api) -> None:
    await made_tags(api, 5)

    async def pages(query: str) -> set[str]:
        return set((await api.get(f"/v2/tags?{query}"))["links"].get("pages", {}))

    assert await pages("per_page=5") == set()
    assert await pages("per_page=2") == {"next", "last"}
    assert await pages("per_page=2&page=2") == {"first", "prev", "next", "last"}
    assert await pages("per_page=2&page=3") == {"first", "prev"}
    beyond = await api.get("/v2/tags?per_page=2&page=9")
    assert (beyond["tags"], set(beyond["links"]["pages"])) == ([], {"first", "prev"})


async def test_links_keep_filters(api: Api) -> None:
    for name in ("a", "b"):
        await api.droplet(name, tags=["web"])

    answer = await api.get("/v2/droplets?tag_name=web&per_page=1")

    assert answer["links"]["pages"]["next"] == "http://api.test/v2/droplets?tag_name=web&per_page=1&page=2"


@pytest.mark.parametrize("query", ["page=0", "per_page=0", "per_page=201", "page=x", "per_page=-1", "page="])
async def test_a_bad_page_is_refused(api: Api, query: str) -> None:
    assert (await api.refused("GET", f"/v2/tags?{query}")).status == 400


# Rate limit


class Clock:
    """Time that stands still until told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


Limited = Callable[..., Api]


async def limited(clock: Clock, per_hour: int, per_minute: int) -> Api:
    api = await started(Store(":memory:"), rate_limits=RateLimits(per_hour, per_minute))
    api.app = create_app(api.cloud, clock=clock)
    return api


async def test_answers_count_down_and_say_when_the_oldest_request_is_forgotten() -> None:
    clock = Clock()
    api = await limited(clock, 5000, 250)

    first = await api.call("GET", "/v2/account")
    clock.now += 10
    second = await api.call("GET", "/v2/nothing")

    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    assert [first.headers[name] for name in names] == ["5000", "4999", "1003600"]
    assert [second.headers[name] for name in names] == ["5000", "4998", "1003600"]
    await api.cloud.stop()


@pytest.mark.parametrize(("per_hour", "per_minute", "wait"), [(100, 3, 60), (3, 100, 3600)])
async def test_one_request_too_many_says_how_long_to_wait(per_hour: int, per_minute: int, wait: int) -> None:
    clock = Clock()
    api = await limited(clock, per_hour, per_minute)
    for _ in range(3):
        assert (await api.call("GET", "/v2/account")).status == 200

    refused = await api.call("GET", "/v2/account")

    assert (refused.status, refused.body["id"]) == (429, "too_many_requests")
    assert refused.message == "API rate limit exceeded."
    assert refused.headers["retry-after"] == str(wait)
    clock.now += wait
    assert (await api.call("GET", "/v2/account")).status == 200
    await api.cloud.stop()


async def test_without_limits_nothing_is_counted(api: Api) -> None:
    reply = await api.call("GET", "/v2/account")

    assert "ratelimit-limit" not in reply.headers
