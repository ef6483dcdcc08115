"""From a Workload's spec to the Pod of one replica, and to the hash that says whether a Pod is of this template.

Called by the plan. :func:`check_spec` says what is wrong with a spec that the schema accepts; everything else assumes that it found
nothing. The hash depends on what the spec means: not on the order of keys, not on whether a default was written out, not on the status.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from controller.reconcilers.workload import naming
from controller.reconcilers.workload.presets import PRESETS, SECRET_DIR, PresetRecipe, check_parameter
from lattice.api import meta, names, pod, workload

CONTAINER = "main"
_DATA = "data"
_CREDENTIALS = "credentials"


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """What the user has to change."""

    reason: str
    message: str


def recipe_of(spec: workload.WorkloadSpec) -> PresetRecipe | None:
    """Return the preset's recipe, ``None`` for an image."""
    return PRESETS[spec.preset.name] if spec.preset is not None else None


def parameters_of(spec: workload.WorkloadSpec) -> dict[str, str]:
    """Return the preset's parameters with defaults."""
    recipe = recipe_of(spec)
    if recipe is None or spec.preset is None:
        return {}
    return {**recipe.parameters, **spec.preset.parameters}


def storage_of(spec: workload.WorkloadSpec) -> workload.WorkloadStorage | None:
    """Return the storage of each replica; presets have one by default."""
    if spec.storage is None and spec.preset is not None:
        return workload.WorkloadStorage()
    return spec.storage


def check_spec(spec: workload.WorkloadSpec) -> SpecProblem | None:
    """Return the first thing that the user has to change, ``None`` if there is nothing."""
    if (spec.preset is None) == (spec.image is None):
        return SpecProblem("InvalidSource", "exactly one of spec.preset and spec.image must be set")
    if spec.preset is None:
        if spec.storage is not None and not (spec.storage.mount_path or "").startswith("/"):
            return SpecProblem("InvalidStorage", "spec.storage.mountPath must be an absolute path, such as /data, when spec.image is used")
        return None
    return _check_preset(spec, spec.preset)


def _check_preset(spec: workload.WorkloadSpec, preset: workload.Preset) -> SpecProblem | None:
    recipe = PRESETS.get(preset.name)
    if recipe is None:
        return SpecProblem("UnknownPreset", f"there is no preset {preset.name!r}; there are {', '.join(sorted(PRESETS))}")
    if preset.version not in recipe.versions:
        known = ", ".join(recipe.versions)
        return SpecProblem("UnknownPresetVersion", f"preset {preset.name} has no version {preset.version!r}; it has {known}")
    for name, value in sorted(preset.parameters.items()):
        if name not in recipe.parameters:
            known = ", ".join(sorted(recipe.parameters)) or "none"
            return SpecProblem("InvalidParameters", f"preset {preset.name} has no parameter {name!r}; it has {known}")
        if not check_parameter(value):
            sentence = "must start with a letter or _, have only letters, digits and _, and at most 63 characters"
            return SpecProblem("InvalidParameters", f"spec.preset.parameters.{name}: {sentence}")
    if spec.command:
        return SpecProblem(
            "InvalidCommand", "spec.command cannot be used with spec.preset; spec.args are added to the server's command line"
        )
    for variable in spec.env:
        if variable.name in recipe.reserved_env:
            message = f"spec.env: {variable.name} is set by the preset; use spec.preset.parameters or spec.preset.passwordSecretRef"
            return SpecProblem("InvalidEnvironment", message)
    if spec.storage is not None and spec.storage.mount_path not in (None, recipe.mount_path):
        return SpecProblem(
            "InvalidStorage", f"spec.storage.mountPath cannot be changed with preset {preset.name}: it is {recipe.mount_path}"
        )
    return None


def template_hash(owner: workload.Workload) -> str:
    """Return the hash of what all replicas have in common."""
    # Without defaults, so that a default that is written out, or gets its own field in a later version, is no change.
    spec = make_pod_spec(owner, claim=None).model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[: naming.HASH_LENGTH]


