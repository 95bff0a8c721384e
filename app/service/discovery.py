"""Discovery: what a look at an engine found becomes containers, instances and policies.

What was set through the API stays. Nothing is deleted here: what is not there any more is GONE.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from app.model.containers import (
    Container,
    ContainerState,
    Instance,
    InstanceState,
    NewContainer,
    NewInstance,
)
from app.model.discovery import MOST_FOUND, MOST_PROBLEMS, FoundContainer, Replica
from app.model.engines import EngineRecord
from app.model.labels import Labelled, LabelledPolicy, Problem
from app.model.policies import BackupPolicy, NewPolicy
from app.model.schedules import MOST_JITTER
from app.model.sources import Sources, ValueSource
from app.postgres.listen import notify
from app.postgres.pool import Connection, Database
from app.queries import containers, discovery, instances, integrations, policies
from app.service.schedules import end_schedule, set_schedule

_FOLLOWED: Final = {InstanceState.RUNNING, InstanceState.PAUSED} | {
    InstanceState.STOPPED,
    InstanceState.GONE,
}


@dataclass(slots=True, kw_only=True)
class _Resync:
    """One look at an engine, and what it saw."""

    engine: EngineRecord
    most_jitter: timedelta
    problems: list[Problem] = field(default_factory=list)
    there: list[UUID] = field(default_factory=list)
    """The instances that the engine has."""

    def complain(self, code: str, message: str, whose: Iterable[Replica]) -> None:
        self.problems += [Problem(code=code, message=message, container=one.name) for one in whose]


async def resync(
    database: Database,
    engine: EngineRecord,
    found: Sequence[FoundContainer],
    *,
    most_jitter: timedelta = MOST_JITTER,
) -> list[Problem]:
    """Make the records say what the engine has; returns what is wrong there.

    Each container is written by a transaction of its own, and only where something differs.
    """
    look = _Resync(engine=engine, most_jitter=most_jitter)
    hub_id = engine.hub_id
    ids = [replica.id for one in found for replica in one.replicas]
    async with database.transaction(None) as connection:
        dismissed = await discovery.dismissed(connection, hub_id, engine.id, ids, MOST_FOUND * 2)
        known = await _Known.read(connection, hub_id, found)
    whole = {one.engine_container for one in dismissed if one.is_whole}
    single = {one.engine_container for one in dismissed}
    for one in found:
        deleted = [replica for replica in one.replicas if replica.id in whole]
        if deleted:
            look.complain(
                "CONTAINER_DELETED",
                f"{one.labelled.identifier} was deleted; it is taken up again once all its"
                " containers were made anew.",
                deleted,
            )
            continue
        left = [replica for replica in one.replicas if replica.id in single]
        look.complain(
            "INSTANCE_DELETED",
            "The instance was deleted; it is taken up again once its container was made anew.",
            left,
        )
        wanted = replace(
            one, replicas=tuple(replica for replica in one.replicas if replica.id not in single)
        )
        if known.is_as(look, wanted):
            continue
        async with database.transaction(None) as connection:
            await _write(connection, look, wanted)
    async with database.transaction(None) as connection:
        if await discovery.lose(connection, hub_id, engine.id, look.there):
            await notify(connection, ["duty:runs"])
    return look.problems[:MOST_PROBLEMS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the records say, as of one moment; without locks."""

    containers: Mapping[str, Container]
    instances: Mapping[UUID, Sequence[Instance]]
    policies: Mapping[UUID, BackupPolicy]
    integrations: Mapping[UUID, str]
    """Names of those that policies speak of."""

    @classmethod
    async def read(
        cls, connection: Connection, hub_id: UUID, found: Sequence[FoundContainer]
    ) -> "_Known":
        known = await discovery.containers(
            connection, hub_id, [one.labelled.identifier for one in found]
        )
        ids = [container.id for container in known.values()]
        found_policies = await policies.by_containers(connection, hub_id, ids)
        kept_by = {policy.integration_id for policy in found_policies.values()}
        named = await integrations.by_ids(connection, hub_id, kept_by)
        return cls(
            containers=known,
            integrations={id: integration.name for id, integration in named.items()},
            instances=await discovery.instances(connection, hub_id, ids, MOST_FOUND * 2),
            policies=found_policies,
        )

    def is_as(self, look: _Resync, one: FoundContainer) -> bool:
        """Whether nothing has to be written; then what is there is reported."""
        container = self.containers.get(one.labelled.identifier)
        if container is None or not _is_from(container, look.engine, one):
            return False
        if _follow(container, one.labelled) != (
            container.name,
            container.stateful,
            container.sources,
        ):
            return False
        if one.labelled.is_policy_broken:
            return False
        policy = self.policies.get(container.id)
        if _follows_policy(container, policy):
            name = None if policy is None else self.integrations.get(policy.integration_id)
            if not _is_policy(policy, one.labelled.policy, name):
                return False
        known = {instance.replica: instance for instance in self.instances[container.id]}
        if not all(
            replica.number in known and _is_replica(known[replica.number], replica)
            for replica in one.replicas
        ):
            return False
        look.there += [known[replica.number].id for replica in one.replicas]
        return True


