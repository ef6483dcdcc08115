"""Claims and credentials of a Workload: what has to be made, what belongs to somebody else, what stays when the Workload goes.

Called by the plan. Claims and credentials are ours if they carry our label and no other object controls them. With ``whenDeleted: Retain``
they have no owner, so they stay, and a Workload of the same name finds them again; with ``Delete`` the Workload owns them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from controller.reconcilers.workload import naming, template
from controller.reconcilers.workload.model import Action, CreateClaim, CreateSecret, NameTaken, Observed, SetRetention
from controller.reconcilers.workload.template import SpecProblem
from lattice.api import configmap, meta, names, storage, workload


def is_ours(owner: workload.Workload, obj: meta.Object) -> bool:
    """Return whether an object of one of our names is ours to use."""
    controllers = [reference for reference in obj.metadata.owner_references if reference.controller]
    labelled = obj.metadata.labels.get(names.LABEL_WORKLOAD) == naming.label_value(owner.name)
    return labelled and all(reference.uid == owner.uid for reference in controllers)


def is_of_predecessor(owner: workload.Workload, obj: meta.Object) -> bool:
    """Return whether an object belongs to a deleted Workload of the same name: it will go by itself."""
    return any(
        reference.controller and reference.kind == owner.kind and reference.name == owner.name and reference.uid != owner.uid
        for reference in obj.metadata.owner_references
    )


def name_taken(observed: Observed) -> NameTaken | None:
    """Return the first foreign object that stands in the way."""
    owner = observed.workload
    wanted: list[meta.Object] = [claim for claim in observed.claims if claim.name in _claim_names(owner)]
    if observed.credentials is not None and owner.spec.preset is not None:
        wanted.append(observed.credentials)
    for obj in sorted(wanted, key=lambda o: (o.kind, o.name)):
        if not is_ours(owner, obj) and not is_of_predecessor(owner, obj) and obj.metadata.deletion_timestamp is None:
            return NameTaken(obj.kind, obj.name)
    return observed.name_taken


def waits_for(observed: Observed) -> str:
    """Return what must happen before Pods can be made, empty if nothing."""
    owner = observed.workload
    for claim in observed.claims:
        if claim.name in _claim_names(owner) and (claim.metadata.deletion_timestamp is not None or is_of_predecessor(owner, claim)):
            return f"waiting for the end of the claim {claim.name}, which is being deleted"
    if observed.credentials is not None and owner.spec.preset is not None:
        going = observed.credentials.metadata.deletion_timestamp is not None
        if going or is_of_predecessor(owner, observed.credentials):
            return f"waiting for the end of the secret {observed.credentials.name}, which is being deleted"
    reference = owner.spec.preset.password_secret_ref if owner.spec.preset is not None else None
    if reference is not None and observed.given_password is None and observed.credentials is None:
        return f"waiting for the key {reference.key!r} of the secret {reference.name!r}"
    return ""


def changed_parameters(observed: Observed) -> SpecProblem | None:
    """Return what is wrong where the data was made with other parameters: the server would not take the new ones."""
    owner, secret = observed.workload, observed.credentials
    if secret is None or owner.spec.preset is None:
        return None
    parameters = template.parameters_of(owner.spec)
    for parameter, key in (("user", "username"), ("database", "database")):
        was = _decode(secret.data.get(key))
        if parameter in parameters and was is not None and was != parameters[parameter]:
            message = (
                f"spec.preset.parameters.{parameter} cannot be changed from {was!r} to {parameters[parameter]!r}: the data was made with "
                f"the first; set it back, or delete the secret {secret.name} and the claims of this workload to start anew"
            )
            return SpecProblem("ParametersImmutable", message)
    return None


def plan_data(observed: Observed) -> list[Action]:
    """Return what has to be made, or has to change its retention, before any Pod."""
    owner = observed.workload
    actions: list[Action] = []
    wanted_storage = template.storage_of(owner.spec)
    goes = wanted_storage is not None and wanted_storage.when_deleted == "Delete"
    if owner.spec.preset is not None:
        if observed.credentials is None:
            actions.append(CreateSecret(_make_secret(observed, goes)))
        else:
            actions += _retention(owner, observed.credentials, goes)
    present = {claim.name: claim for claim in observed.claims}
    if wanted_storage is not None:
        for name in _claim_names(owner):
            if name not in present:
                actions.append(CreateClaim(_make_claim(owner, name, wanted_storage, goes)))
    for claim in sorted(present.values(), key=lambda c: c.name):
        if is_ours(owner, claim) and wanted_storage is not None and claim.metadata.deletion_timestamp is None:
            actions += _retention(owner, claim, goes)
    return actions


def _claim_names(owner: workload.Workload) -> list[str]:
    if template.storage_of(owner.spec) is None:
        return []
    return [naming.claim(owner.name, number) for number in range(owner.spec.replicas)]


def _retention(owner: workload.Workload, obj: meta.Object, goes: bool) -> Iterable[SetRetention]:
    owned = any(reference.uid == owner.uid for reference in obj.metadata.owner_references)
    is_claim = isinstance(obj, storage.PersistentVolumeClaim)
    policy = ("Delete" if goes else "Retain") if is_claim else None
    annotated = obj.metadata.annotations.get(names.ANNOTATION_RECLAIM_POLICY, "Retain")
    if owned == goes and (policy is None or annotated == policy):
        return ()
    reference = owner.owner_reference() if goes else None
    return (SetRetention(type(obj), obj.name, obj.uid, obj.metadata.resource_version or "", reference, policy),)


def _make_claim(owner: workload.Workload, name: str, wanted: workload.WorkloadStorage, goes: bool) -> storage.PersistentVolumeClaim:
    return storage.PersistentVolumeClaim(
        metadata=meta.ObjectMeta(
            name=name,
            namespace=owner.namespace,
            labels={**template.labels(owner), names.LABEL_ORDINAL: name.rpartition("-")[2]},
            annotations={names.ANNOTATION_RECLAIM_POLICY: "Delete"} if goes else {},
            owner_references=(owner.owner_reference(),) if goes else (),
            # At once, so that no later write races with the scheduler's.
            finalizers=(names.FINALIZER_CLAIM_PROTECTION,),
        ),
        spec=storage.PersistentVolumeClaimSpec(
            # One Pod, not one node: the scheduler refuses a second holder, whatever this reconciler believes.
            access_modes=("ReadWriteOncePod",),
            resources=storage.VolumeResources(requests={"storage": wanted.size}),
            storage_class_name=names.STORAGE_CLASS_LOCAL,
            volume_mode="Filesystem",
        ),
    )


def _make_secret(observed: Observed, goes: bool) -> configmap.Secret:
    owner, recipe = observed.workload, template.recipe_of(observed.workload.spec)
    assert recipe is not None  # only presets have credentials
    password = observed.given_password if observed.given_password is not None else observed.generated_password
    files = recipe.secret_files(template.parameters_of(owner.spec), password)
    return configmap.Secret(
        metadata=meta.ObjectMeta(
            name=naming.credentials(owner.name),
            namespace=owner.namespace,
            labels=template.labels(owner),
            owner_references=(owner.owner_reference(),) if goes else (),
        ),
        data={key: base64.b64encode(text.encode()).decode() for key, text in sorted(files.items())},
        type="Opaque",
    )


def _decode(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return None
