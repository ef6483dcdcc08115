"""Registry logins, and what can name an image."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from lattice.api import configmap
from nodeagent.images import credentials
from nodeagent.images import plan as images


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:p:w".encode()).decode()}


def secret(auths: dict[str, Any], *, old: bool = False) -> configmap.Secret:
    data = orjson.dumps(auths if old else {"auths": auths})
    return configmap.Secret(data={".dockercfg" if old else ".dockerconfigjson": base64.b64encode(data).decode()})


def users(image: str, *secrets: configmap.Secret, own: bytes = b"") -> list[str]:
    return [login["username"] for login in credentials.logins(image, secrets, own)]


def test_a_login_is_for_a_registry_or_a_path_in_it_the_most_specific_first() -> None:
    held = secret(
        {
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "docker.io/library/busybox": entry("busybox"),
            "reg.example:5000": entry("all"),
            "reg.example:5000/team": entry("team"),
            "reg.example:5000/team/app": entry("app"),
            "*.example": entry("star"),
        }
    )
    assert users("busybox", held) == ["hub", "busybox"]
    assert users("redis:7", held) == ["hub"]
    assert users("reg.example:5000/team/app:1", held) == ["app", "team", "all"]
    assert users("reg.example:5000/team/application", held) == ["team", "all"]
    assert users("reg.example:5000/teams/x", held) == ["all"]
    assert users("other.example/x", held) == ["star"]
    assert users("a.other.example/x", held) == []
    assert users("reg.example/x", held) == ["star"]
    assert credentials.logins("reg.example:5000/x", [held])[0]["password"] == "p:w"


def test_the_older_form_and_the_provider_s_own_logins_count_and_what_is_broken_is_passed_over() -> None:
    broken = [configmap.Secret(data={".dockerconfigjson": text}) for text in ("bm90IGpzb24=", "!", "W10=", "eyJhdXRocyI6IDF9")]
    odd = secret({"r.example": {"auth": "!!"}, "r.example/a": {"username": "only"}})
    own = orjson.dumps({"auths": {"r.example": entry("own")}, "credsStore": "desktop"})
    assert users("r.example/a/b", *broken, odd, secret({"r.example": entry("old")}, old=True), own=own) == ["old", "own"]
    assert users("r.example/a", own=b"not json") == []


@pytest.mark.parametrize(
    "image", ["a", "a:1", "a/b", "a.b/c", "localhost:5000/a/b:v1.2_3", f"a@sha256:{'0' * 64}", f"h:1/a:t@sha256:{'0' * 64}", "a__b/c-d"]
)
def test_what_can_name_an_image(image: str) -> None:
    assert images.check_reference(image) == ""


@pytest.mark.parametrize("image", ["", "A", "a b", "a:", "a/B", "a//b", "-a", "a@sha256:1", "https://a/b", "a:b:c", "a" * 600, "a\n"])
def test_what_cannot_name_an_image(image: str) -> None:
    assert "invalid reference format" in images.check_reference(image)