async def _write(connection: Connection, look: _Resync, one: FoundContainer) -> None:
    container = await _take(connection, look, one)
    if container is None:
        return
    name, stateful, sources = _follow(container, one.labelled)
    policy = (await policies.by_containers(connection, look.engine.hub_id, [container.id])).get(
        container.id
    )
    if not stateful and policy is not None and not _follows_policy(container, policy):
        look.complain(
            "NOT_STATEFUL",
            "A policy was set through the API: the container stays stateful.",
            one.replicas[-1:],
        )
        stateful = True
    if (name, stateful, sources) != (container.name, container.stateful, container.sources):
        await discovery.follow(
            connection,
            look.engine.hub_id,
            container.id,
            name=name,
            stateful=stateful,
            sources=sources,
        )
    await _write_instances(connection, look, container, one.replicas)
    if _follows_policy(container, policy) and not one.labelled.is_policy_broken:
        await _write_policy(connection, look, container, policy, one)


async def _take(connection: Connection, look: _Resync, one: FoundContainer) -> Container | None:
    """The container, locked; made where there is none. None: it may not be joined."""
    labelled = one.labelled
    container = await discovery.lock(connection, look.engine.hub_id, labelled.identifier)
    if container is None:
        if not one.replicas:
            return None
        # None: somebody else made it in this moment, and the next look tells who.
        return await containers.create(
            connection,
            look.engine.hub_id,
            NewContainer(
                identifier=labelled.identifier,
                name=labelled.name,
                stateful=labelled.stateful,
                labels={},
                found_engine_id=look.engine.id,
                found_project=one.project,
                found_service=one.service,
                sources=labelled.sources,
            ),
        )
    if not _is_from(container, look.engine, one):
        where = (
            "through the API"
            if container.found_engine_id is None
            else "by labels on another engine, Compose project or service"
        )
        look.complain(
            "NOT_JOINED",
            f"There is a container {labelled.identifier} already, made {where};"
            " choose another identifier.",
            one.replicas,
        )
        return None
    if container.state is not ContainerState.LIVE:
        look.complain(
            "CONTAINER_DELETING",
            f"A container {labelled.identifier} is being deleted; undeleteContainer brings it"
            " back, else this one is taken up when it is gone.",
            one.replicas,
        )
        return None
    return container


async def _write_instances(
    connection: Connection, look: _Resync, container: Container, replicas: Collection[Replica]
) -> None:
    engine = look.engine
    found = await discovery.lock_instances(connection, engine.hub_id, container.id, MOST_FOUND * 2)
    known = {instance.replica: instance for instance in found}
    for replica in replicas:
        before = known.get(replica.number)
        if before is None:
            id = uuid4()
            made = await instances.create(
                connection,
                look.engine.hub_id,
                id,
                NewInstance(
                    container_id=container.id,
                    hostname=replica.hostname,
                    state=replica.state,
                    executor="docker",
                    host=engine.host,
                    folder=replica.labelled.folder,
                    variables={},
                    scratch=False,
                    engine_id=engine.id,
                    engine_container=replica.id,
                    user=replica.labelled.user,
                    replica=replica.number,
                    sources=replica.labelled.instance_sources,
                ),
                sealed_variables=None,
            )
            if made is None:
                look.complain(
                    "HOSTNAME_TAKEN",
                    f"{container.identifier} has an instance {replica.hostname} already.",
                    [replica],
                )
            else:
                look.there.append(id)
            continue
        look.there.append(before.id)
        if not _is_replica(before, replica):
            folder, sources = _follow_instance(before, replica)
            await discovery.follow_instance(
                connection,
                look.engine.hub_id,
                before.id,
                state=replica.state,
                engine_container=replica.id,
                folder=folder,
                user=replica.labelled.user,
                sources=sources,
            )
    await notify(connection, ["duty:runs"])


