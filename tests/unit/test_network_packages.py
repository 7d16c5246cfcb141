"""The package proxy's configuration, and the relay to it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from sandbox.network.packages import PackageProxy, PackageProxyError, machine_uri, render_config
from sandbox.network.relay import Relay

ARCHIVES = ("http://mirror.example/debian/", "https://secure.example:8443/debian")


def _config(**changes: object) -> list[str]:
    settings: dict[str, object] = {
        "cache": Path("/cache"),
        "log": Path("/log"),
        "port": 20001,
        "archives": ARCHIVES,
        "upstream_proxy": None,
    }
    return render_config(**{**settings, **changes}).splitlines()  # type: ignore[arg-type]


def test_only_the_hosts_archives_are_admitted() -> None:
    lines = _config()
    assert "ForceManaged: 1" in lines
    assert [line for line in lines if line.startswith("Remap-")] == [
        "Remap-mirror-mirror-example-debian: http://mirror.example/debian ; http://mirror.example/debian",
        "Remap-mirror-secure-example-8443-debian: http://secure.example:8443/debian ;"
        " https://secure.example:8443/debian",
    ]


def test_it_listens_on_loopback_only() -> None:
    assert "BindAddress: 127.0.0.1" in _config()
    assert "SocketPath:" in _config()


def test_upstream_proxy_is_the_hosts() -> None:
    assert "Proxy: http://proxy.example:3128" in _config(upstream_proxy="http://proxy.example:3128")
    assert not any(line.startswith("Proxy:") for line in _config())


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://mirror.example/debian", "http://mirror.example/debian"),
        ("https://mirror.example/debian/", "http://mirror.example/debian"),
        ("https://user:word@mirror.example:8443/debian", "http://mirror.example:8443/debian"),
    ],
)
def test_machines_ask_by_http_and_without_credentials(uri: str, expected: str) -> None:
    assert machine_uri(uri) == expected


async def test_missing_program_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    proxy = PackageProxy(tmp_path / "home", tmp_path / "cache", archives=ARCHIVES, upstream_proxy=None)
    with pytest.raises(PackageProxyError, match="apt-get install apt-cacher-ng"):
        await proxy.start()


async def test_relay_passes_bytes_both_ways() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    target = await asyncio.start_server(shout, "127.0.0.1", 0)
    relay, listener = Relay("127.0.0.1", target.sockets[0].getsockname()[1]), _listener()
    address = listener.getsockname()
    await relay.start(listener)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"word" * 100_000)
    writer.write_eof()
    assert await reader.read() == b"WORD" * 100_000
    writer.close()
    await relay.stop()
    target.close()


async def test_relay_to_nobody_closes_the_connection() -> None:
    with _listener() as gone:
        port = gone.getsockname()[1]
    relay, listener = Relay("127.0.0.1", port), _listener()
    address = listener.getsockname()
    await relay.start(listener)
    reader, writer = await asyncio.open_connection(*address)
    assert await reader.read() == b""
    writer.close()
    await relay.stop()


async def test_stopped_relay_cuts_its_connections() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    target = await asyncio.start_server(hold, "127.0.0.1", 0)
    relay, listener = Relay("127.0.0.1", target.sockets[0].getsockname()[1]), _listener()
    address = listener.getsockname()
    await relay.start(listener)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello")
    await writer.drain()
    await relay.stop()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    target.close()


def _listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
