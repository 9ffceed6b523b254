"""A private RabbitMQ node: own name, ports, port mapper, cookie and directories.

An installed RabbitMQ is used when there is one, else Debian's package is unpacked privately. The
node replaces the start script's process, so that its pid is the virtual machine's; epmd, the port
mapper, runs as our child, so that nothing daemonised is left behind.
"""

import asyncio
import os
import re
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika

from sandbox import kept
from sandbox.blocking import blocking
from sandbox.debian_packages import library_path, unpack
from sandbox.errors import Missing, NotAnswering
from sandbox.guardian import MARK, Guardian
from sandbox.ports import fixed_port, free_port
from sandbox.server_process import ServerProcess

USER = "flotilla"

_NODE = "flotilla@localhost"
_READY_LIMIT_S = 60.0


class PrivateRabbitmq:
    """One broker whose messages, ports and password live under `home`."""

    name = "RabbitMQ"

    def __init__(self, home: Path, tree: Path, guardian: Guardian, port: int | None, mark: Path) -> None:
        self._home = home
        self._tree = tree
        self._kept_in = home / "address.json"
        self._kept = kept.load(self._kept_in)
        self._fixed_port = port
        self._traced: list[str] = []
        self._mark = mark
        self._node = ServerProcess(self.name, guardian, home / "rabbitmq.log")
        self._port_mapper = ServerProcess("epmd", guardian, home / "epmd.log")

    @property
    def url(self) -> str:
        """The broker's default virtual host."""
        return self.url_of("")

    @property
    def pid(self) -> int:
        """The Erlang virtual machine."""
        return self._node.pid

    def url_of(self, vhost: str) -> str:
        """The virtual host `vhost`; the default one is the empty string."""
        return f"amqp://{USER}:{self._kept.password}@127.0.0.1:{self._kept.ports['amqp']}/{vhost}"

    def launch(self) -> None:
        """The node is starting, on the ports of last time where those are free."""
        self._choose_ports()
        environment = self._write_configuration()
        erlang = self._tree / "usr" / "lib" / "erlang" / "bin"
        epmd = [str(erlang / "epmd"), "-address", "127.0.0.1", "-port", str(self._kept.ports["epmd"])]
        self._port_mapper.launch(epmd, environment, self._home)
        script = self._tree / "usr" / "lib" / "rabbitmq" / "bin" / "rabbitmq-server"
        self._node.launch([str(script)], environment, self._home)

    def wait_ready(self) -> None:
        """The node completes an AMQP handshake with our user."""
        self._node.wait_ready(lambda: blocking(answers(self.url)), _READY_LIMIT_S)

    def stop(self) -> None:
        """Orderly shutdown of the node, then of its port mapper."""
        self._node.stop()
        self._port_mapper.stop()

    def kill(self) -> None:
        """SIGKILL of the node, as a crash would be."""
        self._node.kill()
        self._port_mapper.kill()

    def restart(self) -> None:
        """The node runs anew and answers, on the same port unless somebody took it."""
        self.stop()
        self.launch()
        self.wait_ready()

    def add_vhost(self, name: str) -> str:
        """The URL of a new, empty virtual host."""
        everything = '<<".*">>'
        self._evaluate(
            f'ok = rabbit_vhost:add(<<"{name}">>, <<"{USER}">>), '
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"{name}">>, '
            f'{everything}, {everything}, {everything}, <<"{USER}">>).'
        )
        return self.url_of(name)

    def delete_vhost(self, name: str) -> None:
        """The virtual host is gone, with its queues, messages and connections."""
        self._evaluate(f'rabbit_vhost:delete(<<"{name}">>, <<"{USER}">>).')

    def add_user(self, name: str, password: str, vhost: str, permissions: tuple[str, str, str]) -> None:
        """A user who may configure, write and read in the virtual host what matches `permissions`."""
        patterns = ", ".join(f'<<"{each}">>'.replace("\\", "\\\\") for each in permissions)
        self._evaluate(
            f'ok = rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"{password}">>, <<"{USER}">>), '
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"{vhost}">>, {patterns}, '
            f'<<"{USER}">>).'
        )

    def delete_user(self, name: str) -> None:
        """Nobody of that name may connect any more; nothing happens where there is none."""
        self._evaluate(f'(catch rabbit_auth_backend_internal:delete_user(<<"{name}">>, <<"{USER}">>)).')

    def trace(self, vhost: str) -> None:
        """Every message of the virtual host is copied to amq.rabbitmq.trace from now on, restarts or not."""
        self._traced.append(vhost)
        self._evaluate(f'rabbit_trace:start(<<"{vhost}">>), ok.')

    def cut_connections(self) -> None:
        """Every connection is gone without a word, as with a network that fails."""
        self._evaluate("[exit(Connection, kill) || Connection <- rabbit_networking:connections()], ok.")

    def _evaluate(self, expression: str) -> None:
        call = self._tree / "usr" / "lib" / "erlang" / "bin" / "erl_call"
        command = [str(call), "-sname", _NODE, "-c", self._cookie(), "-e"]
        environment = self._erlang_environment()
        done = subprocess.run(
            command,
            env=environment,
            input=f"{expression}\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if done.returncode != 0 or not done.stdout.startswith("{ok,"):
            raise NotAnswering(
                f"RabbitMQ refused {expression!r}: {done.stdout.strip()} {done.stderr.strip()}"
            )

    def _choose_ports(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = self._kept.ports
        for purpose in ("amqp", "epmd", "distribution"):
            ports[purpose] = free_port(ports.get(purpose))
        if self._fixed_port:
            ports["amqp"] = fixed_port(self._fixed_port, "RABBITMQ_PORT")
        kept.save(self._kept, self._kept_in)

    def _cookie(self) -> str:
        path = self._home / ".erlang.cookie"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16))
            path.chmod(0o400)
        return path.read_text()

    def _write_configuration(self) -> dict[str, str]:
        self._cookie()
        (self._home / "enabled_plugins").write_text("[].\n")
        traced = ", ".join(f'<<"{vhost}">>' for vhost in self._traced)
        (self._home / "advanced.config").write_text(f"[{{rabbit, [{{trace_vhosts, [{traced}]}}]}}].\n")
        configuration = self._home / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._kept.ports['amqp']}\n"
            f"default_user = {USER}\n"
            f"default_pass = {self._kept.password}\n"
            "log.console = true\n"
            "log.console.level = warning\n"
            "log.file = false\n"
        )
        return {**self._erlang_environment(), **self._rabbitmq_settings()}

    def _rabbitmq_settings(self) -> dict[str, str]:
        return {
            # Lets the start script exec the virtual machine instead of waiting beside it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_DIST_PORT": str(self._kept.ports["distribution"]),
            "RABBITMQ_CONF_ENV_FILE": str(self._home / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(self._home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._home / "enabled_plugins"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(self._home / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._home / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self._home / "schema"),
            "RABBITMQ_MNESIA_BASE": str(self._home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._home / "log"),
            "RABBITMQ_PID_FILE": str(self._home / "rabbitmq.pid"),
        }

    def _erlang_environment(self) -> dict[str, str]:
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL", "ELIXIR")) and name != "NOTIFY_SOCKET"
        }
        if self._tree != Path("/"):
            ours["LD_LIBRARY_PATH"] = library_path(self._tree)
        erlang = self._tree / "usr" / "lib" / "erlang" / "bin"
        return {
            **ours,
            "PATH": f"{erlang}:{ours.get('PATH', os.defpath)}",
            "HOME": str(self._home),
            "ERL_EPMD_PORT": str(self._kept.ports["epmd"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "LC_ALL": "C.UTF-8",
            MARK: str(self._mark),
        }


def rabbitmq_tree(packages: Path, report: Callable[[str], None], installed: Path = Path("/")) -> Path:
    """The root below which RabbitMQ and Erlang lie: `installed`, or else a private tree in `packages`."""
    needed = ("usr/lib/rabbitmq/bin/rabbitmq-server", "usr/lib/erlang/bin/erl_call")
    if all((installed / program).exists() for program in needed):
        return installed
    tree = packages / "rabbitmq"
    if re.search(r"\s", str(tree)):
        raise Missing(
            f"RabbitMQ cannot run from a path with spaces ({tree}): move the checkout, or set RABBITMQ_URL"
        )
    try:
        unpack("rabbitmq-server", tree, own=("rabbitmq-", "erlang-"), report=report)
    except Missing as reason:
        raise Missing(
            f"no RabbitMQ: {reason}. Install it (Debian: apt-get install rabbitmq-server) "
            "or set RABBITMQ_URL to a running broker"
        ) from reason
    _tell_erlang_its_place(tree)
    return tree


async def answers(url: str) -> None:
    """The broker at `url` completes an AMQP handshake; raises what goes wrong otherwise."""
    async with asyncio.timeout(5):
        # A closed port is found out first by ourselves: the driver would log each attempt.
        _, probe = await asyncio.open_connection(*_place(url))
        probe.close()
        connection = await aio_pika.connect(url)
        await connection.close()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or (5671 if parts.scheme == "amqps" else 5672)


def _tell_erlang_its_place(tree: Path) -> None:
    script = tree / "usr" / "lib" / "erlang" / "bin" / "erl"
    text = script.read_text()
    placed = re.sub(r"(?m)^(\s*ROOTDIR=).*usr/lib/erlang$", rf"\g<1>{tree}/usr/lib/erlang", text)
    if placed != text:
        script.write_text(placed)
