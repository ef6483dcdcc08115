"""ServiceAccount: an identity for what runs in a namespace. Stored and returned; tokens for it come with the identity issue."""

from __future__ import annotations

from typing import Annotated, ClassVar

from lattice.api import event, meta, pod


class ServiceAccount(meta.Object):
    """An identity for what runs in a namespace."""

    KIND: ClassVar[str] = "ServiceAccount"
    PLURAL: ClassVar[str] = "serviceaccounts"

    secrets: Annotated[tuple[event.ObjectReference, ...], meta.list_map("name")] = ()
    """Secrets of the namespace that Pods with this account may use."""
    image_pull_secrets: meta.AtomicList[pod.LocalObjectReference] = ()
    """Secrets of the namespace with which images are pulled for Pods that run as this account."""
    automount_service_account_token: bool | None = None
    """Whether such Pods get a token for the API; a Pod may say otherwise."""
