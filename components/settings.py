"""A stack's settings: the only place that reads Pulumi's config.

All mistakes are gathered and reported in one error, a line each, before anything is created.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pulumi
from pydantic import ValidationError

from components import complaints, contradictions, tokens, values
from components.contradictions import FORCEABLE, NEW_SEED, PRODUCTION, PROJECT, REPLACE_DATABASE
from components.model import DrainTimes, Places, Role
from components.rollout import Rollout
from components.schema import (
    AdminSettings,
    AppSettings,
    AutoscalerSettings,
    CloudflareSettings,
    CloudSettings,
    DatabaseSettings,
    DatastoreSettings,
    EdgeSettings,
    ManagedSettings,
    PlainDnsSettings,
    Section,
    SelfHostedSettings,
    WebSettings,
)
from components.tokens import Tokens
from fleet.identity import Identity, SeedError

# A stack's name becomes a tag: letters, digits, `:`, `-` and `_`, as in `name` of "Create a New Tag" in
# https://docs.digitalocean.com/reference/api/digitalocean/. No upper case, for tags compare without it.
_STACK_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

_SECTIONS: Mapping[str, Mapping[str | None, type[Section]]] = {
    "cloud": {None: CloudSettings},
    "admin": {None: AdminSettings},
    "web": {None: WebSettings},
    "database": {"self-hosted": SelfHostedSettings, "managed": ManagedSettings},
    "edge": {"cloudflare": CloudflareSettings, "none": PlainDnsSettings},
    "autoscaler": {None: AutoscalerSettings},
    "datastore": {None: DatastoreSettings},
    "app": {None: AppSettings},
}
# Sections that may be absent.
_OPTIONAL = frozenset({"autoscaler", "datastore", "app"})
_SCALARS = ("domain", "protect", "force", "seed", tokens.CLOUD_KEY, tokens.EDGE_KEY)
KEYS = ("domain", *_SECTIONS, *_SCALARS[1:])

# Secrets that people put in stack config; in plain they would end up in git.
_MUST_BE_SECRET = (
    f"{PROJECT}:{tokens.CLOUD_KEY}",
    f"{PROJECT}:{tokens.EDGE_KEY}",
    tokens.PULUMI_CLOUD_KEY,
    "digitalocean:spacesSecretKey",
    tokens.PULUMI_EDGE_KEY,
    "cloudflare:apiKey",
    "cloudflare:apiUserServiceKey",
    "aws:secretKey",
)

_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a stack's config says, checked."""

    stack: str
    domain: str
    cloud: CloudSettings
    admin: AdminSettings
    web: WebSettings
    database: DatabaseSettings
    edge: EdgeSettings
    app: AppSettings
    autoscaler: AutoscalerSettings | None
    datastore: DatastoreSettings | None
    identity: Identity = field(repr=False)
    protect: bool
    forced: frozenset[str]
    """What the config lets through that is refused otherwise."""
    cloud_token: str | None = field(repr=False)
    """The cloud's token where the stack's config has one; else the environment has it."""
    edge_token: str | None = field(repr=False)
    """The edge's, likewise."""
    controller: Tokens | None = field(repr=False)
    """What the controller calls the clouds with; None without an autoscaler."""

    @property
    def production(self) -> bool:
        """Whether the stack serves real visitors, so that slips must be refused."""
        return self.stack == PRODUCTION

    @property
    def self_hosted(self) -> SelfHostedSettings | None:
        """The settings of a database of the fleet's own; None when the cloud runs it."""
        return self.database if isinstance(self.database, SelfHostedSettings) else None

    @property
    def managed(self) -> ManagedSettings | None:
        """The settings of a database that the cloud runs; None when it is one of the fleet's own."""
        return self.database if isinstance(self.database, ManagedSettings) else None

    @property
    def has_new_seed(self) -> bool:
        """Whether what the edge shows may still be of the authority that the stack had before."""
        return NEW_SEED in self.forced

    @property
    def may_replace_database(self) -> bool:
        """Whether a change may end a managed database and begin an empty one."""
        return REPLACE_DATABASE in self.forced

    @property
    def token_variables(self) -> Mapping[str, str]:
        """What a command of the desk calls the clouds with where the stack's config has it; else the environment has."""
        edge = self.edge_token
        given = {tokens.CLOUD_VARIABLE: self.cloud_token, tokens.EDGE_VARIABLE: edge}
        return {variable: token for variable, token in given.items() if token}

    @property
    def roles(self) -> frozenset[Role]:
        """What kinds of machines the stack has."""
        optional = {Role.DATABASE: self.self_hosted, Role.AUTOSCALER: self.autoscaler}
        return frozenset({Role.WEB, *(role for role, section in optional.items() if section is not None)})

    def places(self, edge_ranges: tuple[str, ...]) -> Places:
        """Where those are who may reach the machines; `edge_ranges` is what the edge says of itself."""
        return Places(
            admin=tuple(str(cidr) for cidr in self.admin.cidrs),
            edge=edge_ranges,
            network=str(self.cloud.network),
        )

    @property
    def rotation(self) -> int:
        """How often the edge's and the members' keys were changed."""
        return self.edge.rotation if isinstance(self.edge, CloudflareSettings) else 1

    @property
    def rollout(self) -> Rollout:
        """How the web members are replaced."""
        chosen = self.web.rollout
        return Rollout(
            count=self.web.count,
            mode=chosen.mode,
            canary_seconds=chosen.canary_seconds,
            through=chosen.partial.through if chosen.partial else None,
        )

    @property
    def drain_times(self) -> DrainTimes:
        """How long a leaving member waits: for the edge, for silence, for the last connections."""
        return DrainTimes(
            propagation=self.edge.propagation_seconds,
            quiet=self.web.drain.quiet_seconds,
            cap=self.web.drain.cap_seconds,
        )


