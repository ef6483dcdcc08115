"""Messages that all kinds share, and the reviews: ``k8s.io/apimachinery`` meta/v1, ``k8s.io/api`` authentication/v1 and authorization/v1.

Numbers are those of upstream's ``generated.proto``; which fields Go holds by pointer is in its ``types.go``. Format: ``schema.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

META: Final[Mapping[str, str]] = {
    "ObjectMeta": """name=1 string, generateName=2 string, namespace=3 string, selfLink=4 string, uid=5 string, resourceVersion=6 string,
        generation=7 int64, creationTimestamp=8 Time, deletionTimestamp=9 Time?, deletionGracePeriodSeconds=10 int64?, labels=11 string{},
        annotations=12 string{}, ownerReferences=13 OwnerReference*, finalizers=14 string*, managedFields=17 ManagedFieldsEntry*""",
    "OwnerReference": "kind=1 string, name=3 string, uid=4 string, apiVersion=5 string, controller=6 bool?, blockOwnerDeletion=7 bool?",
    "ManagedFieldsEntry": """manager=1 string, operation=2 string, apiVersion=3 string, time=4 Time?, fieldsType=6 string,
        fieldsV1=7 FieldsV1?, subresource=8 string""",
    "ListMeta": "selfLink=1 string, resourceVersion=2 string, continue=3 string, remainingItemCount=4 int64?",
    "LabelSelector": "matchLabels=1 string{}, matchExpressions=2 LabelSelectorRequirement*",
    "LabelSelectorRequirement": "key=1 string, operator=2 string, values=3 string*",
    "Status": """metadata=1 ListMeta, status=2 string, message=3 string, reason=4 string, details=5 StatusDetails?, code=6 int32""",
    "StatusDetails": "name=1 string, group=2 string, kind=3 string, causes=4 StatusCause*, retryAfterSeconds=5 int32, uid=6 string",
    "StatusCause": "reason=1 string, message=2 string, field=3 string",
    "DeleteOptions": """gracePeriodSeconds=1 int64?, preconditions=2 Preconditions?, orphanDependents=3 bool?, propagationPolicy=4 string?,
        dryRun=5 string*, ignoreStoreReadErrorWithClusterBreakingPotential=6 bool?""",
    "Preconditions": "uid=1 string?, resourceVersion=2 string?",
}

REVIEWS: Final[Mapping[str, str]] = {
    "SelfSubjectAccessReview": "metadata=1 ObjectMeta, spec=2 SelfSubjectAccessReviewSpec, status=3 SubjectAccessReviewStatus",
    "SelfSubjectAccessReviewSpec": "resourceAttributes=1 ResourceAttributes?, nonResourceAttributes=2 NonResourceAttributes?",
    "SubjectAccessReview": "metadata=1 ObjectMeta, spec=2 SubjectAccessReviewSpec, status=3 SubjectAccessReviewStatus",
    "LocalSubjectAccessReview": "metadata=1 ObjectMeta, spec=2 SubjectAccessReviewSpec, status=3 SubjectAccessReviewStatus",
    "SubjectAccessReviewSpec": """resourceAttributes=1 ResourceAttributes?, nonResourceAttributes=2 NonResourceAttributes?, user=3 string,
        groups=4 string*, extra=5 ExtraValue{}, uid=6 string""",
    "SubjectAccessReviewStatus": "allowed=1 bool, reason=2 string, evaluationError=3 string, denied=4 bool",
    "ResourceAttributes": """namespace=1 string, verb=2 string, group=3 string, version=4 string, resource=5 string, subresource=6 string,
        name=7 string, fieldSelector=8 FieldSelectorAttributes?, labelSelector=9 LabelSelectorAttributes?""",
    "FieldSelectorAttributes": "rawSelector=1 string, requirements=2 LabelSelectorRequirement*",
    "LabelSelectorAttributes": "rawSelector=1 string, requirements=2 LabelSelectorRequirement*",
    "NonResourceAttributes": "path=1 string, verb=2 string",
    "SelfSubjectRulesReview": "metadata=1 ObjectMeta, spec=2 SelfSubjectRulesReviewSpec, status=3 SubjectRulesReviewStatus",
    "SelfSubjectRulesReviewSpec": "namespace=1 string",
    "SubjectRulesReviewStatus": """resourceRules=1 ResourceRule*, nonResourceRules=2 NonResourceRule*, incomplete=3 bool,
        evaluationError=4 string""",
    "ResourceRule": "verbs=1 string*, apiGroups=2 string*, resources=3 string*, resourceNames=4 string*",
    "NonResourceRule": "verbs=1 string*, nonResourceURLs=2 string*",
    "SelfSubjectReview": "metadata=1 ObjectMeta, status=2 SelfSubjectReviewStatus",
    "SelfSubjectReviewStatus": "userInfo=1 UserInfo",
    "UserInfo": "username=1 string, uid=2 string, groups=3 string*, extra=4 ExtraValue{}",
    "TokenReview": "metadata=1 ObjectMeta, spec=2 TokenReviewSpec, status=3 TokenReviewStatus",
    "TokenReviewSpec": "token=1 string, audiences=2 string*",
    "TokenReviewStatus": "authenticated=1 bool, user=2 UserInfo, error=3 string, audiences=4 string*",
    "TokenRequest": "metadata=1 ObjectMeta, spec=2 TokenRequestSpec, status=3 TokenRequestStatus",
    "TokenRequestSpec": "audiences=1 string*, boundObjectRef=3 BoundObjectReference?, expirationSeconds=4 int64?",
    "TokenRequestStatus": "token=1 string, expirationTimestamp=2 Time",
    "BoundObjectReference": "kind=1 string, apiVersion=2 string, name=3 string, uid=4 string",
}
