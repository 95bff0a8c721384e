"""Backup policies: what is run to save and to restore a container."""

from datetime import datetime, timedelta
from typing import Annotated, Self

import strawberry

from app.api import access
from app.api.arguments import IdempotencyKey, given, name_id
from app.api.context import Info
from app.api.integrations import Integration
from app.api.retention import Retention, RetentionInput, read_retention
from app.api.scalars import BigInt
from app.api.sources import ValueOrigin
from app.api.user_errors import UserError
from app.api.verification_plans import (
    VerificationPlan,
    VerificationPlanInput,
    read_verification,
)
from app.errors import InvalidInput
from app.model import policies as model
from app.model.access import Capability
from app.model.recipes import RECIPES, Recipe, find_recipe
from app.model.schedules import DEFAULT_NEXT_RUNS, InstanceSelection, check_next_runs
from app.model.sources import POLICY_VALUES
from app.queries import integrations as integrations_queries
from app.queries import schedules as schedules_queries
from app.service import policies as service

_COMMAND = (
    "Needs the capability `READ_COMMANDS`: without it null, with a `FORBIDDEN` error at this field."
)
_BACKUP_COMMAND = (
    "Run by `sh -c` in the instance. Its standard output is the backup, its standard error the log."
)
_RESTORE_COMMAND = (
    "Run by `sh -c` in the instance, with the backup on its standard input. It must read all of it "
    "and exit with 0."
)
_TIMEOUT = "How long command and transfer together may take, 1 second to 7 days"
_CRON = (
    "When backups are made: five fields (minute, hour, day of the month, month, day of the week), "
    "or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`."
)
_TIME_ZONE = (
    "The IANA time zone, like `Europe/Berlin`, whose clock `cron` is read by and whose days, weeks "
    "and months the retention counts."
)
_INSTANCES = "Which instances the schedule saves."
_ENABLED = "False: no backup is made by the schedule; one that is asked for is made all the same."
_CHECK = (
    "Run by `sh -c` in the instance after the restore command: unless it exits with 0, the restore "
    "has failed."
)
_SAFETY = (
    "Before a restore the target is saved (a backup with the trigger `PRE_RESTORE`), and where "
    "that fails the restore is not begun."
)
_OVERDUE = (
    "How long after its time there may be no `LIVE` backup before the container is overdue; at "
    "least twice what the last backup took"
)


@strawberry.type(description="How a container is saved.")
class BackupCommand:
    timeout: timedelta = strawberry.field(description=f"{_TIMEOUT}.")
    cron: str | None = strawberry.field(
        description=f"{_CRON} As it was written; null: only when asked for."
    )
    time_zone: str = strawberry.field(description=_TIME_ZONE)
    instances: InstanceSelection = strawberry.field(description=_INSTANCES)
    min_bytes: BigInt = strawberry.field(
        description="A backup of fewer bytes counts as failed (`OUTPUT_TOO_SMALL`)."
    )
    text: strawberry.Private[str]

    @strawberry.field(description=f"{_BACKUP_COMMAND} {_COMMAND}")
    def command(self, info: Info) -> str | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return self.text


@strawberry.type(description="How a backup is put back.")
class RestoreCommand:
    timeout: timedelta = strawberry.field(description=f"{_TIMEOUT}.")
    safety_backup: bool = strawberry.field(description=_SAFETY)
    text: strawberry.Private[str]
    check_text: strawberry.Private[str | None]

    @strawberry.field(description=f"{_RESTORE_COMMAND} {_COMMAND}")
    def command(self, info: Info) -> str | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return self.text

    @strawberry.field(description=f"{_CHECK} Null where there is none. {_COMMAND}")
    def check(self, info: Info) -> str | None:
        info.context.principal.require(Capability.READ_COMMANDS)
        return self.check_text


