"""A machine for tests of its programs: files below a temporary directory, commands that are only noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fleet.config import Inbound, MachineConfig
from fleet.machine import nginx_process, places
from fleet.machine.host import Clock, Host, Result

Answer = Result | Callable[[tuple[str, ...]], Result]


class FakeHost(Host):
    """Every command succeeds unless an answer was scripted for its beginning; the longest beginning counts."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ran: list[tuple[str, ...]] = []
        self.fed: dict[tuple[str, ...], str] = {}
        self._answers: dict[str, Answer] = {}

    def answer(self, beginning: str, output: str = "", *, code: int = 0, error: str = "") -> None:
        self._answers[beginning] = Result(code, output, error)

    def react(self, beginning: str, answer: Callable[[tuple[str, ...]], Result]) -> None:
        self._answers[beginning] = answer

    def run(
        self, *argv: str, feed: str = "", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> Result:
        self.ran.append(argv)
        self.fed[argv] = feed
        line = " ".join(argv)
        matching = [beginning for beginning in self._answers if line.startswith(beginning)]
        if not matching:
            return Result(0, "", "")
        answer = self._answers[max(matching, key=len)]
        return answer if isinstance(answer, Result) else answer(argv)

    def lay(self, path: str, text: str) -> None:
        """Put a file where it belongs."""
        where = self.path(path)
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text)

    def lines(self) -> list[str]:
        """The commands run so far."""
        return [" ".join(argv) for argv in self.ran]


class FakeClock(Clock):
    """Time passes only by pauses; something may happen at each."""

    def __init__(self, during: Callable[[float], None] = lambda _: None) -> None:
        self.time = 1_000_000.0
        self._during = during

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds
        self._during(self.time)


NGINX = 99  # its main process


def lay_nginx_worker(host: FakeHost, number: int, main: int) -> None:
    """A process that takes connections for the nginx with this main process."""
    host.lay(f"/proc/{number}/cmdline", "nginx: worker process\0")
    host.lay(f"/proc/{number}/status", f"Name:\tnginx\nPPid:\t{main}\n")


def play_nginx(host: FakeHost) -> None:
    """nginx with one worker; a reload puts another in its place."""
    pids = iter(range(100, 200))

    def reload(_: tuple[str, ...]) -> Result:
        for entry in host.path("/proc").glob("1*/cmdline"):
            entry.write_text("nginx: worker process is shutting down\0")
        lay_nginx_worker(host, next(pids), NGINX)
        return Result(0, "", "")

    host.lay(nginx_process.PID_FILE, f"{NGINX}\n")
    reload(())
    host.react("systemctl reload", reload)


def web_host(root: Path) -> FakeHost:
    """A web member before its first bundle."""
    host = FakeHost(root)
    host.lay(places.MACHINE, WEB.to_json())
    host.lay("/proc/meminfo", "MemTotal:        2000000 kB\n")
    host.lay("/proc/cpuinfo", "processor\t: 0\n")
    host.lay("/proc/net/if_inet6", "")
    host.answer("openssl", "one public key")
    host.answer("systemctl is-active", code=3)
    play_nginx(host)
    return host


WEB = MachineConfig(
    stack="dev",
    role="web",
    slot="web-1",
    network="10.20.0.0/20",
    inbound=(Inbound(protocol="tcp", port=443, sources=("edge",)),),
    processes=("nginx.service", "flotilla-app.service"),
    ports=(22, 443),
)
DATABASE = MachineConfig(
    stack="dev",
    role="database",
    slot="database-1",
    network="10.20.0.0/20",
    inbound=(Inbound(protocol="tcp", port=3306, sources=("10.20.0.0/20",)),),
    processes=("mariadb.service",),
    ports=(22, 3306),
    engine="mysql",
    volume="dev-data",
)