async def _write_policy(
    connection: Connection,
    look: _Resync,
    container: Container,
    before: BackupPolicy | None,
    one: FoundContainer,
) -> None:
    wanted = one.labelled.policy
    if wanted is None:
        if before is not None:
            await end_schedule(connection, container.hub_id, container.id)
            await policies.remove(connection, container.hub_id, container.id)
        return
    integration_id = await _choose_integration(connection, container, before, wanted)
    if integration_id is None:
        name = wanted.integration
        look.complain(
            "NO_INTEGRATION",
            "The hub has no integration, or several; name one by backup-gateway.backup.integration."
            if name is None
            else "backup-gateway.backup.integration is the name of no integration, or of several.",
            one.replicas[-1:],
        )
        return
    new = replace(wanted.policy, integration_id=integration_id)
    policy = await policies.put(connection, container.hub_id, container.id, new, wanted.sources)
    await set_schedule(connection, policy, before=before, most_jitter=look.most_jitter)


async def _choose_integration(
    connection: Connection,
    container: Container,
    before: BackupPolicy | None,
    wanted: LabelledPolicy,
) -> UUID | None:
    """The named one, else the one that keeps them already, else the only one; it is held."""
    found = await discovery.integrations(connection, container.hub_id, wanted.integration)
    if wanted.integration is None and before is not None:
        return before.integration_id
    if len(found) != 1:
        return None
    held = await integrations.hold(connection, container.hub_id, found[0][0])
    return None if held is None else held.id


def _is_from(container: Container, engine: EngineRecord, one: FoundContainer) -> bool:
    return (container.found_engine_id, container.found_project, container.found_service) == (
        engine.id,
        one.project,
        one.service,
    )


def _follow(container: Container, labelled: Labelled) -> tuple[str, bool, Sources]:
    """The name, whether it is stateful, and the sources, once it follows its labels."""
    of_api = {
        value: source for value, source in container.sources.items() if source is ValueSource.API
    }
    name = container.name if "name" in of_api else labelled.name
    return name, labelled.stateful, {**labelled.sources, **of_api}


def _follows_policy(container: Container, policy: BackupPolicy | None) -> bool:
    """Whether its policy is one of labels, or would be."""
    if container.sources.get("backupPolicy") is ValueSource.API:
        return False
    return policy is None or bool(policy.sources)


def _is_policy(
    policy: BackupPolicy | None, wanted: LabelledPolicy | None, integration: str | None
) -> bool:
    """Whether the policy says what labels say; `integration` is the name of the policy's."""
    if policy is None or wanted is None:
        return policy is None and wanted is None
    return (
        policy.sources == wanted.sources
        and wanted.integration in {None, integration}
        and _as_new(policy) == replace(wanted.policy, integration_id=policy.integration_id)
    )


def _as_new(policy: BackupPolicy) -> NewPolicy:
    return NewPolicy(
        integration_id=policy.integration_id,
        backup_command=policy.backup_command,
        backup_timeout=policy.backup_timeout,
        min_bytes=policy.min_bytes,
        restore_command=policy.restore_command,
        restore_timeout=policy.restore_timeout,
        restore_check=policy.restore_check,
        restore_safety_backup=policy.restore_safety_backup,
        enabled=policy.enabled,
        cron=None if policy.schedule is None else policy.schedule.cron,
        time_zone=policy.time_zone,
        instances=policy.instances,
        overdue_after=policy.overdue_after,
        retention=policy.retention,
        verification=policy.verification,
    )


def _follow_instance(before: Instance, replica: Replica) -> tuple[str | None, Sources]:
    """The folder, and the sources, once it follows its labels."""
    of_api = {
        value: source for value, source in before.sources.items() if source is ValueSource.API
    }
    folder = before.folder if "folder" in of_api else replica.labelled.folder
    return folder, {**replica.labelled.instance_sources, **of_api}


def _is_replica(before: Instance, replica: Replica) -> bool:
    folder, sources = _follow_instance(before, replica)
    state = replica.state if before.state in _FOLLOWED else before.state
    return (before.state, before.engine_container, before.folder, before.user, before.sources) == (
        state,
        replica.id,
        folder,
        replica.labelled.user,
        sources,
    )