@strawberry.type(description="How a container's backups are made, and where they are kept.")
class BackupPolicy:
    enabled: bool = strawberry.field(description=_ENABLED)
    backup: BackupCommand = strawberry.field(description="How it is saved.")
    restore: RestoreCommand | None = strawberry.field(
        description="How a backup is put back; null where the policy has no restore command: then "
        "nothing can be restored."
    )
    retention: Retention = strawberry.field(description="How long backups are kept.")
    verification: VerificationPlan | None = strawberry.field(
        description="How backups are verified by themselves; null: they are not."
    )
    overdue_after: timedelta = strawberry.field(description=f"{_OVERDUE}.")
    updated_at: datetime = strawberry.field(description="When it was set.")
    record: strawberry.Private[model.BackupPolicy]

    @classmethod
    def of(cls, record: model.BackupPolicy) -> Self:
        restore, plan = record.restore_command, record.verification
        return cls(
            enabled=record.enabled,
            backup=BackupCommand(
                timeout=record.backup_timeout,
                cron=None if record.schedule is None else record.schedule.cron,
                time_zone=record.time_zone,
                instances=record.instances,
                min_bytes=BigInt(record.min_bytes),
                text=record.backup_command,
            ),
            restore=None
            if restore is None
            else RestoreCommand(
                timeout=record.restore_timeout,
                safety_backup=record.restore_safety_backup,
                text=restore,
                check_text=record.restore_check,
            ),
            retention=Retention.of(record.retention),
            verification=None if plan is None else VerificationPlan.of(plan),
            overdue_after=record.overdue_after,
            updated_at=record.updated_at,
            record=record,
        )

    @strawberry.field(
        description="Where each value comes from, by names such as `backup.cron`. A policy is a "
        "whole: all of one that was set by `configureBackups` is of the `API`, and labels do not "
        "count until it is given back to them by `updateContainer(followLabels: true)`."
    )
    def sources(self) -> list[ValueOrigin]:
        return ValueOrigin.list_of(POLICY_VALUES, self.record.sources)

    @strawberry.field(description="Where the backups are kept.")
    async def integration(self, info: Info) -> Integration:
        found = await info.context.load(integrations_queries.by_ids, self.record.integration_id)
        assert found is not None
        return Integration.of(found)

    @strawberry.field(
        description="When backups are made next by the schedule, each with the same jitter of up "
        "to 5 minutes; `Container.nextBackupAt` is the first one. Empty without `cron`, and where "
        "`enabled` is false."
    )
    async def next_runs(
        self,
        info: Info,
        *,
        first: Annotated[
            int | None, strawberry.argument(description="How many, 1 to 25; 5 where null.")
        ] = DEFAULT_NEXT_RUNS,
    ) -> list[datetime]:
        count = DEFAULT_NEXT_RUNS if first is None else first
        check_next_runs(count)
        container_id, schedule = self.record.container_id, self.record.schedule
        state = await info.context.load(schedules_queries.by_containers, container_id)
        return [] if state is None or schedule is None else state.next_runs(schedule, count)


@strawberry.input(description="How a container is saved.")
class BackupCommandInput:
    command: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_BACKUP_COMMAND} Not empty, at most 64 KiB, no NUL. Absent or null: that of "
        "`recipe`.",
    )
    timeout: timedelta = strawberry.field(
        default=model.DEFAULT_TIMEOUT, description=f"{_TIMEOUT}; 12 hours where absent."
    )
    cron: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_CRON} What cannot be read or is never due is refused. Absent or null: only "
        "when asked for.",
    )
    time_zone: str = strawberry.field(
        default=model.DEFAULT_TIME_ZONE, description=f"{_TIME_ZONE} `UTC` where absent."
    )
    instances: InstanceSelection = strawberry.field(
        default=InstanceSelection.EACH, description=f"{_INSTANCES} `EACH` where absent."
    )
    min_bytes: BigInt = strawberry.field(
        default=BigInt(model.DEFAULT_MIN_BYTES),
        description="A backup of fewer bytes counts as failed (`OUTPUT_TOO_SMALL`); 0 or more, 1 "
        "where absent: an empty backup has failed.",
    )


@strawberry.input(description="How a backup is put back.")
class RestoreCommandInput:
    command: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_RESTORE_COMMAND} Not empty, at most 64 KiB, no NUL. Absent or null: that "
        "of `recipe`.",
    )
    timeout: timedelta = strawberry.field(
        default=model.DEFAULT_TIMEOUT, description=f"{_TIMEOUT}; 12 hours where absent."
    )
    check: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=f"{_CHECK} At most 64 KiB, no NUL. Absent or null: none.",
    )
    safety_backup: bool = strawberry.field(
        default=False, description=f"{_SAFETY} False where absent."
    )


