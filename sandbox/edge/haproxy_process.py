"""The running HAProxy: started, reloaded without losing a connection, spoken to, and found again after a crash."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import processes
from sandbox.paths import MARKER
from sandbox.processes import ProcessId

# HAProxy takes a command line of one buffer (16 KiB): this many commands stay well below it.
_COMMANDS_AT_ONCE = 100
# Bits of srv_admin_state in `show servers state` that mean "takes no requests": maintenance, be it forced,
# inherited or for want of an address.
_MAINTENANCE = 0x01 | 0x02 | 0x20


class EdgeError(Exception):
    """HAProxy could not be started, reloaded or asked; the text is its own."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server line as the process has it now; `ready` false: it takes no requests."""

    backend: str
    name: str
    address: str
    ready: bool


class HaproxyProcess:
    """One HAProxy for a configuration file. It daemonizes, so it outlives the sandbox's daemon."""

    def __init__(self, home: Path, config: Path, socket: Path) -> None:
        self._home = home
        self._config = config
        self._socket = socket
        self._pid_file = config.with_name("haproxy.pid")
        self._identity = config.with_name("haproxy.id")

    def running(self) -> ProcessId | None:
        """The process that serves, also when an earlier daemon started it."""
        return ProcessId.read(self._identity)

    async def load(self) -> None:
        """Start it with the configuration file, or take over from the running one without a gap."""
        arguments = ["haproxy", "-D", "-f", str(self._config), "-p", str(self._pid_file)]
        old = self.running()
        if old is not None:
            # The new process gets the open sockets; the old one finishes its requests and ends.
            arguments += ["-x", str(self._socket), "-sf", str(old.pid)]
        await self._run(arguments)
        started = ProcessId.of(int(self._pid_file.read_text()))
        if started is None:
            raise EdgeError(f"haproxy ended right after its start with {self._config}")
        started.write(self._identity)

    async def check(self) -> None:
        """EdgeError with HAProxy's own words when the configuration file is wrong."""
        await self._run(["haproxy", "-c", "-q", "-f", str(self._config)])

    async def stop(self) -> None:
        """End it now, and those that an earlier reload left finishing."""
        found = await asyncio.to_thread(self._all)
        await asyncio.to_thread(processes.end, found, patience=5.0)
        self._identity.unlink(missing_ok=True)

    async def ask(self, *commands: str) -> str:
        """Run commands of the management guide on the stats socket; their answers, joined."""
        answers = []
        for start in range(0, len(commands), _COMMANDS_AT_ONCE):
            answers.append(await self._ask(commands[start : start + _COMMANDS_AT_ONCE]))
        return "".join(answers)

    async def description(self) -> str | None:
        """What the running configuration's `description` says; None when no process answers."""
        if self.running() is None:
            return None
        try:
            answer = await self.ask("show info")
        except EdgeError:
            return None
        lines = (line.partition(": ") for line in answer.splitlines())
        return next((value for key, _, value in lines if key.lower() == "description"), None)

    async def servers(self) -> list[Server]:
        """Every server of every backend, as the process has it."""
        answer = await self.ask("show servers state")
        rows = [line for line in answer.splitlines() if line.strip() and line.strip() != "1"]
        rows[0] = rows[0].removeprefix("# ")
        return [
            Server(
                row["be_name"],
                row["srv_name"],
                row["srv_addr"],
                not int(row["srv_admin_state"]) & _MAINTENANCE,
            )
            for row in csv.DictReader(rows, delimiter=" ")
        ]

    async def _ask(self, commands: Sequence[str]) -> str:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError as error:
            raise EdgeError(f"haproxy does not answer on {self._socket}: {error}") from error
        try:
            writer.write((";".join(commands) + "\n").encode())
            await writer.drain()
            return (await reader.read()).decode()
        finally:
            writer.close()

    async def _run(self, arguments: list[str]) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, MARKER: str(self._home)},
            )
        except FileNotFoundError as error:
            raise EdgeError("haproxy is not installed: apt-get install haproxy") from error
        _, complaint = await process.communicate()
        if process.returncode != 0:
            raise EdgeError(f"haproxy refused {self._config}: {complaint.decode().strip()}")

    def _all(self) -> list[int]:
        wanted = str(self._config)
        return [pid for pid in processes.of_sandbox(self._home) if wanted in processes.command_line(pid)]
