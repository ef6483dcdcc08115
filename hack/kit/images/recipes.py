"""The stand-in images, as data: which Debian packages, which of their files, which image configuration.

Read by `kit.images.build`. Adding an image is adding a `Recipe` here; adding a version of one is a recipe with other
packages. A stand-in carries the official image's name, because manifests name that, but only tags that are true of the
version inside: `tags` are filled in from the package that gives the version, and one that would promise another version
(`must_be`) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SHELL_PACKAGES = ("busybox-static", "dash", "libc6")
"""In every image but busybox itself: applets for people, dash as /bin/sh.

NB: not busybox' own sh: Debian builds it to prefer its applets over programs on PATH, so `setpriv` would be the wrong
one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image.

    Attributes:
        name: Short name, which `hack/images` takes.
        repository: Of the official image; empty if it is `name`.
        tags: With `{major}` and `{minor}` of the version inside.
        version_of: The package whose upstream version is the image's version.
        must_be: What that version has to start with; empty if any is right.
        packages: What apt resolves; their dependencies come along.
        skip: Dependencies whose files the picked programs never open: not downloaded.
        pick: Files and folders out of the packages; their shared libraries come along.
        links: Symbolic links to make, link → target.
        files: Own files from `files/`, path in the image → (file, mode).
        folders: Empty folders, path → (uid, mode).
        users: Name → (uid, home); the group has the same name and number.
        config: Docker's image configuration; `{version}`, `{major}` are filled in in its strings.
    """

    name: str
    repository: str = ""
    tags: tuple[str, ...]
    version_of: str
    must_be: str = ""
    packages: tuple[str, ...]
    skip: tuple[str, ...] = ()
    pick: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    users: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)


_NEVER_OPENED = (
    *("perl", "perl-base", "perl-modules-*", "libperl*", "libjson-perl", "libllvm*", "libz3-*", "gcc-*-base"),
    *(
        "postgresql-common",
        "postgresql-client-common",
        "ssl-cert",
        "openssl",
        "ca-certificates",
        "ucf",
        "sensible-utils",
    ),
    *(
        "debconf",
        "debianutils",
        "dpkg",
        "netbase",
        "coreutils",
        "passwd",
        "adduser",
        "login*",
        "mawk",
        "base-passwd",
        "locales",
    ),
    *("lsb-base", "sysvinit-utils", "init-system-helpers", "mount", "iproute2", "logsave", "runit-helper", "python3*"),
)

BUSYBOX = Recipe(
    name="busybox",
    tags=("latest", "{major}.{minor}"),
    version_of="busybox-static",
    packages=("busybox-static",),
    skip=_NEVER_OPENED,
    config={"Cmd": ["sh"], "Env": [PATH]},
)

_POSTGRES_PROGRAMS = (
    *("postgres", "initdb", "pg_ctl", "pg_isready", "psql", "createdb", "dropdb", "createuser"),
    *("pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup"),
)


def _postgres(major: int) -> Recipe:
    programs = f"usr/lib/postgresql/{major}"
    return Recipe(
        name="postgres",
        tags=("{major}", "{major}.{minor}"),
        version_of=f"postgresql-{major}",
        must_be=f"{major}.",
        packages=(f"postgresql-{major}", "util-linux", "libc-bin", "tzdata", *SHELL_PACKAGES),
        skip=_NEVER_OPENED,
        pick=(
            *(f"{programs}/bin/{program}" for program in _POSTGRES_PROGRAMS),
            f"{programs}/lib",
            f"usr/share/postgresql/{major}",
            "usr/share/zoneinfo",
            "usr/lib/locale/C.utf8",
            "usr/bin/setpriv",
        ),
        links={f"usr/bin/{program}": f"../lib/postgresql/{major}/bin/{program}" for program in _POSTGRES_PROGRAMS},
        files={"usr/local/bin/docker-entrypoint.sh": ("postgres-entrypoint.sh", 0o755)},
        folders={
            "docker-entrypoint-initdb.d": (0, 0o755),
            "var/lib/postgresql": (999, 0o755),
            "var/lib/postgresql/data": (999, 0o1777),
            "var/run/postgresql": (999, 0o3777),
        },
        users={"postgres": (999, "/var/lib/postgresql")},
        config={
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["postgres"],
            "Env": [
                PATH,
                "LANG=C.UTF-8",
                "PGDATA=/var/lib/postgresql/data",
                "PG_MAJOR={major}",
                "PG_VERSION={version}",
            ],
            "ExposedPorts": {"5432/tcp": {}},
            "Volumes": {"/var/lib/postgresql/data": {}},
            "StopSignal": "SIGINT",  # "fast shutdown": SIGTERM would wait for clients to leave
        },
    )


def _redis(major: int) -> Recipe:
    return Recipe(
        name="redis",
        tags=("{major}", "{major}.{minor}"),
        version_of="redis-tools",
        must_be=f"{major}.",
        packages=("redis-server", "redis-tools", "util-linux", *SHELL_PACKAGES),
        skip=_NEVER_OPENED,
        pick=(
            *("usr/bin/redis-server", "usr/bin/redis-cli", "usr/bin/redis-check-rdb", "usr/bin/redis-check-aof"),
            *("usr/bin/redis-benchmark", "usr/bin/setpriv"),
        ),
        files={"usr/local/bin/docker-entrypoint.sh": ("redis-entrypoint.sh", 0o755)},
        folders={"data": (999, 0o755)},
        users={"redis": (999, "/data")},
        config={
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["redis-server"],
            "Env": [PATH, "REDIS_VERSION={version}"],
            "ExposedPorts": {"6379/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
        },
    )


NGINX = Recipe(
    name="nginx",
    # "alpine" says what the official image is built on and not a version; the label says that this one is not.
    tags=("latest", "alpine", "{major}.{minor}"),
    version_of="nginx-light",
    packages=("nginx-light", *SHELL_PACKAGES),
    skip=_NEVER_OPENED,
    pick=("usr/sbin/nginx", "etc/nginx/mime.types"),
    files={
        "etc/nginx/nginx.conf": ("nginx.conf", 0o644),
        "etc/nginx/conf.d/default.conf": ("nginx-default.conf", 0o644),
        "usr/share/nginx/html/index.html": ("index.html", 0o644),
    },
    folders={"var/cache/nginx": (101, 0o755), "var/log/nginx": (0, 0o755), "var/lib/nginx": (0, 0o755)},
    users={"nginx": (101, "/var/cache/nginx")},
    config={
        "Cmd": ["nginx", "-g", "daemon off;"],
        "Env": [PATH, "NGINX_VERSION={version}"],
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
    },
)

NFTABLES = Recipe(
    # What a node's agent sets its packet filter rules with (`network_helper_image`): nft, a shell and cat, as in the official one.
    name="nftables",
    repository="registry.k8s.io/build-image/distroless-iptables",
    tags=("v0.6.5",),
    version_of="nftables",
    packages=("nftables", *SHELL_PACKAGES),
    skip=_NEVER_OPENED,
    pick=("usr/sbin/nft",),
    config={"Env": [PATH]},
)

RECIPES: Mapping[str, Recipe] = {
    "busybox": BUSYBOX,
    "postgres": _postgres(15),
    "redis": _redis(7),
    "nginx": NGINX,
    "nftables": NFTABLES,
}
"""By the name that `hack/images` takes."""
