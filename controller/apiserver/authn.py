"""Authentication: from a request's headers to a user. Static bearer tokens from a file, as kube-apiserver's ``--token-auth-file``.

Only SHA-256 digests of the tokens are kept; looking a digest up in a dict tells an attacker nothing about a token by its timing.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from controller.apiserver.request import ANONYMOUS, User
from lattice.api import errors, names

_IMPERSONATE: Final = "impersonate-"


class TokenAuthenticator:
    """Knows the users of a token file."""

    def __init__(self, users: Mapping[str, User]) -> None:
        """``users``: token to user."""
        self._users = {_digest(token): user for token, user in users.items()}

    def add(self, token: str, user: User) -> None:
        """Know a further user."""
        self._users[_digest(token)] = user

    def authenticate(self, headers: Mapping[str, str]) -> User:
        """Return the user; without credentials the anonymous one.

        Raises:
            errors.UnauthorizedError: the credentials are not known.
            errors.ForbiddenError, errors.BadRequestError: it asks to act as somebody else, and may not, or does not say who.
        """
        user = self._authenticate(headers)
        return _impersonated(user, headers) if any(name.startswith(_IMPERSONATE) for name in headers) else user

    def _authenticate(self, headers: Mapping[str, str]) -> User:
        header = headers.get("authorization")
        if header is None:
            return ANONYMOUS
        scheme, _, token = header.partition(" ")
        user = self.user_of(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise errors.UnauthorizedError("Unauthorized")
        return user

    def user_of(self, token: str) -> User | None:
        """Return whose token it is, ``None`` if it is nobody's."""
        return self._users.get(_digest(token))


def _impersonated(user: User, headers: Mapping[str, str]) -> User:
    """Return whom ``user`` asks to act as: only administrators may, and what follows is judged as that other user's."""
    name, uid = headers.get(f"{_IMPERSONATE}user", ""), headers.get(f"{_IMPERSONATE}uid", "")
    groups = tuple(group.strip() for group in headers.get(f"{_IMPERSONATE}group", "").split(",") if group.strip())
    if names.GROUP_MASTERS not in user.groups:
        message = (
            f'users "{name}" is forbidden: User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
        )
        raise errors.ForbiddenError(message, details={"name": name, "kind": "users"})
    if not name:
        raise errors.BadRequestError(f"requested {list(groups)!r} without impersonating a user: set --as as well")
    if any(header.startswith(f"{_IMPERSONATE}extra-") for header in headers):
        raise errors.ForbiddenError("impersonation with extra fields is not supported: remove --as-user-extra")
    if name == ANONYMOUS.name:
        return User(name, uid, groups or ANONYMOUS.groups)
    return User(name, uid, groups if names.GROUP_AUTHENTICATED in groups else (*groups, names.GROUP_AUTHENTICATED))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def load_token_file(path: Path) -> dict[str, User]:
    """Read ``token,user,uid,"group1,group2"`` lines.

    Raises:
        errors.UsageError: the file cannot be read, or a line is wrong (the message never shows a token).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"cannot read the token file {path}: {error}") from error
    users: dict[str, User] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), start=1):
        if not row or row[0].lstrip().startswith("#"):
            continue
        if len(row) < 3 or not row[0].strip() or not row[1].strip():
            raise errors.UsageError(f'{path}, line {number}: expected token,user,uid,"group1,group2"')
        token = row[0].strip()
        if token in users:
            raise errors.UsageError(f"{path}, line {number}: this token stands in an earlier line already")
        groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
        users[token] = User(row[1].strip(), row[2].strip(), (*groups, names.GROUP_AUTHENTICATED))
    return users
