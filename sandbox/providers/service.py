"""The gRPC face of a provider: `pulumirpc.ResourceProvider`, for attachment by PULUMI_DEBUG_PROVIDERS.

https://github.com/pulumi/pulumi/blob/v3.259.0/proto/pulumi/provider.proto
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import aiohttp
import grpc
import grpc.aio
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from sandbox.providers.call import Call, NotReadyError, OperationError
from sandbox.providers.check import check, check_arguments
from sandbox.providers.configuration import check_configuration, read_configuration
from sandbox.providers.diff import Change, compare, deletes_first, planned_state, without_defaults
from sandbox.providers.http import Api, ApiError
from sandbox.providers.naming import Proposal
from sandbox.providers.package import Package
from sandbox.providers.refresh import imported_state, refreshed_inputs
from sandbox.providers.schema import Resource
from sandbox.providers.session import CancelledByEngineError, LostConfigurationError, Session, Sessions
from sandbox.providers.values import (
    Secret,
    Values,
    contains_unknown,
    decode,
    encode,
    keep_secrets,
    reveal,
)

_log = logging.getLogger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]
_EXPECTED = (ApiError, OperationError, CancelledByEngineError)
_KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class ProviderService(provider_pb2_grpc.ResourceProviderServicer):
    """Serves one package to any number of engines."""

    def __init__(self, package: Package, http: aiohttp.ClientSession) -> None:
        self._package = package
        self._http = http
        self.sessions = Sessions()

    # The conversation before the first resource.

    async def Handshake(self, request: Any, context: _Context) -> Any:  # noqa: N802
        self.sessions.begin(context.peer(), request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True,
            accept_resources=False,
            accept_outputs=False,
            supports_autonaming_configuration=True,
        )

    async def Attach(self, request: Any, context: _Context) -> Any:  # noqa: N802
        self.sessions.of(context.peer()).attach(request.address)
        return empty_pb2.Empty()

    async def GetPluginInfo(self, request: Any, context: _Context) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._package.version)

    async def GetSchema(self, request: Any, context: _Context) -> Any:  # noqa: N802
        schema = {"name": self._package.name, "version": self._package.version}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    async def Cancel(self, request: Any, context: _Context) -> Any:  # noqa: N802
        self.sessions.of(context.peer()).cancelled.set()
        return empty_pb2.Empty()

    async def CheckConfig(self, request: Any, context: _Context) -> Any:  # noqa: N802
        news = decode(request.news)
        failures = check_configuration(self._package, news)
        return provider_pb2.CheckResponse(inputs=encode(news), failures=_failures(failures))

    async def DiffConfig(self, request: Any, context: _Context) -> Any:  # noqa: N802
        old, new = decode(request.old_inputs), decode(request.news)
        names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        return _diff_response(
            [Change(name, name, "update", replaces=False) for name in names], deletes_first=False
        )

    async def Configure(self, request: Any, context: _Context) -> Any:  # noqa: N802
        session = self.sessions.of(context.peer())
        session.configuration = read_configuration(self._package, reveal(decode(request.args)))
        # Looked up while the connection is new: later only this tells whose it was.
        await session.process()
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    # Planning.

    async def Check(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        checked = check(
            resource,
            request.name or _name_of(request.urn),
            decode(request.news),
            decode(request.olds),
            request.randomSeed,
            _proposal(request),
        )
        return provider_pb2.CheckResponse(inputs=encode(checked.inputs), failures=_failures(checked.failures))

    async def Diff(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        state, news = reveal(decode(request.olds)), reveal(decode(request.news))
        changes = compare(resource, state, reveal(decode(request.old_inputs)), news, request.ignoreChanges)
        if not contains_unknown(news):
            problems = [text for rule in resource.change_rules for text in rule(state, news)]
            if problems:
                await _fail(context, f"diffing {request.urn}: {'; '.join(problems)}")
        return _diff_response(changes, deletes_first=deletes_first(resource, news))

    # Acting.

    async def Create(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        news = decode(request.properties)
        plan = planned_state(resource, reveal(news), prior=None)
        if request.preview:
            if resource.creation_warning:
                session = self.sessions.of(context.peer())
                await session.log("warning", resource.creation_warning, request.urn)
            return provider_pb2.CreateResponse(properties=encode(_marked(resource, plan, news)))
        call = await self._call(request, context, inputs=without_defaults(reveal(news)))
        try:
            created = await resource.operations.create(call)
        except NotReadyError as error:
            outputs = _completed(plan, error.outputs)
            await _fail_initialization(context, error.key, _marked(resource, outputs, news), str(error))
        except _EXPECTED as error:
            await _fail(context, str(error))
        outputs = _completed(plan, created.outputs)
        return provider_pb2.CreateResponse(
            id=created.key, properties=encode(_marked(resource, outputs, news))
        )

    async def Read(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        old_state, old_inputs = decode(request.properties), decode(request.inputs)
        call = await self._call(
            request, context, inputs=without_defaults(reveal(old_inputs)), state=reveal(old_state)
        )
        try:
            if not old_state and resource.import_path:
                known, key = imported_state(resource, request.id)
                call = replace(call, state=known, key=key)
            outputs = await resource.operations.read(call)
        except _EXPECTED as error:
            await _fail(context, str(error))
        if outputs is None:
            return provider_pb2.ReadResponse()
        state = call.state | outputs
        inputs = refreshed_inputs(resource, reveal(old_inputs), state, imported=not old_inputs)
        return provider_pb2.ReadResponse(
            id=call.key,
            properties=encode(keep_secrets(_marked(resource, state, old_inputs), old_state)),
            inputs=encode(keep_secrets(inputs, old_inputs)),
        )

    async def Update(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        news, state = decode(request.news), reveal(decode(request.olds))
        plain = reveal(news)
        changes = compare(resource, state, reveal(decode(request.old_inputs)), plain, request.ignoreChanges)
        plan = planned_state(resource, plain, state)
        if request.preview:
            shown = plan if changes else state
            return provider_pb2.UpdateResponse(properties=encode(_marked(resource, shown, news)))
        changed = frozenset(change.name for change in changes)
        call = await self._call(
            request, context, inputs=without_defaults(plain), state=state, changed=changed
        )
        try:
            outputs = await resource.operations.update(call)
        except _EXPECTED as error:
            if resource.records_failed_updates:
                await _fail_initialization(
                    context, request.id, _marked(resource, _completed(plan, {}), news), str(error)
                )
            await _fail(context, str(error))
        return provider_pb2.UpdateResponse(
            properties=encode(_marked(resource, _completed(plan, outputs), news))
        )

    async def Delete(self, request: Any, context: _Context) -> Any:  # noqa: N802
        resource = await self._resource(request.type or _type_of(request.urn), context)
        state = reveal(decode(request.properties))
        inputs = state | without_defaults(reveal(decode(request.old_inputs)))
        call = await self._call(request, context, inputs=inputs, state=state)
        try:
            await resource.operations.delete(call)
        except _EXPECTED as error:
            await _fail(context, str(error))
        return empty_pb2.Empty()

    async def Invoke(self, request: Any, context: _Context) -> Any:  # noqa: N802
        function = self._package.functions.get(request.tok)
        if function is None:
            await _fail(
                context, f"Unrecognized data function (Invoke): {request.tok}", grpc.StatusCode.NOT_FOUND
            )
        checked = check_arguments(function.arguments, request.tok, decode(request.args))
        if checked.failures:
            return provider_pb2.InvokeResponse(failures=_failures(checked.failures))
        session = self.sessions.of(context.peer())
        call = Call(
            session=session,
            inputs=checked.inputs,
            connection=await self._api(session, context),
        )
        try:
            result: Values = await function.call(call)
        except _EXPECTED as error:
            await _fail(context, f"invocation of {request.tok} returned an error: {error}")
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode(result))
        return response

    async def _resource(self, token: str, context: _Context) -> Resource:
        resource = self._package.resources.get(token)
        if resource is None:
            await _fail(context, f"unrecognized resource type (Check): {token}", grpc.StatusCode.NOT_FOUND)
        return resource

    async def _call(self, request: Any, context: _Context, **details: Any) -> Call:
        session = self.sessions.of(context.peer())
        return Call(
            session=session,
            urn=request.urn,
            name=request.name or _name_of(request.urn),
            key=getattr(request, "id", ""),
            timeout=request.timeout,
            connection=await self._api(session, context),
            **details,
        )

    async def _api(self, session: Session, context: _Context) -> Api | None:
        if self._package.connect is None:
            return None
        try:
            configuration = await self.sessions.configuration(session)
        except LostConfigurationError as error:
            await _fail(context, str(error))
        return await self._package.connect(session, configuration, self._http)


def _marked(resource: Resource, outputs: Values, inputs: Values) -> Values:
    """Outputs as secret as the inputs they repeat, and those that always are."""
    known = {name: outputs[name] for name in outputs if name in resource.properties}
    return {
        name: _secret(value) if resource.properties[name].secret else value
        for name, value in keep_secrets(known, inputs).items()
    }


def _secret(value: Any) -> Any:
    return value if value is None or isinstance(value, Secret) or contains_unknown(value) else Secret(value)


def _completed(plan: Values, outputs: Values) -> Values:
    """What was planned with what the cloud decided; where it says nothing, the plan holds."""
    known = {name: value for name, value in plan.items() if not contains_unknown(value)}
    return known | {name: value for name, value in outputs.items() if value is not None}


def _diff_response(changes: Sequence[Change], *, deletes_first: bool) -> Any:
    replaced = sorted({change.name for change in changes if change.replaces})
    response = provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
        diffs=sorted({change.name for change in changes}),
        replaces=replaced,
        deleteBeforeReplace=bool(replaced) and deletes_first,
        hasDetailedDiff=True,
    )
    for change in changes:
        response.detailedDiff[change.path].kind = _KINDS[change.kind, change.replaces]
    return response


def _failures(reasons: Sequence[str]) -> list[Any]:
    return [provider_pb2.CheckFailure(reason=reason) for reason in reasons]


def _proposal(request: Any) -> Proposal | None:
    if not request.HasField("autonaming"):
        return None
    modes = provider_pb2.CheckRequest.AutonamingOptions
    options = request.autonaming
    name = None if options.mode == modes.DISABLE else options.proposed_name
    return Proposal(name, enforced=options.mode == modes.ENFORCE)


async def _fail(context: _Context, message: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> NoReturn:
    await context.abort(code, message)


async def _fail_initialization(context: _Context, key: str, outputs: Values, reason: str) -> NoReturn:
    """Report an object that exists but is not right, so that the engine keeps it with an error mark."""
    detail = any_pb2.Any()
    detail.Pack(provider_pb2.ErrorResourceInitFailed(id=key, properties=encode(outputs), reasons=[reason]))
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason, details=[detail])
    await context.abort(
        grpc.StatusCode.UNKNOWN, reason, (("grpc-status-details-bin", status.SerializeToString()),)
    )


def _type_of(urn: str) -> str:
    return urn.split("::")[2].split("$")[-1]


def _name_of(urn: str) -> str:
    return urn.split("::", 3)[3]
