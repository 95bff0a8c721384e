"""The catalogue of expected failures: one class each.

`code` is stable for ever, `retry` says if another try can help.
The first line of a docstring is the public sentence; an instance may say it more precisely.
What is not in this tree is a defect: it is masked from clients and logged with a reference id.
"""

from typing import ClassVar


class GatewayError(Exception):
    """The request failed."""

    code: ClassVar[str] = "INTERNAL"
    retry: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        super().__init__(self.message)


# --- what GraphQL shows as the six UserError types -----------------------------------------


class UserError(GatewayError):
    """The request cannot be carried out.

    `reason` narrows the six types down; `path` names the argument.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        path: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = code or type(self).code
        self.path = path


class NotFound(UserError):
    """There is no such object."""

    code = "NOT_FOUND"


class InvalidInput(UserError):
    """An argument has a value that cannot be used."""

    code = "INVALID_INPUT"


class InvalidState(UserError):
    """The object is not in a state that allows this."""

    code = "INVALID_STATE"


class Conflict(UserError):
    """The request contradicts another one."""

    code = "CONFLICT"


class NotPermitted(UserError):
    """Your API key does not allow this."""

    code = "NOT_PERMITTED"


class StorageRefused(UserError):
    """Backblaze B2 did not accept the request."""

    code = "STORAGE"


# --- webhooks -------------------------------------------------------------------------------


class WebhookFailed(GatewayError):
    """The webhook's receiver did not take the event."""

    code = "WEBHOOK_FAILED"
    retry = True


class WebhookGone(WebhookFailed):
    """The webhook's receiver says that it is gone."""

    code = "WEBHOOK_GONE"
    retry = False


# --- storage --------------------------------------------------------------------------------


class StorageError(GatewayError):
    """Backblaze B2 failed."""

    code = "STORAGE_FAILED"


class StorageUnavailable(StorageError):
    """Backblaze B2 cannot be reached or is overloaded; try again later."""

    code = "STORAGE_UNAVAILABLE"
    retry = True


class StorageCredentials(StorageError):
    """Backblaze B2 refuses the application key; create a new one and update the integration."""

    code = "STORAGE_CREDENTIALS"


class StorageCapability(StorageError):
    """The application key lacks a capability that backups need."""

    code = "STORAGE_CAPABILITY"


class StorageCapExceeded(StorageError):
    """A cap of the Backblaze account is used up; raise it in the account's caps and alerts."""

    code = "STORAGE_CAP_EXCEEDED"


class BucketNotFound(StorageError):
    """There is no such bucket, or the key is not allowed to see it."""

    code = "BUCKET_NOT_FOUND"


class BucketPublic(StorageError):
    """The bucket is public: anybody could read the backups. Make it private."""

    code = "BUCKET_PUBLIC"


class BucketLifecycle(StorageError):
    """A lifecycle rule of the bucket hides or deletes files under the prefix; remove the rule."""

    code = "BUCKET_LIFECYCLE"


class BucketObjectLock(StorageError):
    """The bucket has a default Object Lock retention: backups could not be deleted. Remove it."""

    code = "BUCKET_OBJECT_LOCK"


class ObjectMissing(StorageError):
    """The object is not in the bucket any more."""

    code = "OBJECT_MISSING"


class ObjectMismatch(StorageError):
    """The object's bytes are not the ones that were saved."""

    code = "OBJECT_MISMATCH"


class KeyReachesNothing(StorageError):
    """The new application key does not reach the backups that the old one stored."""

    code = "KEY_REACHES_NOTHING"


class PrefixInUse(StorageError):
    """The bucket and prefix overlap those of another integration; choose another prefix."""

    code = "PREFIX_IN_USE"


class StillThere(StorageError):
    """Backblaze B2 has confirmed the deletion, but its listing still shows the object."""

    code = "STILL_THERE"
    retry = True


class NotTheOwner(StorageError):
    """Another database owns the bucket and prefix; nothing is deleted there until it is claimed."""

    code = "NOT_THE_OWNER"


class OwnerBusy(StorageError):
    """Another worker reads the integration's owner object; it is tried again in a moment."""

    code = "OWNER_BUSY"
    retry = True


class SuspectListing(StorageError):
    """A listing of the bucket misses so many objects at once that it is not believed."""

    code = "SUSPECT_LISTING"


class SeveralHubs(StorageError):
    """Backups of several lost hubs are under the prefix; name the one that was this one."""

    code = "SEVERAL_HUBS"


class NotAdoptable(StorageError):
    """No backup can be made of the object."""

    code = "NOT_ADOPTABLE"


# --- running a command ----------------------------------------------------------------------


class RunError(GatewayError):
    """The run failed."""

    code = "RUN_FAILED"


