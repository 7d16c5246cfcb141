"""The clients of the clouds: pages, retries, errors, waiting."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fleet.cloudflare import Cloudflare
from fleet.digitalocean import DigitalOcean, public_address
from fleet.errors import FleetError
from fleet.web_api import ApiError, await_value

Answer = tuple[int, dict[str, str], Any]


class Script:
    """A server that gives the next scripted answer to each request and keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, str, Any]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.requests.append(
                    (
                        self.command,
                        self.path,
                        self.headers["Authorization"],
                        json.loads(body) if body else None,
                    )
                )
                status, headers, document = script.answers.pop(0)
                content = b"" if document is None else json.dumps(document).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815  (names of http.server)

            def log_message(self, *_: object) -> None:
                """Nothing: tests read the script."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def will(self, status: int, document: Any = None, **headers: str) -> Script:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, named, document))
        return self


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()
    thread = threading.Thread(target=script.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield script
    script.server.shutdown()
    thread.join()
    script.server.server_close()


@pytest.fixture
def cloud(script: Script) -> DigitalOcean:
    return DigitalOcean.at(script.url, "dop_v1_x")


def test_all_pages_of_a_list(script: Script, cloud: DigitalOcean) -> None:
    script.will(200, {"droplets": [{"id": 1}], "links": {"pages": {"next": "x"}}})
    script.will(200, {"droplets": [{"id": 2}], "links": {}})
    assert [row["id"] for row in cloud.every("/v2/droplets", "droplets", tag_name="dev")] == [1, 2]
    assert [path for _, path, _, _ in script.requests] == [
        "/v2/droplets?tag_name=dev&page=1&per_page=200",
        "/v2/droplets?tag_name=dev&page=2&per_page=200",
    ]
    assert script.requests[0][2] == "Bearer dop_v1_x"


def test_a_read_is_repeated_after_a_server_error(script: Script, cloud: DigitalOcean) -> None:
    script.will(502).will(200, {"account": {}})
    assert cloud.get("/v2/account") == {"account": {}}


def test_a_create_is_not_repeated_after_a_server_error(script: Script, cloud: DigitalOcean) -> None:
    script.will(500, {"id": "server_error", "message": "it may be made"}).will(202, {})
    with pytest.raises(ApiError, match="it may be made"):
        cloud.post("/v2/droplets", {"name": "x"})
    assert len(script.requests) == 1


def test_a_create_is_repeated_when_the_rate_limit_refused_it(script: Script, cloud: DigitalOcean) -> None:
    script.will(429, {"message": "slow"}, Retry_After="0").will(202, {"droplet": {"id": 1}})
    assert cloud.post("/v2/droplets", {"name": "x"}) == {"droplet": {"id": 1}}
    assert [body for *_, body in script.requests] == [{"name": "x"}, {"name": "x"}]


def test_an_error_names_request_status_and_the_services_words(script: Script, cloud: DigitalOcean) -> None:
    script.will(422, {"id": "unprocessable_entity", "message": "size is not available"})
    with pytest.raises(ApiError, match="refused POST /v2/droplets with 422: size is not available"):
        cloud.post("/v2/droplets", {})


def test_a_refused_token_names_the_variable_to_check(script: Script, cloud: DigitalOcean) -> None:
    script.will(401, {"id": "unauthorized", "message": "Unable to authenticate you"})
    with pytest.raises(ApiError, match="check DIGITALOCEAN_API_URL and DIGITALOCEAN_TOKEN") as raised:
        cloud.get("/v2/account")
    assert "dop_v1_x" not in str(raised.value)


def test_deleting_what_is_gone_is_done(script: Script, cloud: DigitalOcean) -> None:
    script.will(404, {"id": "not_found", "message": "not found"})
    cloud.delete("/v2/droplets/7")


def test_looking_for_what_is_absent_is_none(script: Script, cloud: DigitalOcean) -> None:
    script.will(404, {"id": "not_found", "message": "not found"})
    assert cloud.find("/v2/domains/foobar.com") is None


async def test_an_action_is_followed_to_its_end(script: Script, cloud: DigitalOcean) -> None:
    script.will(201, {"action": {"id": 9, "status": "in-progress"}})
    script.will(200, {"action": {"id": 9, "status": "in-progress"}})
    script.will(200, {"action": {"id": 9, "status": "completed"}})
    await cloud.act(7, "snapshot", name="web")
    assert script.requests[0] == (
        "POST",
        "/v2/droplets/7/actions",
        "Bearer dop_v1_x",
        {"type": "snapshot", "name": "web"},
    )


async def test_an_errored_action_is_an_error(script: Script, cloud: DigitalOcean) -> None:
    script.will(201, {"action": {"id": 9}}).will(200, {"action": {"status": "errored"}})
    with pytest.raises(FleetError, match="snapshot of droplet 7 failed"):
        await cloud.act(7, "snapshot", name="web")


async def test_waiting_ends_and_says_what_for() -> None:
    with pytest.raises(FleetError, match="in vain for droplet 7 to be active"):
        await await_value(lambda: 1, lambda _: False, seconds=0.1, what="droplet 7 to be active")


def test_no_server_is_one_clear_line(unused_tcp_port: int) -> None:
    cloud = DigitalOcean.at(f"http://127.0.0.1:{unused_tcp_port}", "x")
    with pytest.raises(FleetError, match="did not answer POST /v2/droplets") as raised:
        cloud.post("/v2/droplets", {})
    assert "DIGITALOCEAN_API_URL" in str(raised.value)


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITALOCEAN_TOKEN", raising=False)
    monkeypatch.delenv("DIGITALOCEAN_ACCESS_TOKEN", raising=False)
    with pytest.raises(FleetError, match="DIGITALOCEAN_TOKEN is not set"):
        DigitalOcean.from_environment()


def test_a_public_address() -> None:
    private = {"type": "private", "ip_address": "10.20.0.2"}
    public = {"type": "public", "ip_address": "198.18.0.2"}
    assert public_address({"networks": {"v4": [private, public]}}) == "198.18.0.2"


def test_cloudflares_pages_and_errors(script: Script) -> None:
    cloud = Cloudflare.at(script.url, "x")
    script.will(200, {"result": [{"id": "a"}], "result_info": {"page": 1, "total_pages": 2}})
    script.will(200, {"result": [{"id": "b"}], "result_info": {"page": 2, "total_pages": 2}})
    assert [row["id"] for row in cloud.every("/zones/z/dns_records", type="A")] == ["a", "b"]
    script.will(403, {"success": False, "errors": [{"code": 9109, "message": "Invalid access token"}]})
    with pytest.raises(ApiError, match=r"Invalid access token \(9109\)"):
        list(cloud.every("/zones"))
