"""The schema: one mixin a noun, composed."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    GraphQLError,
    OperationDefinitionNode,
    specified_rules,
    validate,
)
from graphql.execution.values import get_variable_values
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types import ExecutionContext

from app.api.backup_changes import BackupSubscriptions
from app.api.backup_mutations import BackupMutations
from app.api.backups import Backup, BackupQueries
from app.api.container_mutations import ContainerMutations
from app.api.containers import Container, ContainerQueries
from app.api.context import Context, Parts
from app.api.downloads import DownloadMutations
from app.api.drifts import Drift, DriftMutations
from app.api.engines import Engine, EngineMutations
from app.api.events import Event, EventSubscriptions
from app.api.hubs import Hub, HubMutations, HubQueries
from app.api.hubs import by_ids as hubs_by_ids
from app.api.instances import Instance, InstanceMutations
from app.api.integrations import Integration, IntegrationMutations
from app.api.keys import ApiKey, KeyMutations
from app.api.limits import refuse
from app.api.loaders import Line
from app.api.log_tails import LogSubscriptions
from app.api.nodes import NodeKind
from app.api.policies import PolicyMutations
from app.api.recipes import RecipeQueries
from app.api.reclaims import Reclaim
from app.api.restores import Restore, RestoreMutations, RestoreQueries, RestoreSubscriptions
from app.api.scalars import SCALARS
from app.api.user_errors import TYPES
from app.api.verifications import (
    Verification,
    VerificationMutations,
    VerificationSubscriptions,
)
from app.api.viewer import ViewerQueries
from app.api.webhooks import Webhook, WebhookMutations
from app.model.access import Capability, Principal
from app.queries import (
    backups,
    containers,
    drifts,
    engines,
    events,
    instances,
    integrations,
    keys,
    reclaims,
    restores,
    verifications,
    webhooks,
)


@strawberry.type(
    description="What can be read. Every field names the capability that a key needs for it."
)
class Query(
    ViewerQueries, HubQueries, ContainerQueries, BackupQueries, RestoreQueries, RecipeQueries
):
    pass


@strawberry.type(
    description="What can be done. A refusal is no top-level error: it stands in the payload's "
    "`errors`, and has changed nothing. Work that takes time answers at once with the object in "
    "its first state."
)
class Mutation(
    BackupMutations,
    RestoreMutations,
    VerificationMutations,
    ContainerMutations,
    InstanceMutations,
    PolicyMutations,
    IntegrationMutations,
    EngineMutations,
    DriftMutations,
    DownloadMutations,
    KeyMutations,
    WebhookMutations,
    HubMutations,
):
    pass


@strawberry.type(
    description="What can be followed, over `graphql-transport-ws` and as server-sent events: the "
    "current state first, then every change, then the final state; then the subscription completes."
)
class Subscription(
    RestoreSubscriptions,
    BackupSubscriptions,
    VerificationSubscriptions,
    LogSubscriptions,
    EventSubscriptions,
):
    pass


RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
"""Those of the framework; here so that a document is validated when it is its key's turn."""


class PreparedDocument(SchemaExtension):
    """Takes the document that was parsed, measured and validated before."""

    def on_parse(self) -> Iterator[None]:
        context: Context = self.execution_context.context
        self.execution_context.graphql_document = context.document
        yield

    def on_validate(self) -> Iterator[None]:
        context: Context = self.execution_context.context
        self.execution_context.pre_execution_errors = list(context.faults)
        yield


class GatewaySchema(strawberry.Schema):
    def find_faults(self, document: DocumentNode) -> tuple[GraphQLError, ...]:
        """Whatever makes a document invalid."""
        return tuple(validate(self._schema, document, RULES, hide_suggestions=True))

    def check_values(
        self, operation: OperationDefinitionNode, variables: Mapping[str, Any] | None
    ) -> None:
        """Raises the first fault of the variables; carrying out would look for fifty."""
        found = get_variable_values(
            self._schema,
            tuple(operation.variable_definitions or ()),
            dict(variables or {}),
            max_errors=1,
            hide_suggestions=True,
        )
        if isinstance(found, list):
            raise refuse("BAD_USER_INPUT", found[0].message)

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log nothing here: what has to be logged is logged where errors are shown."""


KINDS: Mapping[str, NodeKind] = MappingProxyType(
    {
        "Hub": NodeKind(fetch=hubs_by_ids, show=Hub.of),
        "Container": NodeKind(fetch=containers.by_ids, show=Container.of),
        "Instance": NodeKind(fetch=instances.by_ids, show=Instance.of),
        "Integration": NodeKind(fetch=integrations.by_ids, show=Integration.of),
        "Engine": NodeKind(fetch=engines.by_ids, show=Engine.of),
        "Drift": NodeKind(fetch=drifts.by_ids, show=Drift.of),
        "Reclaim": NodeKind(fetch=reclaims.by_ids, show=Reclaim.of),
        "Backup": NodeKind(fetch=backups.by_ids, show=Backup.of),
        "Restore": NodeKind(fetch=restores.by_ids, show=Restore.of),
        "Verification": NodeKind(fetch=verifications.by_ids, show=Verification.of),
        "Event": NodeKind(fetch=events.by_ids, show=Event.of),
        "Webhook": NodeKind(fetch=webhooks.by_ids, show=Webhook.of, needs=Capability.CONFIGURE),
        "ApiKey": NodeKind(fetch=keys.by_ids, show=ApiKey.of, needs=Capability.MANAGE_KEYS),
    }
)


@cache
def make_schema() -> GatewaySchema:
    """The schema; it holds no state, so one is enough for a process."""
    return GatewaySchema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[
            *TYPES.values(),
            Hub,
            Container,
            Instance,
            Integration,
            Engine,
            Drift,
            Backup,
            Reclaim,
            Restore,
            Verification,
            Event,
            Webhook,
            ApiKey,
        ],
        extensions=[PreparedDocument],
        config=StrawberryConfig(scalar_map=SCALARS, disable_field_suggestions=True),
    )


def make_context(
    parts: Parts,
    principal: Principal,
    document: DocumentNode,
    *,
    faults: Sequence[GraphQLError],
    line: Line,
) -> Context:
    """The context of one operation; each needs its own."""
    return Context(
        principal=principal,
        parts=parts,
        kinds=KINDS,
        document=document,
        faults=faults,
        line=line,
    )


@cache
def export() -> str:
    """The text of `schema.graphql`."""
    return make_schema().as_str().rstrip() + "\n"