def load() -> Settings:
    """The settings of the stack that is being deployed. Raises pulumi.RunError that names every mistake."""
    # `pulumi.Config` answers for names one knows; a typo is only seen in the whole of what is set.
    config = pulumi.runtime.config.CONFIG.get()
    secret = frozenset(key for key in config if pulumi.runtime.is_config_secret(key))
    return read(pulumi.get_stack(), config, secret, os.environ)


def read(
    stack: str, config: Mapping[str, str], secret: frozenset[str], environment: Mapping[str, str]
) -> Settings:
    """Settings from config as Pulumi hands it over: full keys, structured values as JSON; `secret` names the
    encrypted keys. Raises pulumi.RunError with one line for each mistake."""
    reader = _Reader(stack, config, secret, environment)
    settings = reader.settings()
    if settings is None:
        count = len(reader.mistakes)
        mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
        lines = "\n".join(f"  {line}" for line in reader.mistakes)
        raise pulumi.RunError(f"stack {stack} has {mistakes} in its config; nothing was changed:\n{lines}")
    return settings


class _Reader:
    """Reads one config and gathers its mistakes in the order of the keys."""

    def __init__(
        self, stack: str, config: Mapping[str, str], secret: frozenset[str], environment: Mapping[str, str]
    ) -> None:
        prefix = f"{PROJECT}:"
        self.mistakes: list[str] = []
        self._stack = stack
        self._all = config
        self._own = {key.removeprefix(prefix): text for key, text in config.items() if key.startswith(prefix)}
        self._secret = secret
        self._environment = environment

    def settings(self) -> Settings | None:
        """The settings, or None when there are mistakes."""
        self._check_stack()
        domain = self._domain()
        sections = {key: self._section(key) for key in _SECTIONS}
        protect = self._boolean("protect", default=self._stack == PRODUCTION)
        forced = self._forced()
        identity = self._identity()
        autoscaler, datastore = sections["autoscaler"], sections["datastore"]
        controller = self._tokens(sections["edge"]) if autoscaler is not None else None
        self._check_unknown_keys()
        self._check_secrets()
        self.mistakes += contradictions.between(self._stack, domain, sections, forced)
        if self.mistakes or domain is None or identity is None:
            return None
        return Settings(
            stack=self._stack,
            domain=domain,
            cloud=_typed(sections["cloud"], CloudSettings),
            admin=_typed(sections["admin"], AdminSettings),
            web=_typed(sections["web"], WebSettings),
            database=_database(sections["database"]),
            edge=_edge(sections["edge"]),
            app=_typed(sections["app"] or AppSettings(), AppSettings),
            autoscaler=_typed(autoscaler, AutoscalerSettings) if autoscaler else None,
            datastore=_typed(datastore, DatastoreSettings) if datastore else None,
            controller=controller,
            identity=identity,
            protect=protect,
            forced=forced,
            cloud_token=self._all.get(tokens.PULUMI_CLOUD_KEY),
            edge_token=self._all.get(tokens.PULUMI_EDGE_KEY),
        )

    def _check_stack(self) -> None:
        if not _STACK_NAME.fullmatch(self._stack):
            self.mistakes.append(
                f"the stack's name {self._stack!r} cannot be a tag: use up to 40 of a-z, 0-9 and -, such as dev or "
                "prod; `pulumi stack rename` changes it"
            )

    def _domain(self) -> str | None:
        text = self._own.get("domain")
        if text is None:
            self._complain(
                "domain", "is missing: text, the host name of the site, for example www.foobar.com"
            )
            return None
        try:
            return values.host_name(text)
        except ValueError as error:
            self._complain("domain", f"= {self._shown('domain', text)}: {error}")
            return None

    def _section(self, key: str) -> Section | None:
        models = _SECTIONS[key]
        usual = next(iter(models.values()))
        sample = complaints.example_of(usual)
        text = self._own.get(key)
        if text is None:
            if key not in _OPTIONAL:
                self._complain(key, f"is missing: an object, for example {sample}")
            return None
        value = _parsed(text)
        if not isinstance(value, dict):
            self._complain(key, f"= {self._shown(key, value)}: must be an object, for example {sample}")
            return None
        model = usual if None in models else self._model_of_kind(key, value, models)
        if model is None:
            return None
        try:
            # As JSON: lists become tuples, and nothing else is converted.
            return model.model_validate_json(json.dumps(value))
        except ValidationError as error:
            self.mistakes += complaints.of_section(
                f"{PROJECT}:{key}", model, error, secret=self._is_secret(key)
            )
            return None

    def _model_of_kind(
        self, key: str, value: Mapping[str, Any], models: Mapping[str | None, type[Section]]
    ) -> type[Section] | None:
        """The section's model by its `kind`. Without a kind the usual one finds the other mistakes."""
        usual = next(iter(models.values()))
        if "kind" not in value:
            return usual
        kind = value["kind"]
        if kind in models:
            return models[kind]
        names = [name for name in models if name is not None]
        hint = complaints.did_you_mean(kind, names) if isinstance(kind, str) else ""
        self._complain(f"{key}.kind", f"= {self._shown(key, kind)}: must be {' or '.join(names)}{hint}")
        return None

    def _boolean(self, key: str, *, default: bool) -> bool:
        text = self._own.get(key)
        if text is None:
            return default
        if text not in ("true", "false"):
            self._complain(key, f"= {self._shown(key, text)}: must be true or false")
        return text == "true"

    def _forced(self) -> frozenset[str]:
        text = self._own.get("force")
        value = _parsed(text) if text is not None else []
        if isinstance(value, list) and all(isinstance(item, str) and item in FORCEABLE for item in value):
            return frozenset(value)
        self._complain(
            "force", f"= {self._shown('force', value)}: must be a list of {' and '.join(FORCEABLE)}"
        )
        return frozenset()

    def _identity(self) -> Identity | None:
        text = self._own.get("seed")
        fix = f"run `fleet init {self._stack}`"
        if text is None:
            self._complain("seed", f"is missing: a secret that `fleet init` makes; {fix}")
            return None
        if not self._is_secret("seed"):
            self._complain("seed", f"is a secret but stands in plain; remove it, it is burnt, and {fix}")
            return None
        try:
            return Identity.from_seed(text)
        except SeedError as error:
            self._complain("seed", f"= {complaints.HIDDEN}: {error}")
            return None

    def _tokens(self, edge: Section | None) -> Tokens:
        has_edge = isinstance(edge, CloudflareSettings)
        found = tokens.find(self._all, self._environment, edge=has_edge)
        self.mistakes += tokens.mistakes(found, edge=has_edge)
        return found

    def _check_unknown_keys(self) -> None:
        for key in sorted(set(self._own) - set(KEYS)):
            section, dot, rest = key.partition(".")
            if dot and section in _SECTIONS:
                fix = f"; to set {rest} of {section} use `pulumi config set --path {PROJECT}:{key} VALUE`"
            else:
                fix = complaints.did_you_mean(key, KEYS)
            self._complain(key, f"is not a known key{fix} (known: {', '.join(KEYS)})")

    def _check_secrets(self) -> None:
        for key in _MUST_BE_SECRET:
            if key in self._all and key not in self._secret:
                self.mistakes.append(
                    f"{key} is a secret but stands in plain; revoke it, then `pulumi config set --secret {key}` a new one"
                )

    def _is_secret(self, key: str) -> bool:
        return f"{PROJECT}:{key}" in self._secret

    def _shown(self, key: str, value: Any) -> str:
        return complaints.HIDDEN if self._is_secret(key) else complaints.shown(value)

    def _complain(self, key: str, problem: str) -> None:
        self.mistakes.append(f"{PROJECT}:{key} {problem}")


def _parsed(text: str) -> Any:
    """A structured value, or the text itself when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _typed(section: Section | None, model: type[_S]) -> _S:
    if not isinstance(section, model):
        raise TypeError(f"{type(section).__name__} instead of {model.__name__}")
    return section


def _database(section: Section | None) -> DatabaseSettings:
    if isinstance(section, SelfHostedSettings | ManagedSettings):
        return section
    raise TypeError(f"{type(section).__name__} is no database")


def _edge(section: Section | None) -> EdgeSettings:
    if isinstance(section, CloudflareSettings | PlainDnsSettings):
        return section
    raise TypeError(f"{type(section).__name__} is no edge")
