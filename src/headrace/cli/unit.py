"""
A systemd unit that runs Headrace with as few rights as it needs, as text. Install.py writes it.

What the directives mean: https://www.freedesktop.org/software/systemd/man/systemd.exec.html
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from headrace.config.schema import Config

STATE = Path("/var/lib/headrace")
SPARE_S = 15  # beyond the drain, before systemd kills
PRIVILEGED = 1024  # ports below it need a capability
GPUS = ("nvidia", "nvidia-caps", "nvidia-frontend", "nvidia-modeset", "nvidia-uvm")

HARDENED = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077"""

# What only the system's own manager can do for a service.
SYSTEM = """\
ProtectSystem=strict
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private"""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit depends on. Without ``account`` systemd makes one up for as long as it runs."""

    program: tuple[str, ...]
    config: Config
    user: bool = False
    account: str = ""
    writes: tuple[Path, ...] = field(default=())

    def text(self) -> str:
        """The whole file."""
        return "\n".join(
            [
                "# Written by `headrace install-service`; write it anew when the configuration's",
                "# drain, port or folders change.",
                "[Unit]",
                "Description=Headrace, a gateway for language models",
                *([] if self.user else ["Wants=network-online.target"]),
                *([] if self.user else ["After=network-online.target"]),
                "",
                "[Service]",
                "Type=exec",
                f"ExecStart={' '.join(quoted(word) for word in self.program)}",
                "Restart=always",
                "RestartSec=2",
                "# Engines end after the gateway's drain, which needs them.",
                "KillMode=mixed",
                f"TimeoutStopSec={self.stop_s}",
                "LimitNOFILE=1048576",
                *self._home(),
                "",
                *self._rights(),
                "",
                "[Install]",
                f"WantedBy={'default' if self.user else 'multi-user'}.target",
                "",
            ]
        )

    @property
    def stop_s(self) -> int:
        """How long a stop may take: what the configuration says, and some."""
        server = self.config.server
        engines_s = max((engine.stop_s for engine in self.config.engines), default=0.0)
        return math.ceil(server.drain_grace_s + server.drain_s + engines_s) + SPARE_S

    @property
    def has_engines(self) -> bool:
        """Whether it starts engines: these compile, and ask for GPUs."""
        return bool(self.config.engines) or "up" in self.program

    def _home(self) -> list[str]:
        if self.user:
            return ["EnvironmentFile=-%E/headrace/headrace.env"]
        found = ["EnvironmentFile=-/etc/headrace/headrace.env"]
        return [
            *found,
            f"User={self.account}" if self.account else "DynamicUser=yes",
            "StateDirectory=headrace",
            f"WorkingDirectory={STATE}",
            f"Environment=HOME={STATE}",
        ]

    def _rights(self) -> list[str]:
        rights = HARDENED.splitlines()
        if not (self.has_engines or self.config.edge.enabled):
            rights.append("MemoryDenyWriteExecute=yes")  # engines and Envoy compile as they run
        if self.user:
            return rights
        rights += SYSTEM.splitlines()
        rights.append(f"ProtectHome={'read-only' if self.account else 'yes'}")
        if self.has_engines:
            rights += ["DevicePolicy=closed", *(f"DeviceAllow=char-{each} rw" for each in GPUS)]
        else:
            rights += ["PrivateDevices=yes", "ProcSubset=pid"]
        low = 0 < self.port < PRIVILEGED
        capabilities = "CAP_NET_BIND_SERVICE" if low else ""
        rights += [f"CapabilityBoundingSet={capabilities}", f"AmbientCapabilities={capabilities}"]
        if not low:
            rights.append("PrivateUsers=yes")
        return rights + [f"ReadWritePaths=-{path}" for path in self.writes]

    @property
    def port(self) -> int:
        """The lowest port that it listens on."""
        edge = self.config.edge
        ports = [self.config.server.port, *([edge.port] if edge.enabled else [])]
        return min((port for port in ports if port), default=0)


def folders(config: Config) -> tuple[Path, ...]:
    """The folders elsewhere than at home that the configuration writes to."""
    address = config.metering.address
    database = address.removeprefix("sqlite:").removeprefix("//")
    found = [config.identity.file.parent, config.metering.spill_dir, config.store.dir]
    if address.startswith("sqlite:"):
        found.append(Path(database).parent)
    if config.logging.file is not None:
        found.append(config.logging.file.parent)
    elsewhere = {path for path in found if path.is_absolute() and not path.is_relative_to(STATE)}
    return tuple(sorted(elsewhere))


def quoted(word: str) -> str:
    """
    A word of a command line as systemd reads it: ``%`` and ``$`` stand for themselves.

    https://www.freedesktop.org/software/systemd/man/systemd.service.html#Command%20lines
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_@%$+=:,./-]+", escaped) else f'"{escaped}"'
