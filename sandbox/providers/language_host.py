"""The engine's language host for Python: starts the project's program and reports how it ended.

The engine starts it once for a command (`pulumi-language-python ENGINE_ADDRESS`), reads the port it prints and
speaks `pulumirpc.LanguageRuntime` to it:
https://github.com/pulumi/pulumi/blob/v3.259.0/proto/pulumi/language.proto
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING


def _skip_sdk() -> None:
    """Let the gRPC stubs be imported without the SDK around them: half the start-up time of every command."""
    spec = importlib.util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        raise SystemExit(f"the Python package 'pulumi' is not installed for {sys.executable}")
    base = Path(spec.origin).parent
    for name, path in (("pulumi", base), ("pulumi.runtime", base / "runtime")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package


if __name__ == "__main__":
    _skip_sdk()

import grpc  # noqa: E402  (after the stand-in packages)
from google.protobuf import json_format  # noqa: E402
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2  # noqa: E402

if TYPE_CHECKING:
    from google.protobuf import empty_pb2

RUNNER = Path(__file__).with_name("run_program.py")
# The runner has shown its error: the engine must add nothing to it.
SHOWN_EXIT_CODE = 32
# The engine lets messages of this size through (sdk/go/common/util/rpcutil/options.go).
MAX_MESSAGE_BYTES = 400 * 1024 * 1024
# A provider on this host that does not take a connection within this time is not there.
_CONNECT_SECONDS = 5.0
_QUIT_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_LIST_PACKAGES = """
import importlib.metadata, json
print(json.dumps({d.name: d.version for d in importlib.metadata.distributions() if d.name}))
"""


def interpreter(info: language_pb2.ProgramInfo) -> Path:
    """The Python that runs a project: its `virtualenv` option below the project's root, else the host's own.

    Raises:
        FileNotFoundError: the option names a directory without a Python.
    """
    virtualenv = json_format.MessageToDict(info.options).get("virtualenv")
    if not virtualenv:
        return Path(sys.executable)
    python = Path(info.root_directory, virtualenv, "bin", "python")
    if not python.exists():
        raise FileNotFoundError(
            f"the project's virtual environment {python.parent.parent} has no bin/python; set it up "
            "with `pulumi install`"
        )
    return python


def runner_arguments(request: language_pb2.RunRequest, engine: str) -> list[str]:
    """What `run_program.py` is started with; nothing secret is among it."""
    return [
        f"--monitor={request.monitor_address}",
        f"--engine={engine}",
        f"--project={request.project}",
        f"--stack={request.stack}",
        f"--organization={request.organization}",
        f"--root-directory={request.info.root_directory}",
        f"--working-directory={request.pwd or request.info.program_directory}",
        f"--parallel={request.parallel}",
        *(["--dry-run"] if request.dryRun else []),
        "--",
        str(Path(request.info.program_directory, request.info.entry_point)),
        *request.args,
    ]


def runner_environment(request: language_pb2.RunRequest) -> dict[str, str]:
    """The host's environment and the stack's config, decrypted, as the SDK reads it."""
    return {
        **os.environ,
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        "PYTHONUNBUFFERED": "1",
    }


def verdict(exit_code: int) -> language_pb2.RunResponse:
    """How a program ended, in the engine's terms."""
    if exit_code == 0:
        return language_pb2.RunResponse()
    if exit_code == SHOWN_EXIT_CODE:
        return language_pb2.RunResponse(bail=True)
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return language_pb2.RunResponse(error=f"the Python program was ended by signal {name}")
    return language_pb2.RunResponse(error=f"the Python program exited with code {exit_code}")