class ExecutorUnavailable(RunError):
    """The instance cannot run commands."""

    code = "EXECUTOR_UNAVAILABLE"


class ExecutorNotAllowed(RunError):
    """The operator did not allow this folder to this hub."""

    code = "EXECUTOR_NOT_ALLOWED"


class CommandFailed(RunError):
    """The command ended with a failure."""

    code = "COMMAND_FAILED"


class CommandKilled(RunError):
    """The command was ended by a signal."""

    code = "COMMAND_KILLED"


class ExitUnknown(RunError):
    """The command's exit status never arrived."""

    code = "EXIT_UNKNOWN"


class OutputNotClosed(RunError):
    """The command exited, but something it started kept its output open."""

    code = "OUTPUT_NOT_CLOSED"


class OutputTooSmall(RunError):
    """The command wrote fewer bytes than the policy demands."""

    code = "OUTPUT_TOO_SMALL"


class InputNotRead(RunError):
    """The command exited before it had read the whole backup."""

    code = "INPUT_NOT_READ"


class CheckFailed(RunError):
    """The check command did not accept what it was given."""

    code = "CHECK_FAILED"


class SafetyBackupFailed(RunError):
    """The instance could not be saved first, so the restore did not begin."""

    code = "SAFETY_BACKUP_FAILED"


class TimedOut(RunError):
    """The run took longer than its timeout."""

    code = "TIMED_OUT"


class Canceled(RunError):
    """The run was cancelled."""

    code = "CANCELED"


class Interrupted(RunError):
    """The worker went away in the middle; the instance holds part of a restore."""

    code = "INTERRUPTED"


class AttemptsUsedUp(RunError):
    """The run was interrupted three times."""

    code = "ATTEMPTS_USED_UP"


class NotStarted(RunError):
    """No worker could start the run in time."""

    code = "NOT_STARTED"


class NoInstanceRunning(RunError):
    """A backup was due, and no instance of the container was running."""

    code = "NO_INSTANCE_RUNNING"


class InstanceNotRunning(RunError):
    """A backup was due, and the instance was not running."""

    code = "INSTANCE_NOT_RUNNING"


class IntegrationNotLive(RunError):
    """A backup was due, and its integration did not work."""

    code = "INTEGRATION_NOT_LIVE"


class PreviousRunGoing(RunError):
    """A backup was due while the previous run in the instance had not ended."""

    code = "PREVIOUS_RUN_GOING"


class OwnerLost(RunError):
    """The worker's host is gone; nobody could end what it had started."""

    code = "OWNER_LOST"


class BackupNotLive(RunError):
    """The backup was deleted before the run began."""

    code = "BACKUP_NOT_LIVE"


class Fenced(RunError):
    """Another worker took the run over."""

    code = "FENCED"


# --- the database -----------------------------------------------------------------------------


class DatabaseUnavailable(GatewayError):
    """The database cannot be reached; try again in a moment."""

    code = "DATABASE_UNAVAILABLE"
    retry = True


# --- downloads ----------------------------------------------------------------------------------


class DownloadsBusy(GatewayError):
    """Too many downloads are under way; try the same address again in a moment."""

    code = "DOWNLOADS_BUSY"
    retry = True


# --- secrets ----------------------------------------------------------------------------------


class SecretUnreadable(GatewayError):
    """A stored secret cannot be opened: the key that sealed it is not among those configured."""

    code = "SECRET_UNREADABLE"


class HandedOff(RunError):
    """The worker stops; another one takes the run."""

    code = "HANDED_OFF"
    retry = True


# --- starting up ------------------------------------------------------------------------------


class StartError(GatewayError):
    """The program cannot start; the message says what to do."""

    code = "START_FAILED"


# --- the command-line client --------------------------------------------------------------------


class ClientError(GatewayError):
    """The command-line client could not do what it was told."""

    code = "CLIENT_FAILED"


class RequestRefused(ClientError):
    """The gateway refused the request."""

    code = "CLIENT_REFUSED"


class RunUnsuccessful(ClientError):
    """The run that was followed did not succeed."""

    code = "CLIENT_RUN_UNSUCCESSFUL"


class DownloadBroken(ClientError):
    """Other bytes came than were saved."""

    code = "CLIENT_DOWNLOAD_BROKEN"


class NameUnclear(ClientError):
    """What the command line names is not there, or it is not the only one of that name."""

    code = "CLIENT_NAME_UNCLEAR"


class GatewayUnreachable(ClientError):
    """The gateway cannot be reached."""

    code = "CLIENT_UNREACHABLE"
    retry = True


class KeyRejected(ClientError):
    """The gateway does not accept the API key."""

    code = "CLIENT_KEY_REJECTED"