def make_pod(owner: workload.Workload, digest: str, ordinal: int, attempt: int) -> pod.Pod:
    """Return the Pod of one replica."""
    claim = naming.claim(owner.name, ordinal) if storage_of(owner.spec) is not None else None
    return pod.Pod(
        metadata=meta.ObjectMeta(
            name=naming.pod(owner.name, digest, ordinal, attempt),
            namespace=owner.namespace,
            labels={
                **labels(owner),
                names.LABEL_TEMPLATE_HASH: digest,
                names.LABEL_ORDINAL: str(ordinal),
                names.LABEL_ATTEMPT: str(attempt),
            },
            owner_references=(owner.owner_reference(),),
        ),
        spec=make_pod_spec(owner, claim=claim),
    )


def labels(owner: workload.Workload) -> dict[str, str]:
    """Return the label that everything of a Workload has."""
    return {names.LABEL_WORKLOAD: naming.label_value(owner.name)}


def make_pod_spec(owner: workload.Workload, *, claim: str | None) -> pod.PodSpec:
    """Return the Pod's spec. ``claim`` is the replica's own part; the hash leaves it out."""
    spec, recipe, storage = owner.spec, recipe_of(owner.spec), storage_of(owner.spec)
    volumes: list[pod.Volume] = []
    mounts: list[pod.VolumeMount] = []
    if storage is not None:
        mount_path = recipe.mount_path if recipe is not None else storage.mount_path
        assert mount_path is not None  # check_spec has seen to it
        mounts.append(pod.VolumeMount(name=_DATA, mount_path=mount_path))
        if claim is not None:
            volumes.append(pod.Volume(name=_DATA, persistent_volume_claim=pod.ClaimVolumeSource(claim_name=claim)))
    if recipe is not None:
        source = pod.SecretVolumeSource(secret_name=naming.credentials(owner.name), default_mode=0o444)
        volumes.append(pod.Volume(name=_CREDENTIALS, secret=source))
        mounts.append(pod.VolumeMount(name=_CREDENTIALS, mount_path=SECRET_DIR, read_only=True))
    fields: dict[str, object] = {
        "containers": (_container(spec, recipe, tuple(mounts)),),
        "volumes": tuple(volumes),
        "restart_policy": "Always",
        "node_selector": spec.node_selector,
        "tolerations": spec.tolerations,
        "termination_grace_period_seconds": spec.termination_grace_period_seconds,
    }
    return pod.PodSpec.model_validate({name: value for name, value in fields.items() if value not in (None, (), {})})


def _container(spec: workload.WorkloadSpec, recipe: PresetRecipe | None, mounts: tuple[pod.VolumeMount, ...]) -> pod.Container:
    fields: dict[str, object] = {
        "name": CONTAINER,
        "image": spec.image,
        "command": spec.command,
        "args": spec.args,
        "env": spec.env,
        "ports": spec.ports,
        "resources": spec.resources,
        "volume_mounts": mounts,
        "readiness_probe": spec.readiness_probe,
        "liveness_probe": spec.liveness_probe,
        "image_pull_policy": spec.image_pull_policy,
    }
    if recipe is not None and spec.preset is not None:
        parameters = parameters_of(spec)
        fields["image"] = f"{recipe.image}:{spec.preset.version}"
        fields["args"] = (*recipe.args, *spec.args)
        fields["env"] = (*recipe.env(parameters), *spec.env)
        fields["ports"] = _preset_ports(spec, recipe)
        # Every 2 s: features W2 and W4. The first attempts fail while the server starts.
        fields["readiness_probe"] = spec.readiness_probe or pod.Probe(
            exec=pod.ExecAction(command=recipe.readiness(parameters)), period_seconds=2, timeout_seconds=5
        )
    return pod.Container.model_validate({name: value for name, value in fields.items() if value not in (None, ())})


def _preset_ports(spec: workload.WorkloadSpec, recipe: PresetRecipe) -> tuple[pod.ContainerPort, ...]:
    """Return the preset's port, as the user wants it published, and any further ones."""
    if any(port.container_port == recipe.port for port in spec.ports):
        return spec.ports
    return (pod.ContainerPort(name=recipe.port_name, container_port=recipe.port), *spec.ports)
