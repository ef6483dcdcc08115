"""From a recipe to an image in an engine of ours, by way of a cached tar.

Called by `hack/images`, `hack/up` and `hack/test`. Three levels, each cheap when the one before was done: the
engine has an image of this recipe; the cache has its tar; the packages have to be resolved, unpacked and picked from.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from kit import engine
from kit.console import HackError, say
from kit.engine_api import EngineApi
from kit.images.archive import write_image
from kit.images.debian import Archive, Package
from kit.images.recipes import RECIPES, SHELL_PACKAGES, Recipe
from kit.images.rootfs import FILES, build_root
from kit.packages import ensure_programs
from kit.paths import CACHE

STAND_IN_LABEL = "lattice.dev/stand-in"
RECIPE_LABEL = "lattice.dev/recipe"
FOLDER = CACHE / "images"
LOAD_TIMEOUT_S = 300


def ensure_images(api: EngineApi, names: Iterable[str] = RECIPES, *, refresh: bool = False) -> None:
    """Make sure that the engine has these images; with `refresh` at the newest package versions.

    Raises:
        HackError: The engine is not ours, or an image cannot be made here.
    """
    if not engine.is_ours(api):
        raise HackError(
            f"the engine at {api.host} is not one of hack's own: stand-ins carry official names and must not "
            "get there; start one with hack/docker up"
        )
    for name in names:
        if name not in RECIPES:
            raise HackError(f"no recipe for an image {name!r}; there are {', '.join(RECIPES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in names:
            _ensure_image(api, RECIPES[name], refresh=refresh)
        api.call(
            "POST",
            "/images/prune",
            {"filters": json.dumps({"dangling": ["true"], "label": [f"{STAND_IN_LABEL}=true"]})},
        )


def recipe_key(recipe: Recipe) -> str:
    """Changes when the recipe, one of its files or the code that makes images changes."""
    digest = hashlib.sha256(repr(dataclasses.asdict(recipe)).encode())
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *(FILES / name for name, _mode in recipe.files.values())]
    for path in sources:
        if path.name != "recipes.py":  # all of it that matters is in the recipe itself
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _ensure_image(api: EngineApi, recipe: Recipe, *, refresh: bool) -> None:
    key = recipe_key(recipe)
    labels = api.labels(f"{_repository(recipe)}:{_first_fixed_tag(recipe)}")
    if not refresh and labels is not None and labels.get(RECIPE_LABEL, "").startswith(key):
        say(f"image {recipe.name}: there")
        return
    started = time.monotonic()
    cached = sorted(FOLDER.glob(f"{recipe.name}-{key}-*.tar"), key=lambda path: path.stat().st_mtime)
    if cached and not refresh:
        path, how = cached[-1], "loaded from the cache"
    else:
        path, how = _make_tar(recipe, key)
    if labels is None or labels.get(RECIPE_LABEL) != path.stem.removeprefix(f"{recipe.name}-"):
        with path.open("rb") as file:
            api.call("POST", "/images/load", {"quiet": "1"}, body=file, timeout_s=LOAD_TIMEOUT_S)
    size_mb = path.stat().st_size / 1e6
    say(f"image {recipe.name}: {how}, {size_mb:.1f} MB, {time.monotonic() - started:.1f} s")


def _repository(recipe: Recipe) -> str:
    return recipe.repository or recipe.name


def _first_fixed_tag(recipe: Recipe) -> str:
    """A tag that is known without asking apt; every recipe has one."""
    return next(tag.format(major=recipe.must_be.rstrip("."), minor="") for tag in recipe.tags if "{minor}" not in tag)


def _make_tar(recipe: Recipe, key: str) -> tuple[Path, str]:
    ensure_programs({"dpkg-deb": "dpkg", "tar": "tar"})
    archive = Archive(FOLDER)
    packages = archive.closure((*recipe.packages, *SHELL_PACKAGES), recipe.skip)
    versions = hashlib.sha256(repr(packages).encode()).hexdigest()[:12]
    path = FOLDER / f"{recipe.name}-{key}-{versions}.tar"
    if path.exists():
        return path, "up to date"
    version = _version(recipe, packages)
    labels = {
        STAND_IN_LABEL: "true",
        RECIPE_LABEL: f"{key}-{versions}",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.description": f"Stand-in for the official {recipe.name} image, from Debian packages",
    }
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        source, root = Path(scratch, "packages"), Path(scratch, "root")
        source.mkdir()
        root.mkdir()
        archive.unpack(packages, source)
        build_root(recipe, source, root)
        owners = {"tmp": (0, 0o1777), "var/tmp": (0, 0o1777)}
        owners |= {folder.replace("var/run/", "run/", 1): owner for folder, owner in recipe.folders.items()}
        config = {**_filled_in(recipe, version), "Labels": labels}
        write_image(root, path, tags=_tags(recipe, version), config=config, owners=owners)
    return path, "made from packages"


def _version(recipe: Recipe, packages: list[Package]) -> str:
    version = next(package.upstream_version for package in packages if package.name == recipe.version_of)
    if not version.startswith(recipe.must_be):
        raise HackError(
            f"this machine's Debian packages have {recipe.name} {version}, and {recipe.name}:{recipe.must_be.rstrip('.')} cannot be that"
        )
    return version


def _tags(recipe: Recipe, version: str) -> list[str]:
    major, minor = version.split(".")[:2]
    return [f"{_repository(recipe)}:{tag.format(major=major, minor=minor)}" for tag in recipe.tags]


def _filled_in(recipe: Recipe, version: str) -> dict[str, object]:
    major = version.split(".")[0]
    config = dict(recipe.config)
    config["Env"] = [text.format(version=version, major=major) for text in recipe.config["Env"]]  # type: ignore[attr-defined]  # every recipe has it
    return config
