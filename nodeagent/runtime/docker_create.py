"""From a :class:`nodeagent.runtime.base.ContainerConfig` to the body of Docker's ``POST /containers/create``. Pure.

Nothing is left to the engine's defaults that isolates: rights, limits, logs and restarts are always written out. Docker never restarts a
container by itself: the agent does, and counts.
"""

from __future__ import annotations

from typing import Any, Final

from nodeagent.runtime import base

_CPU_PERIOD_US: Final = 100_000
"""Length of a scheduling period of the CPU quota, the kernel's default."""


def create_body(config: base.ContainerConfig) -> dict[str, Any]:
    """Return the body of ``POST /containers/create``."""
    body: dict[str, Any] = {
        "Image": config.image,
        "Labels": dict(config.labels),
        "Env": [f"{name}={value}" for name, value in config.env],
        "Tty": config.tty,
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin_once,
        "ExposedPorts": {_port_key(port): {} for port in config.ports},
        "Healthcheck": {"Test": ["NONE"]},  # the agent probes; two opinions on health would differ
        "HostConfig": host_config(config),
    }
    if config.entrypoint is not None:
        body["Entrypoint"] = list(config.entrypoint)
    if config.command is not None:
        body["Cmd"] = list(config.command)
    if config.network and (config.ip or config.ipv6 or config.network_aliases):
        body["NetworkingConfig"] = {"EndpointsConfig": {config.network: _endpoint(config)}}
    optional = {
        "WorkingDir": config.working_dir,
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "StopSignal": config.stop_signal,
    }
    return {**body, **{key: value for key, value in optional.items() if value}}


def host_config(config: base.ContainerConfig) -> dict[str, Any]:
    """Return the part of the body that sets limits and rights."""
    result: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "CapAdd": sorted(config.capabilities),
        "Privileged": config.privileged,
        "SecurityOpt": _security(config),
        "PidsLimit": config.pids_limit,
        "Init": config.init,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(config.log_max_size_bytes), "max-file": str(config.log_max_files)},
        },
        "ReadonlyRootfs": config.read_only_root,
        "Mounts": [_mount(mount) for mount in config.mounts],
        "PortBindings": _port_bindings(config.ports),
    }
    optional: dict[str, Any] = {
        "NetworkMode": config.network,
        "PidMode": config.pid_mode,
        "IpcMode": config.ipc_mode,
        "Dns": list(config.dns_servers),
        "DnsSearch": list(config.dns_searches),
        "DnsOptions": list(config.dns_options),
        "ExtraHosts": [f"{name}:{address}" for name, address in config.extra_hosts],
        "Sysctls": dict(config.sysctls),
        "GroupAdd": list(config.groups),
        "ShmSize": config.shm_size_bytes,
        "CpuShares": config.cpu_shares,
        "OomScoreAdj": config.oom_score_adj,
    }
    result |= {key: value for key, value in optional.items() if value}
    if config.privileged:
        del result["CapDrop"]  # Docker would take them from a privileged container too, which then is not what was asked for
    if config.cpu_millis:
        result["CpuPeriod"] = _CPU_PERIOD_US
        # The kernel refuses quotas below 1 ms.
        result["CpuQuota"] = max(1000, config.cpu_millis * _CPU_PERIOD_US // 1000)
    if config.memory_bytes:
        result["Memory"] = config.memory_bytes
        result["MemorySwap"] = config.memory_bytes  # the sum of both: no swap
    if config.gpus is not None:
        devices: dict[str, Any] = {"Driver": config.gpus.driver, "Capabilities": [["gpu"]]}
        result["DeviceRequests"] = [devices | ({"DeviceIDs": list(config.gpus.ids)} if config.gpus.ids else {"Count": config.gpus.count})]
    return result


def _security(config: base.ContainerConfig) -> list[str]:
    result = ["no-new-privileges"] if config.no_new_privileges else []
    if config.seccomp is not None:
        result.append(f"seccomp={config.seccomp}")
    if config.apparmor is not None:
        result.append(f"apparmor={config.apparmor}")
    return result


def _endpoint(config: base.ContainerConfig) -> dict[str, Any]:
    addresses = {key: value for key, value in {"IPv4Address": config.ip, "IPv6Address": config.ipv6}.items() if value}
    return {"IPAMConfig": addresses, "Aliases": list(config.network_aliases)}


def _mount(mount: base.Mount) -> dict[str, Any]:
    result: dict[str, Any] = {"Type": mount.kind, "Target": mount.target, "ReadOnly": mount.read_only}
    match mount.kind:
        case "tmpfs":
            options = {"SizeBytes": mount.size_bytes, "Mode": mount.mode}
            result["TmpfsOptions"] = {key: value for key, value in options.items() if value is not None}
        case "volume":
            result["Source"] = mount.source
            result["VolumeOptions"] = {"NoCopy": not mount.copy_image} | ({"Subpath": mount.sub_path} if mount.sub_path else {})
        case _:
            result["Source"] = mount.source
            result["BindOptions"] = {"Propagation": mount.propagation or "rprivate"}
    return result


def _port_key(port: base.PortBinding) -> str:
    return f"{port.container_port}/{port.protocol.lower()}"


def _port_bindings(ports: tuple[base.PortBinding, ...]) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        result.setdefault(_port_key(port), []).append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
    return result
