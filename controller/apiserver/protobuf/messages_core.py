"""Messages of the core, coordination and events groups, but Pods: ``k8s.io/api`` core/v1, coordination/v1, events/v1.

See ``messages_meta.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CORE: Final[Mapping[str, str]] = {
    "Namespace": "metadata=1 ObjectMeta, spec=2 NamespaceSpec, status=3 NamespaceStatus",
    "NamespaceSpec": "finalizers=1 string*",
    "NamespaceStatus": "phase=1 string, conditions=2 NamespaceCondition*",
    "NamespaceCondition": "type=1 string, status=2 string, lastTransitionTime=4 Time, reason=5 string, message=6 string",
    "ServiceAccount": """metadata=1 ObjectMeta, secrets=2 ObjectReference*, imagePullSecrets=3 LocalObjectReference*,
        automountServiceAccountToken=4 bool?""",
    "Secret": "metadata=1 ObjectMeta, data=2 bytes{}, type=3 string, stringData=4 string{}, immutable=5 bool?",
    "ConfigMap": "metadata=1 ObjectMeta, data=2 string{}, binaryData=3 bytes{}, immutable=4 bool?",
    "ObjectReference": """kind=1 string, namespace=2 string, name=3 string, uid=4 string, apiVersion=5 string, resourceVersion=6 string,
        fieldPath=7 string""",
    "LocalObjectReference": "name=1 string",
    "TypedLocalObjectReference": "apiGroup=1 string?, kind=2 string, name=3 string",
    "TypedObjectReference": "apiGroup=1 string?, kind=2 string, name=3 string, namespace=4 string?",
    "Event": """metadata=1 ObjectMeta, involvedObject=2 ObjectReference, reason=3 string, message=4 string, source=5 EventSource,
        firstTimestamp=6 Time, lastTimestamp=7 Time, count=8 int32, type=9 string, eventTime=10 MicroTime, series=11 EventSeries?,
        action=12 string, related=13 ObjectReference?, reportingComponent=14 string, reportingInstance=15 string""",
    "NewEvent": """metadata=1 ObjectMeta, eventTime=2 MicroTime, series=3 EventSeries?, reportingController=4 string,
        reportingInstance=5 string, action=6 string, reason=7 string, regarding=8 ObjectReference, related=9 ObjectReference?,
        note=10 string, type=11 string, deprecatedSource=12 EventSource, deprecatedFirstTimestamp=13 Time,
        deprecatedLastTimestamp=14 Time, deprecatedCount=15 int32""",
    "NewEventList": "metadata=1 ListMeta, items=2 NewEvent*",
    "EventSource": "component=1 string, host=2 string",
    "EventSeries": "count=1 int32, lastObservedTime=2 MicroTime",
    "PersistentVolumeClaim": "metadata=1 ObjectMeta, spec=2 PersistentVolumeClaimSpec, status=3 PersistentVolumeClaimStatus",
    "PersistentVolumeClaimSpec": """accessModes=1 string*, resources=2 VolumeResourceRequirements, volumeName=3 string,
        selector=4 LabelSelector?, storageClassName=5 string?, volumeMode=6 string?, dataSource=7 TypedLocalObjectReference?,
        dataSourceRef=8 TypedObjectReference?, volumeAttributesClassName=9 string?""",
    "VolumeResourceRequirements": "limits=1 Quantity{}, requests=2 Quantity{}",
    "PersistentVolumeClaimStatus": """phase=1 string, accessModes=2 string*, capacity=3 Quantity{},
        conditions=4 PersistentVolumeClaimCondition*, allocatedResources=5 Quantity{}, allocatedResourceStatuses=7 string{},
        currentVolumeAttributesClassName=8 string?""",
    "PersistentVolumeClaimCondition": """type=1 string, status=2 string, lastProbeTime=3 Time, lastTransitionTime=4 Time, reason=5 string,
        message=6 string""",
    "Lease": "metadata=1 ObjectMeta, spec=2 LeaseSpec",
    "LeaseSpec": """holderIdentity=1 string?, leaseDurationSeconds=2 int32?, acquireTime=3 MicroTime?, renewTime=4 MicroTime?,
        leaseTransitions=5 int32?, strategy=6 string?, preferredHolder=7 string?""",
}