@strawberry.input(description="A backup policy. It is a whole: setting it replaces the old one.")
class BackupPolicyInput:
    integration_id: strawberry.ID = strawberry.field(
        description="Where the backups are kept; an integration of your hub."
    )
    backup: BackupCommandInput = strawberry.field(description="How the container is saved.")
    restore: RestoreCommandInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="How a backup is put back. Null: backups are made, but none can be restored. "
        "Absent: as `recipe` says, and like null without one.",
    )
    recipe: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The name of one of `Query.backupRecipes`, whose commands are taken where none "
        "are given. The policy keeps the commands as they are now, not the name. Absent or null: "
        "every command is given.",
    )
    enabled: bool = strawberry.field(default=True, description=f"{_ENABLED} True where absent.")
    retention: RetentionInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="How long backups are kept; 365 days where absent or null.",
    )
    verification: VerificationPlanInput | None = strawberry.field(
        default=strawberry.UNSET,
        description="How backups are verified by themselves. Absent or null: they are not.",
    )
    overdue_after: timedelta = strawberry.field(
        default=model.DEFAULT_OVERDUE_AFTER,
        description=f"{_OVERDUE}. 1 minute to 30 days, 1 hour where absent.",
    )


@strawberry.type(description="What `configureBackups` answers.")
class ConfigureBackupsPayload:
    backup_policy: BackupPolicy | None = strawberry.field(
        default=None,
        description="The policy as it is now; null where it was removed or refused.",
    )
    warnings: list[str] = strawberry.field(
        default_factory=list,
        description="Sentences about what was accepted but will not do what you may expect: no "
        "restore command, no instance running, an integration that is not `LIVE` yet, a command "
        "that `sh` certainly cannot read, such as one with a quote left open. A command without a "
        "warning may be wrong all the same.",
    )
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was not."
    )


@strawberry.type
class PolicyMutations:
    @access.mutation(
        Capability.CONFIGURE,
        ConfigureBackupsPayload,
        description="Set a container's backup policy as a whole, or remove it with `null`: then no "
        "backup is made any more, and those that exist stay.",
    )
    async def configure_backups(
        self,
        info: Info,
        *,
        container_id: Annotated[
            strawberry.ID, strawberry.argument(description="The container; a stateful one.")
        ],
        policy: Annotated[
            BackupPolicyInput | None,
            strawberry.argument(
                description="The whole policy; `null` removes it. It must be given."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = None,
    ) -> ConfigureBackupsPayload:
        if policy is strawberry.UNSET:
            raise InvalidInput(
                "Give the policy, or null to remove the one that is there.", path=("policy",)
            )
        configured, warnings = await service.configure_backups(
            info.context.parts.database,
            info.context.principal,
            container_id=name_id("Container", container_id),
            policy=None if policy is None else read_policy(policy),
            most_jitter=info.context.parts.schedule_jitter,
            idempotency_key=idempotency_key,
        )
        return ConfigureBackupsPayload(
            backup_policy=None if configured is None else BackupPolicy.of(configured),
            warnings=warnings,
        )


def read_policy(policy: BackupPolicyInput) -> model.NewPolicy:
    recipe, backup = _read_recipe(given(policy.recipe)), policy.backup
    restore = given(policy.restore)
    if policy.restore is strawberry.UNSET and recipe is not None:
        restore = RestoreCommandInput()
    return model.NewPolicy(
        integration_id=name_id("Integration", policy.integration_id),
        backup_command=_choose(
            backup.command,
            None if recipe is None else recipe.backup_command,
            path=("policy", "backup", "command"),
        ),
        backup_timeout=backup.timeout,
        min_bytes=backup.min_bytes,
        restore_command=None
        if restore is None
        else _choose(
            restore.command,
            None if recipe is None else recipe.restore_command,
            path=("policy", "restore", "command"),
        ),
        restore_timeout=model.DEFAULT_TIMEOUT if restore is None else restore.timeout,
        restore_check=None if restore is None else given(restore.check),
        restore_safety_backup=restore is not None and restore.safety_backup,
        enabled=policy.enabled,
        cron=given(backup.cron),
        time_zone=backup.time_zone,
        instances=backup.instances,
        overdue_after=policy.overdue_after,
        retention=read_retention(given(policy.retention)),
        verification=read_verification(given(policy.verification)),
    )


def _read_recipe(name: str | None) -> Recipe | None:
    if name is None:
        return None
    recipe = find_recipe(name)
    if recipe is None:
        raise InvalidInput(
            f"There is no such recipe; there are {', '.join(RECIPES)}.", path=("policy", "recipe")
        )
    return recipe


def _choose(command: str | None, of_recipe: str | None, *, path: tuple[str, ...]) -> str:
    """The command that was given, or else that of the recipe."""
    chosen = of_recipe if given(command) is None else command
    if chosen is None:
        raise InvalidInput("Give the command, or a recipe that has one.", path=path)
    return chosen
