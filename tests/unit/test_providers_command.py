"""The command provider, against this machine and an SSH server of the test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from sandbox.providers.serve import serving
from sandbox.providers.values import UNKNOWN, Asset, Secret, Values
from tests.provider_client import LoggedLines, ProviderClient, ProviderError, connected, logging_engine

LOCAL = "command:local:Command"
REMOTE = "command:remote:Command"
COPY = "command:remote:CopyToRemote"


@dataclass(frozen=True, slots=True)
class Attached:
    client: ProviderClient
    engine: LoggedLines


@pytest.fixture
async def attached() -> AsyncIterator[Attached]:
    async with (
        logging_engine() as (address, engine),
        serving() as ports,
        connected(ports["command"]) as client,
    ):
        await client.attach(address)
        await client.configure()
        yield Attached(client, engine)


@pytest.fixture
def client(attached: Attached) -> ProviderClient:
    return attached.client


async def test_a_command_runs_as_a_child_of_the_engine_would(client: ProviderClient) -> None:
    key, outputs = await client.create(LOCAL, {"create": "pwd; echo $HOME"}, name="gate")
    assert outputs["stdout"] == f"{Path.cwd()}\n{os.environ['HOME']}"
    assert key.startswith("gate")
    assert len(key) == len("gate") + 8


async def test_a_command_gets_its_input_directory_interpreter_and_variables(
    client: ProviderClient, tmp_path: Path
) -> None:
    inputs = {
        "create": "cat; pwd; echo $WHO >&2",
        "stdin": "typed\n",
        "dir": str(tmp_path),
        "interpreter": ["/bin/bash", "-c"],
        "environment": {"WHO": "me"},
    }
    _, outputs = await client.create(LOCAL, inputs)
    assert (outputs["stdout"], outputs["stderr"]) == (f"typed\n{tmp_path}", "me")


async def test_a_preview_runs_nothing(client: ProviderClient, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    _, outputs = await client.create(LOCAL, {"create": f"touch {ran}"}, preview=True)
    assert (outputs["stdout"], _exists(ran)) == (UNKNOWN, False)


def _exists(path: Path) -> bool:
    return path.exists()


async def test_a_failure_tells_status_command_and_all_output(client: ProviderClient) -> None:
    with pytest.raises(ProviderError) as caught:
        await client.create(LOCAL, {"create": "echo out; echo err >&2; exit 7"})
    first, *said = str(caught.value).splitlines()
    assert first == 'exit status 7: running "echo out; echo err >&2; exit 7":'
    assert sorted(said) == ["err", "out"]


async def test_an_interpreter_that_is_not_there_is_named(client: ProviderClient) -> None:
    with pytest.raises(ProviderError, match="/no/such/shell"):
        await client.create(LOCAL, {"create": "true", "interpreter": ["/no/such/shell", "-c"]})


async def test_lines_are_shown_while_they_come_unless_not_wanted(attached: Attached) -> None:
    await attached.client.create(
        LOCAL, {"create": "echo one; echo two >&2; printf three", "logging": "stdout"}
    )
    assert attached.engine.lines == ["info: one", "info: three"]


async def test_an_update_runs_update_or_else_create_again(client: ProviderClient) -> None:
    command = "echo was $PULUMI_COMMAND_STDOUT"
    state = {"create": "echo first", "stdout": "first", "stderr": ""}
    again = await client.update(LOCAL, "x", state, {"create": command}, {"create": "echo first"})
    assert again["stdout"] == "was first"
    news = {"create": "echo first", "update": command, "addPreviousOutputInEnv": False}
    assert (await client.update(LOCAL, "x", state, news, {"create": "echo first"}))["stdout"] == "was"


async def test_a_trigger_replaces_and_any_other_change_updates(client: ProviderClient) -> None:
    olds: Values = {"create": "a", "triggers": ["1"]}
    state = {**olds, "stdout": ""}
    replaced = await client.diff(LOCAL, state, {"create": "a", "triggers": ["2"]}, olds)
    assert (replaced.changes, replaced.deletes_first) == ({"triggers[0]": "UPDATE_REPLACE"}, False)
    updated = await client.diff(LOCAL, state, {**olds, "create": "b"}, olds)
    assert (dict(updated.changes), list(updated.replaces)) == ({"create": "UPDATE"}, [])


async def test_an_update_in_a_preview_does_not_know_the_output(client: ProviderClient) -> None:
    state = {"create": "a", "stdout": "old", "stderr": ""}
    outputs = await client.update(LOCAL, "x", state, {"create": "b"}, {"create": "a"}, preview=True)
    assert (outputs["create"], outputs["stdout"]) == ("b", UNKNOWN)


async def test_a_delete_knows_the_output_of_its_create(client: ProviderClient, tmp_path: Path) -> None:
    inputs = {"delete": f"echo $PULUMI_COMMAND_STDOUT > {tmp_path}/said"}
    await client.delete(LOCAL, "x", {**inputs, "stdout": "hello"}, inputs)
    assert (tmp_path / "said").read_text() == "hello\n"


async def test_secret_input_stays_secret_and_output_that_echoes_it_does_not(client: ProviderClient) -> None:
    _, outputs = await client.create(LOCAL, {"create": "cat", "stdin": Secret("hush")})
    assert (outputs["stdin"], outputs["stdout"]) == (Secret("hush"), "hush")


async def test_files_left_behind_are_found_by_globs(client: ProviderClient, tmp_path: Path) -> None:
    command = "mkdir -p src/deep; echo a > src/a.js; echo b > src/deep/b.js; echo c > src/secret.js"
    inputs = {"create": command, "dir": str(tmp_path), "assetPaths": ["src/**.js", "!**secret.*"]}
    _, outputs = await client.create(LOCAL, inputs)
    assert sorted(outputs["assets"]) == ["src/a.js", "src/deep/b.js"]
    assert isinstance(outputs["assets"]["src/a.js"], Asset)


async def test_an_engine_that_stops_ends_the_command_and_its_children(
    client: ProviderClient, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    running = asyncio.create_task(client.create(LOCAL, {"create": f"echo up > {pipe}; sleep 600 & wait"}))
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(pipe.read_text) == "up\n"
        await client.cancel()
        with pytest.raises(ProviderError, match="signal: killed"):
            await running


async def test_run_is_a_lookup_that_always_runs(client: ProviderClient) -> None:
    result = await client.invoke("command:local:run", {"command": "echo $((1 + 1))"})
    assert (result["stdout"], result["command"]) == ("2", "echo $((1 + 1))")


# Over SSH


@dataclass(frozen=True, slots=True)
class Host:
    """An SSH server of the test that runs what it is told."""

    port: int
    key: asyncssh.SSHKey
    login: asyncssh.SSHKey
    root: Path

    def connection(self, **changes: object) -> Values:
        values: Values = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "privateKey": self.login.export_private_key().decode(),
            "hostKey": self.key.export_public_key().decode(),
            "dialErrorLimit": 1,
            "perDialTimeout": 5,
        }
        return {**values, **changes}


async def _serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_shell(
        process.command or "true",
        env={**os.environ, **{str(name): str(value) for name, value in process.env.items()}},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await child.communicate(await process.stdin.read())
    process.stdout.write(said)
    process.stderr.write(complained)
    process.exit(child.returncode or 0)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    key, login = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    authorized = asyncssh.import_authorized_keys(login.export_public_key().decode())
    root = tmp_path / "remote"
    root.mkdir()
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[key],
        authorized_client_keys=authorized,
        process_factory=_serve,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root).encode()),
        encoding=None,
    )
    try:
        yield Host(server.get_port(), key, login, root)
    finally:
        server.close()
        await server.wait_closed()


async def test_a_remote_command_gets_its_input_and_gives_its_output(
    client: ProviderClient, host: Host
) -> None:
    inputs = {
        "connection": Secret(host.connection()),
        "create": "cat; echo err >&2",
        "stdin": Secret("hush\n"),
    }
    _, outputs = await client.create(REMOTE, inputs)
    assert (outputs["stdout"], outputs["stderr"]) == ("hush", "err")
    assert isinstance(outputs["connection"], Secret)
    assert isinstance(outputs["stdin"], Secret)


async def test_a_connection_gets_its_defaults_and_is_always_secret(client: ProviderClient) -> None:
    checked = await client.check(REMOTE, "gate", {"connection": {"host": "h"}, "create": "true"})
    assert checked.inputs["connection"] == Secret(
        {"host": "h", "user": "root", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
    )


async def test_a_remote_failure_tells_status_command_and_all_output(
    client: ProviderClient, host: Host
) -> None:
    with pytest.raises(ProviderError) as caught:
        await client.create(REMOTE, {"connection": host.connection(), "create": "echo oh; exit 7"})
    assert str(caught.value) == 'Process exited with status 7: running "echo oh; exit 7":\noh\n'


async def test_a_wrong_host_key_is_tried_again_and_fails(attached: Attached, host: Host) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    inputs = {"connection": host.connection(hostKey=other), "create": "true"}
    with pytest.raises(
        ProviderError, match="after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch"
    ):
        await attached.client.create(REMOTE, inputs)
    assert attached.engine.lines == ["info: Dial 1/1 failed: retrying"]


async def test_a_host_that_is_not_there_is_named_after_the_last_dial(
    client: ProviderClient, host: Host
) -> None:
    with pytest.raises(ProviderError, match=r"after 1 failed attempts: dial tcp 127\.0\.0\.1:1: connect"):
        await client.create(REMOTE, {"connection": host.connection(port=1), "create": "true"})


async def test_a_key_that_is_not_accepted_fails(client: ProviderClient, host: Host) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with pytest.raises(ProviderError, match="unable to authenticate"):
        await client.create(REMOTE, {"connection": host.connection(privateKey=stranger), "create": "true"})


async def test_a_broken_private_key_is_an_error_at_once(client: ProviderClient, host: Host) -> None:
    with pytest.raises(ProviderError, match="cannot parse a key"):
        await client.create(REMOTE, {"connection": host.connection(privateKey="rubbish"), "create": "true"})


async def test_a_delete_runs_on_the_old_host(client: ProviderClient, host: Host) -> None:
    inputs = {"connection": host.connection(), "delete": f"touch {host.root}/deleted"}
    await client.delete(REMOTE, "x", {**inputs, "stdout": ""}, inputs)
    assert (host.root / "deleted").exists()


async def test_a_file_is_copied_and_only_again_when_it_changed(
    client: ProviderClient, host: Host, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("hello")
    source = Asset(path=str(tmp_path / "page.html"), hash="1")
    inputs: Values = {"connection": host.connection(), "source": source, "remotePath": "/srv/site/page.html"}
    key, outputs = await client.create(COPY, inputs)
    copied = host.root / "srv/site/page.html"
    assert (copied.read_text(), len(key)) == ("hello", 8)
    copied.write_text("changed there")
    elsewhere = {**inputs, "connection": host.connection(user="admin")}
    await client.update(COPY, key, outputs, elsewhere, inputs)
    assert copied.read_text() == "changed there"
    await client.update(COPY, key, outputs, {**inputs, "source": Asset(text="new", hash="2")}, inputs)
    assert copied.read_text() == "new"


async def test_a_directory_is_copied_whole(client: ProviderClient, host: Host, tmp_path: Path) -> None:
    (tmp_path / "site/css").mkdir(parents=True)
    (tmp_path / "site/css/a.css").write_text("a")
    source = Asset(archive=True, path=str(tmp_path / "site"), hash="1")
    await client.create(COPY, {"connection": host.connection(), "source": source, "remotePath": "/srv"})
    assert (host.root / "srv/site/css/a.css").read_text() == "a"
