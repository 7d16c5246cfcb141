"""Lifecycle and CORS rules of a bucket: from a program's words to S3's documents, and back where they are read.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from sandbox.providers.diff import canonical
from sandbox.providers.digitalocean.spaces_api import elements, text_of
from sandbox.providers.schema import BOOLEAN, INTEGER, STRING, given, list_of, object_of, required
from sandbox.providers.validators import at_least, length_between
from sandbox.providers.values import Values

_RULES = list_of(
    object_of(
        given("id", checks=[length_between(0, 255)]),
        given("prefix"),
        required("enabled", BOOLEAN),
        given("abortIncompleteMultipartUploadDays", INTEGER),
        given(
            "expiration",
            object_of(
                given("date"),
                given("days", INTEGER, checks=[at_least(0)]),
                given("expiredObjectDeleteMarker", BOOLEAN),
            ),
        ),
        given("noncurrentVersionExpiration", object_of(given("days", INTEGER, checks=[at_least(1)]))),
    )
)


def _same(old: Any, new: Any, _news: Values) -> bool:
    """Whether rules mean the same: an id that the program does not give is made up."""
    if not isinstance(old, list) or not isinstance(new, list) or len(old) != len(new):
        return False
    known = [
        rule if wanted.get("id") else {name: value for name, value in rule.items() if name != "id"}
        for rule, wanted in zip(old, new, strict=True)
    ]
    return bool(canonical(_RULES, known) == canonical(_RULES, new))


LIFECYCLE_RULES = given("lifecycleRules", _RULES, same=_same)
CORS_RULES = given(
    "corsRules",
    list_of(
        object_of(
            required("allowedMethods", list_of(STRING)),
            required("allowedOrigins", list_of(STRING)),
            given("allowedHeaders", list_of(STRING)),
            given("maxAgeSeconds", INTEGER),
        )
    ),
)
_CORS_ELEMENTS = {
    "allowedMethods": "AllowedMethod",
    "allowedOrigins": "AllowedOrigin",
    "allowedHeaders": "AllowedHeader",
}


def cors_document(rules: Iterable[Mapping[str, Any]]) -> str:
    return f"<CORSConfiguration>{''.join(_cors_rule(rule) for rule in rules)}</CORSConfiguration>"


def _cors_rule(rule: Mapping[str, Any]) -> str:
    parts = [
        f"<{element}>{escape(value)}</{element}>"
        for name, element in _CORS_ELEMENTS.items()
        for value in rule.get(name) or ()
    ]
    if age := rule.get("maxAgeSeconds"):
        parts.append(f"<MaxAgeSeconds>{age}</MaxAgeSeconds>")
    return f"<CORSRule>{''.join(parts)}</CORSRule>"


def lifecycle_document(rules: Iterable[Mapping[str, Any]]) -> str:
    return f"<LifecycleConfiguration>{''.join(_rule(rule) for rule in rules)}</LifecycleConfiguration>"


def lifecycle_rules(document: Element | None) -> list[Values]:
    """The rules of a bucket's answer; a bucket without any has no document."""
    return [_read(rule) for rule in elements(document, "Rule")]


def _rule(rule: Mapping[str, Any]) -> str:
    name = rule.get("id") or f"tf-s3-lifecycle-{uuid.uuid4().hex}"
    parts = [
        f"<ID>{escape(name)}</ID><Filter><Prefix>{escape(rule.get('prefix') or '')}</Prefix></Filter>",
        f"<Status>{'Enabled' if rule['enabled'] else 'Disabled'}</Status>",
    ]
    if days := rule.get("abortIncompleteMultipartUploadDays"):
        inner = f"<DaysAfterInitiation>{days}</DaysAfterInitiation>"
        parts.append(f"<AbortIncompleteMultipartUpload>{inner}</AbortIncompleteMultipartUpload>")
    if expiration := rule.get("expiration"):
        parts.append(f"<Expiration>{_expiration(expiration)}</Expiration>")
    if days := (rule.get("noncurrentVersionExpiration") or {}).get("days"):
        inner = f"<NoncurrentDays>{days}</NoncurrentDays>"
        parts.append(f"<NoncurrentVersionExpiration>{inner}</NoncurrentVersionExpiration>")
    return f"<Rule>{''.join(parts)}</Rule>"


def _expiration(expiration: Mapping[str, Any]) -> str:
    if date := expiration.get("date"):
        return f"<Date>{escape(date)}T00:00:00Z</Date>"
    if days := expiration.get("days"):
        return f"<Days>{days}</Days>"
    marker = "true" if expiration.get("expiredObjectDeleteMarker") else "false"
    return f"<ExpiredObjectDeleteMarker>{marker}</ExpiredObjectDeleteMarker>"


def _read(rule: Element) -> Values:
    known: Values = {
        "id": text_of(rule, "ID"),
        "prefix": text_of(rule, "Prefix"),
        "enabled": text_of(rule, "Status") == "Enabled",
    }
    if days := text_of(rule, "DaysAfterInitiation"):
        known["abortIncompleteMultipartUploadDays"] = int(days)
    for expiration in elements(rule, "Expiration"):
        days = text_of(expiration, "Days")
        known["expiration"] = {
            "date": text_of(expiration, "Date")[:10],
            "days": int(days) if days else 0,
            "expiredObjectDeleteMarker": text_of(expiration, "ExpiredObjectDeleteMarker") == "true",
        }
    if days := text_of(rule, "NoncurrentDays"):
        known["noncurrentVersionExpiration"] = {"days": int(days)}
    return {name: value for name, value in known.items() if value != ""}