def absent_providers(attached: str) -> list[str]:
    """Of `name:port` pairs, comma-separated, those whose port on the loopback refuses a connection."""
    pairs = [pair for pair in attached.split(",") if pair]
    return [pair for pair in pairs if not _listening(int(pair.rpartition(":")[2]))]


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Serves one engine; what it does not override answers UNIMPLEMENTED, which the engine understands."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def Handshake(  # noqa: N802
        self, request: language_pb2.LanguageHandshakeRequest, _context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(  # noqa: N802
        self, _request: empty_pb2.Empty, _context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPackages(  # noqa: N802
        self, _request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        """None in advance: the providers are attached (PULUMI_DEBUG_PROVIDERS), any other is looked for on use.

        The engine asks before it does anything, so this is also the place to say that they are not there.
        """
        if absent := absent_providers(os.environ.get("PULUMI_DEBUG_PROVIDERS", "")):
            context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"the sandbox is not running: nobody answers as provider {', '.join(absent)} "
                "(PULUMI_DEBUG_PROVIDERS); start it with `python -m sandbox up`",
            )
        return language_pb2.GetRequiredPackagesResponse()

    def RuntimeOptionsPrompts(  # noqa: N802
        self, _request: language_pb2.RuntimeOptionsRequest, _context: grpc.ServicerContext
    ) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    def Run(  # noqa: N802
        self, request: language_pb2.RunRequest, context: grpc.ServicerContext
    ) -> language_pb2.RunResponse:
        try:
            python = interpreter(request.info)
        except FileNotFoundError as error:
            return language_pb2.RunResponse(error=str(error))
        command = [str(python), "-P", str(RUNNER), *runner_arguments(request, self._engine)]
        with self._started(command, runner_environment(request)) as program:
            # An engine that gives up on the call must not leave the program running.
            context.add_callback(program.terminate)
            return verdict(program.wait())

    def About(  # noqa: N802
        self, request: language_pb2.AboutRequest, _context: grpc.ServicerContext
    ) -> language_pb2.AboutResponse:
        python = interpreter(request.info)
        version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
        return language_pb2.AboutResponse(executable=str(python), version=version.split()[-1])

    def GetProgramDependencies(  # noqa: N802
        self, request: language_pb2.GetProgramDependenciesRequest, _context: grpc.ServicerContext
    ) -> language_pb2.GetProgramDependenciesResponse:
        command = [str(interpreter(request.info)), "-c", _LIST_PACKAGES]
        listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=name, version=listed[name]) for name in sorted(listed)
            ]
        )

    def InstallDependencies(  # noqa: N802
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        """`pulumi install`: the virtual environment, and requirements.txt into it."""
        root = Path(request.info.root_directory)
        virtualenv = json_format.MessageToDict(request.info.options).get("virtualenv")
        commands = []
        if virtualenv and not Path(root, virtualenv, "bin", "python").exists():
            commands.append([sys.executable, "-m", "venv", str(root / virtualenv)])
        if (root / "requirements.txt").exists():
            python = Path(root, virtualenv, "bin", "python") if virtualenv else Path(sys.executable)
            commands.append([str(python), "-m", "pip", "install", "-r", str(root / "requirements.txt")])
        for command in commands:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            yield language_pb2.InstallDependenciesResponse(stdout=done.stdout)
            if done.returncode != 0:
                context.abort(
                    grpc.StatusCode.INTERNAL, f"`{' '.join(command)}` exited with {done.returncode}"
                )

    def close(self) -> None:
        """End the programs that still run; none is started afterwards."""
        with self._lock:
            self._closed = True
            programs = list(self._programs)
        for program in programs:
            program.terminate()

    @contextmanager
    def _started(self, command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """A program whose output is the host's own, which the engine shows."""
        with self._lock:
            if self._closed:
                raise InterruptedError("the language host is closing")
            program = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            self._programs.add(program)
        try:
            yield program
        finally:
            with self._lock:
                self._programs.discard(program)


def _quit_with_engine() -> None:
    """Turn the end of stdin, a pipe the engine holds, into SIGTERM: a killed engine leaves no host behind."""
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Print the port, as the plugin protocol wants, and serve until the engine interrupts us or is gone."""
    # Blocked before any thread starts, so that the main thread alone takes them, by sigwait. The program
    # inherits the mask and lifts it when it can die silently.
    signal.pthread_sigmask(signal.SIG_BLOCK, _QUIT_SIGNALS)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
    host = LanguageHost(engine=arguments[-1] if arguments else "")
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=options)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _quit_with_engine()
    print(port, flush=True)
    signal.sigwait(_QUIT_SIGNALS)
    host.close()
    server.stop(grace=1.0).wait()


if __name__ == "__main__":
    main()
