"""Cloudflare: certificates of origins, and the edge's own towards them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.cloudflare.common import (
    FAILED,
    GONE,
    NOT_DESTROYED,
    NOT_RESET,
    from_api,
    moment,
    to_api,
    token,
)
from sandbox.providers.http import ApiError
from sandbox.providers.rest import Collection
from sandbox.providers.schema import (
    BOOLEAN,
    NUMBER,
    STRING,
    Operations,
    Property,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    required,
)
from sandbox.providers.validators import number_of, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_ORIGIN_CA: dict[str, Property] = by_name(
    [
        required("csr", replaces=True),
        required("hostnames", list_of(STRING), replaces=True),
        required(
            "requestType", replaces=True, checks=[one_of("origin-rsa", "origin-ecc", "keyless-certificate")]
        ),
        given(
            "requestedValidity",
            NUMBER,
            replaces=True,
            default=5475,
            checks=[number_of(7, 30, 90, 365, 730, 1095, 5475)],
        ),
        computed("certificate"),
        computed("expiresOn"),
    ]
)

ORIGIN_CA_CERTIFICATE = Resource(
    token=token("OriginCaCertificate"),
    properties=_ORIGIN_CA,
    operations=Collection(
        path="/certificates",
        envelope="result",
        verbs=(FAILED, FAILED, FAILED, FAILED),
        identify=lambda document: str(document["id"]),
        body=lambda call: {"requested_validity": 5475, **to_api(_ORIGIN_CA, call.inputs)},
        outputs=lambda document, _: {name: from_api(document).get(name) for name in _ORIGIN_CA},
        reads_back=False,
        gone_warning=GONE,
    ),
)

_CLIENT: dict[str, Property] = by_name(
    [
        required("zoneId", replaces=True),
        required("certificate", replaces=True),
        required("privateKey", replaces=True),
        *(computed(name) for name in ("certificateId", "expiresOn", "issuer", "serialNumber", "signature")),
        *(computed(name) for name in ("status", "uploadedOn")),
        computed("enabled", BOOLEAN),
    ]
)


def _client_body(call: Call) -> Document:
    body = to_api(_CLIENT, call.inputs)
    return {name: body[name] for name in ("certificate", "private_key")}


def _client_outputs(document: Document, call: Call) -> Values:
    answer, known = from_api(document), {**call.state, **call.inputs}
    return {
        **{name: moment(answer.get(name)) for name in _CLIENT},
        "zoneId": known.get("zoneId"),
        # The API tells nobody the key.
        "privateKey": known.get("privateKey"),
        "certificateId": answer["id"],
    }


ORIGIN_PULLS_CERTIFICATE = Resource(
    token=token("AuthenticatedOriginPullsCertificate"),
    import_path=("zoneId",),
    properties=_CLIENT,
    operations=Collection(
        path="/zones/{zoneId}/origin_tls_client_auth",
        envelope="result",
        verbs=(FAILED, FAILED, FAILED, FAILED),
        identify=lambda document: str(document["id"]),
        body=_client_body,
        outputs=_client_outputs,
        reads_back=False,
        gone_warning=GONE,
    ),
)


class _OriginPulls(Operations):
    """The zone's switch: it always exists, under the zone's id, and is never deleted."""

    async def create(self, call: Call) -> Created:
        return Created(call.inputs["zoneId"], await self.update(call))

    async def read(self, call: Call) -> Values | None:
        try:
            answer = await call.api.get(_switch_path(call.key))
        except ApiError as error:
            if error.status != 404:
                raise OperationError(f"{FAILED}{error}") from error
            await call.warn(GONE)
            return None
        return {"zoneId": call.key, "enabled": answer["result"].get("enabled")}

    async def update(self, call: Call) -> Values:
        zone = call.inputs["zoneId"]
        try:
            answer = await call.api.call("PUT", _switch_path(zone), body={"enabled": call.inputs["enabled"]})
        except ApiError as error:
            raise OperationError(f"{FAILED}{error}") from error
        return {"zoneId": zone, "enabled": answer["result"].get("enabled")}

    async def delete(self, call: Call) -> None:
        await call.warn(NOT_RESET)


def _switch_path(zone: str) -> str:
    return f"/zones/{quote(zone, safe='')}/origin_tls_client_auth/settings"


ORIGIN_PULLS_SETTINGS = Resource(
    token=token("AuthenticatedOriginPullsSettings"),
    operations=_OriginPulls(),
    creation_warning=NOT_DESTROYED,
    properties=by_name([required("zoneId", replaces=True), required("enabled", BOOLEAN)]),
)

RESOURCES = (ORIGIN_CA_CERTIFICATE, ORIGIN_PULLS_CERTIFICATE, ORIGIN_PULLS_SETTINGS)
