"""flotilla-gate: which check failed, why, and the lines that explain it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fleet.config import Settings
from fleet.machine import checks, gate, manifest, places
from fleet.machine.checks import BrokenError, Check
from fleet.machine.host import Result
from tests.unit.fake_machine import WEB, FakeClock, FakeHost

SETTINGS = Settings(server_names=("www.foobar.com",))


def answers(*given: str | None) -> Callable[[], str | None]:
    """A check that gives these answers, the last one for ever."""
    left: Iterator[str | None] = iter(given)
    last: list[str | None] = [given[-1]]
    return lambda: next(left, last[0])


def test_a_check_is_waited_for(tmp_path: Path) -> None:
    [outcome] = gate.judge(FakeHost(tmp_path), FakeClock(), [Check("app", answers("no", "no", None), 10)])
    assert outcome.ok
    assert 0 < outcome.seconds < 2


def test_a_check_that_never_passes_fails_with_its_last_reason_and_log(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.answer("journalctl", "line 1\nline 2\n")
    [outcome] = gate.judge(host, FakeClock(), [Check("app", answers("down"), 10, lambda: ("flotilla-app",))])
    assert not outcome.ok
    assert outcome.seconds >= 10
    assert (outcome.reason, outcome.log) == ("down", ("line 1", "line 2"))


def test_a_broken_check_is_not_waited_for(tmp_path: Path) -> None:
    def broken() -> str | None:
        raise BrokenError("for good")

    [outcome] = gate.judge(FakeHost(tmp_path), FakeClock(), [Check("manifest", broken, 100)])
    assert (outcome.ok, outcome.seconds, outcome.reason) == (False, 0, "for good")


def test_after_a_failure_the_others_are_asked_once(tmp_path: Path) -> None:
    outcomes = gate.judge(
        FakeHost(tmp_path), FakeClock(), [Check("a", answers("no"), 5), Check("b", answers("no", None), 5)]
    )
    assert [outcome.ok for outcome in outcomes] == [False, False]
    assert outcomes[1].seconds == 0


def test_patience_can_be_cut_short(tmp_path: Path) -> None:
    [outcome] = gate.judge(FakeHost(tmp_path), FakeClock(), [Check("a", answers("no"), 900)], 3)
    assert outcome.seconds == 3


def test_a_log_is_shown_once(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.answer("journalctl", "line")
    down = [Check(name, answers("down"), 0, lambda: ("nginx",)) for name in ("tls", "app")]
    assert [outcome.log for outcome in gate.judge(host, FakeClock(), down)] == [("line",), ()]


def test_a_check_that_stumbles_is_a_failed_check(tmp_path: Path) -> None:
    def stumbles() -> str | None:
        raise OSError("disk")

    [outcome] = gate.judge(FakeHost(tmp_path), FakeClock(), [Check("a", stumbles, 1)])
    assert outcome.reason == "OSError: disk"


def test_a_fence_that_nobody_watches_fails(tmp_path: Path) -> None:
    assert "nobody watches" in (checks.fence(FakeHost(tmp_path), FakeClock()) or "")


@pytest.mark.parametrize(
    ("state", "passes"), [("open", True), ("leaving", True), ("closed", False), ("held", False)]
)
def test_a_closed_fence_fails_with_its_reason(tmp_path: Path, state: str, passes: bool) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.FENCE_STATUS, json.dumps({"state": state, "reason": "canary"}))
    said = checks.fence(host, FakeClock())
    assert said is None if passes else said == f"the fence is {state}: canary"


def test_people_read_one_line_for_each_check() -> None:
    outcomes = [
        gate.Outcome("cloud-init", True, 1.25),
        gate.Outcome("app", False, 60, "refused", ("log line",)),
    ]
    assert gate.lines(outcomes) == [
        "pass cloud-init (1.2 s)",
        "FAIL app (60.0 s): refused",
        "     | log line",
    ]


def test_the_result_says_slot_release_and_verdict() -> None:
    result = gate.report(WEB, "abc", [gate.Outcome("app", False, 1, "no")])
    assert (result["slot"], result["release"], result["ok"]) == ("web-1", "abc", False)


def status(**changes: object) -> str:
    return json.dumps({"status": "done", "errors": [], "recoverable_errors": {}, **changes})


def test_cloud_init_is_waited_for(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.answer("cloud-init status", status(status="running"), code=0)
    assert checks.cloud_init(host) == "cloud-init is running"


@pytest.mark.parametrize(
    "said",
    [
        status(status="error", errors=["scripts-user failed"]),
        status(recoverable_errors={"ERROR": ["package missing"]}),
        status(status="disabled"),
    ],
)
def test_a_boot_with_an_error_never_passes(tmp_path: Path, said: str) -> None:
    host = FakeHost(tmp_path)
    host.answer("cloud-init status", said, code=2)
    with pytest.raises(BrokenError):
        checks.cloud_init(host)


def test_a_warning_of_cloud_init_passes(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.answer("cloud-init status", status(recoverable_errors={"DEPRECATED": ["old key"]}), code=2)
    assert checks.cloud_init(host) is None


def baked(root: Path) -> FakeHost:
    """A machine as its image was baked."""
    host = FakeHost(root)
    host.lay(places.RELEASE, "FLOTILLA_RELEASE=abc\nFLOTILLA_CALLABLE=site:app\n")
    host.lay("/usr/local/lib/flotilla/program.py", "print()")
    host.answer("dpkg-query", "ii  nginx:amd64 1.26\nrc  gone:amd64 1\nii  bash:amd64 5.2\n")
    host.lay(places.MANIFEST, json.dumps(manifest.observe(host)))
    return host


def test_a_machine_as_baked_passes(tmp_path: Path) -> None:
    host = baked(tmp_path)
    digest = manifest.read(host)["digest"]
    assert checks.manifest_equal(host, Settings(release="abc", manifest=digest)) is None


def test_a_package_upgraded_since_fails(tmp_path: Path) -> None:
    host = baked(tmp_path)
    host.answer("dpkg-query", "ii  nginx:amd64 1.27\nii  bash:amd64 5.2\n")
    with pytest.raises(BrokenError, match=r"packages: .* instead of"):
        checks.manifest_equal(host, SETTINGS)


def test_a_changed_program_fails(tmp_path: Path) -> None:
    host = baked(tmp_path)
    host.lay("/usr/local/lib/flotilla/program.py", "print(1)")
    with pytest.raises(BrokenError, match="files: "):
        checks.manifest_equal(host, SETTINGS)


@pytest.mark.parametrize("asked", [Settings(release="other"), Settings(manifest="0" * 64)])
def test_an_image_that_the_stack_did_not_ask_for_fails(tmp_path: Path, asked: Settings) -> None:
    with pytest.raises(BrokenError, match="the stack asks for"):
        checks.manifest_equal(baked(tmp_path), asked)


def test_an_image_without_manifest_fails(tmp_path: Path) -> None:
    with pytest.raises(BrokenError, match="not baked to its end"):
        checks.manifest_equal(FakeHost(tmp_path), SETTINGS)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.lay(places.PACKAGES, "bash\nnginx\npython3-flask\n")
    host.answer("dpkg-query", "ii  nginx:amd64 1.26\nrc  python3-flask:all 1\nii  bash:amd64 5.2\n")
    with pytest.raises(BrokenError, match=r"not installed: python3-flask$"):
        checks.packages(host)
    host.answer("dpkg-query", "ii  nginx:amd64 1.26\nii  python3-flask:all 1\nii  bash:amd64 5.2\n")
    assert checks.packages(host) is None


@pytest.mark.parametrize(
    ("ages", "fails"), [([], False), ([5], False), ([1, 2, 3, 4, 5], True), ([1, 2, 3, 4, 9999], False)]
)
def test_a_machine_that_boots_again_and_again_fails(tmp_path: Path, ages: list[float], fails: bool) -> None:
    host, clock = FakeHost(tmp_path), FakeClock()
    said = [{"index": 0, "boot_id": "x", "first_entry": int((clock.wall() - age) * 1e6)} for age in ages]
    host.answer("journalctl --no-pager --list-boots", json.dumps(said))
    if fails:
        with pytest.raises(BrokenError, match="booted 5 times in the last 600 s"):
            checks.boots(host, clock)
    else:
        assert checks.boots(host, clock) is None


def test_units_that_do_not_run_are_named_with_their_state(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)

    def states(argv: tuple[str, ...]) -> Result:
        return Result(3, "\n".join("failed" if unit == "b.service" else "active" for unit in argv[2:]), "")

    host.react("systemctl is-active", states)
    assert checks.processes(host, ("a.service", "b.service")) == "b.service is failed"


def test_ports_that_do_not_listen_are_named(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.lay("/proc/net/tcp", "  sl\n   0: 00000000:0016 00000000:0000 0A\n")
    host.lay("/proc/net/tcp6", "  sl\n   0: 00000000000000000000000000000000:01BB 0:0000 0A\n")
    assert checks.ports(host, (22, 443, 3306)) == "nothing listens on port 3306"


@pytest.mark.parametrize(
    ("output", "code", "reason"),
    [("", 1, "no packet filter"), ("policy accept", 0, "everything in"), ("policy drop", 0, None)],
)
def test_a_machine_without_its_packet_filter_fails(
    tmp_path: Path, output: str, code: int, reason: str | None
) -> None:
    host = FakeHost(tmp_path)
    host.answer("nft list", output, code=code)
    said = checks.firewall(host)
    assert said is None if reason is None else reason in (said or "")


class Site(BaseHTTPRequestHandler):
    """Answers as its class says."""

    status = 200

    def do_GET(self) -> None:
        assert (self.path, self.headers["Host"]) == ("/livez", "www.foobar.com")
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"database away")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "reason"), [(200, None), (503, "GET /livez answers 503: database away")])
def test_the_site_is_asked_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, reason: str | None
) -> None:
    monkeypatch.setattr(Site, "status", status)
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        monkeypatch.setattr(checks, "LOCAL_PORT", server.server_port)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert checks.answers(SETTINGS, "/livez") == reason
        thread.join()
    assert "GET /livez fails" in (checks.answers(SETTINGS, "/livez") or "")
