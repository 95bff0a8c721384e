"""Documents: every GraphQL operation that the command-line client sends."""

BACKUP = """
fragment BackupParts on Backup {
  id
  state
  trigger
  createdAt
  startedAt
  finishedAt
  sizeBytes
  exitCode
  instanceHostname
  error { code message }
  container { id ... on Container { identifier } }
  progress { bytesRead bytesStored bytesPerSecond }
  verification { id level state finishedAt }
}
"""

RESTORE = """
fragment RestoreParts on Restore {
  id
  state
  phase
  createdAt
  startedAt
  finishedAt
  exitCode
  error { code message }
  backup { id }
  container { id ... on Container { identifier } }
  instance { id hostname }
  progress { bytesDelivered bytesTotal fraction bytesPerSecond etaSeconds }
}
"""

VERIFICATION = """
fragment VerificationParts on Verification {
  id
  level
  state
  createdAt
  startedAt
  finishedAt
  exitCode
  error { code message }
  backup { id }
  container { id ... on Container { identifier } }
  instance { id hostname }
  progress { bytesChecked bytesTotal fraction bytesPerSecond etaSeconds }
}
"""

CONTAINER = """
fragment ContainerParts on Container {
  id
  identifier
  name
  stateful
  state
  instances(first: 100) { nodes { id hostname state } }
  newest: backups(first: 1) { nodes { id state createdAt sizeBytes } }
}
"""

LIST_CONTAINERS = (
    """
query ListContainers($first: Int!, $after: String) {
  containers(first: $first, after: $after) {
    nodes { ...ContainerParts }
    pageInfo { hasNextPage endCursor }
  }
}
"""
    + CONTAINER
)

LIST_BACKUPS = (
    """
query ListBackups($container: ID!, $first: Int!, $after: String) {
  container(id: $container) {
    backups(first: $first, after: $after) {
      nodes { ...BackupParts }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
    + BACKUP
)

LIST_RESTORES = (
    """
query ListRestores($container: ID!, $first: Int!, $after: String) {
  container(id: $container) {
    restores(first: $first, after: $after) {
      nodes { ...RestoreParts }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
    + RESTORE
)

SHOW_BACKUP = (
    """
query ShowBackup($id: ID!) {
  backup(id: $id) { ...BackupParts }
}
"""
    + BACKUP
)

SHOW_RESTORE = (
    """
query ShowRestore($id: ID!) {
  restore(id: $id) { ...RestoreParts }
}
"""
    + RESTORE
)

SHOW_VERIFICATION = (
    """
query ShowVerification($id: ID!) {
  node(id: $id) { ...VerificationParts }
}
"""
    + VERIFICATION
)

NAME_NODE = """
query NameNode($id: ID!) {
  node(id: $id) { __typename id }
}
"""

_LOGS = """
logs(first: $first, after: $after) {
  nodes { sequence at stream text }
  pageInfo { hasNextPage endCursor }
  truncated
  totalBytes
}
"""

SHOW_LOGS = f"""
query ShowLogs($id: ID!, $first: Int!, $after: String) {{
  node(id: $id) {{
    __typename
    ... on Backup {{ {_LOGS} }}
    ... on Restore {{ {_LOGS} }}
    ... on Verification {{ {_LOGS} }}
  }}
}}
"""

_ERRORS = "errors { __typename message code path }"

CREATE_BACKUP = (
    f"""
mutation CreateBackup($container: ID!, $instance: ID, $key: String!) {{
  result: createBackup(containerId: $container, instanceId: $instance, idempotencyKey: $key) {{
    backup {{ ...BackupParts }}
    {_ERRORS}
  }}
}}
"""
    + BACKUP
)

RESTORE_BACKUP = (
    f"""
mutation RestoreBackup(
  $backup: ID!, $instance: ID!, $key: String!
  $other: Boolean!, $changed: Boolean!, $safety: Boolean
) {{
  result: restoreBackup(
    backupId: $backup
    instanceId: $instance
    idempotencyKey: $key
    allowOtherContainer: $other
    acceptChangedCommand: $changed
    safetyBackup: $safety
  ) {{
    restore {{ ...RestoreParts }}
    {_ERRORS}
  }}
}}
"""
    + RESTORE
)

DELETE_BACKUPS = f"""
mutation DeleteBackups($ids: [ID!]!, $key: String!) {{
  result: deleteBackups(ids: $ids, idempotencyKey: $key) {{
    results {{
      id
      accepted
      backup {{ id state }}
      error {{ __typename message code }}
    }}
    {_ERRORS}
  }}
}}
"""

CREATE_DOWNLOAD = f"""
mutation CreateDownload($backup: ID!, $key: String!) {{
  result: createDownload(backupId: $backup, idempotencyKey: $key) {{
    download {{ address backup {{ id sizeBytes sha256 }} }}
    {_ERRORS}
  }}
}}
"""

CANCEL_BACKUP = (
    f"""
mutation CancelBackup($id: ID!, $key: String!) {{
  result: cancelBackup(id: $id, idempotencyKey: $key) {{
    backup {{ ...BackupParts }}
    {_ERRORS}
  }}
}}
"""
    + BACKUP
)

CANCEL_RESTORE = (
    f"""
mutation CancelRestore($id: ID!, $key: String!) {{
  result: cancelRestore(id: $id, idempotencyKey: $key) {{
    restore {{ ...RestoreParts }}
    {_ERRORS}
  }}
}}
"""
    + RESTORE
)

VERIFY_BACKUP = (
    f"""
mutation VerifyBackup($backup: ID!, $level: VerificationLevel!, $instance: ID, $key: String!) {{
  result: verifyBackup(
    backupId: $backup, level: $level, instanceId: $instance, idempotencyKey: $key
  ) {{
    verification {{ ...VerificationParts }}
    {_ERRORS}
  }}
}}
"""
    + VERIFICATION
)

CANCEL_VERIFICATION = (
    f"""
mutation CancelVerification($id: ID!, $key: String!) {{
  result: cancelVerification(id: $id, idempotencyKey: $key) {{
    verification {{ ...VerificationParts }}
    {_ERRORS}
  }}
}}
"""
    + VERIFICATION
)

FOLLOW_RESTORE = (
    """
subscription FollowRestore($id: ID!) {
  restoreProgress(restoreId: $id) { ...RestoreParts }
}
"""
    + RESTORE
)

_SCANS = """
id
name
... on Integration {
  reconcile {
    running phase objects records missing mismatches orphans unfinished foreign found
    error { code message }
  }
  recovery { running phase objects recovered known skipped error { code message } }
}
"""

LIST_INTEGRATIONS = """
query ListIntegrations($first: Int!, $after: String) {
  hub {
    integrations(first: $first, after: $after) {
      nodes { id name bucket }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""

SHOW_SCANS = f"""
query ShowScans($id: ID!) {{
  node(id: $id) {{ ... on Integration {{ {_SCANS} }} }}
}}
"""

RECONCILE_STORAGE = f"""
mutation ReconcileStorage($id: ID!, $believe: Boolean!, $key: String!) {{
  result: reconcileStorage(
    integrationId: $id
    believeListing: $believe
    idempotencyKey: $key
  ) {{
    integration {{ {_SCANS} }}
    {_ERRORS}
  }}
}}
"""

RECOVER_BACKUPS = f"""
mutation RecoverBackups($id: ID!, $former: String, $key: String!) {{
  result: recoverBackups(integrationId: $id, formerHubId: $former, idempotencyKey: $key) {{
    integration {{ {_SCANS} }}
    {_ERRORS}
  }}
}}
"""

LIST_DRIFT = """
query ListDrift($first: Int!, $after: String) {
  hub {
    storageDrift(first: $first, after: $after) {
      nodes { id kind detail name fileId sizeBytes foundAt backup { id } integration { name } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""

ALL = (
    LIST_CONTAINERS,
    LIST_BACKUPS,
    LIST_RESTORES,
    SHOW_BACKUP,
    SHOW_RESTORE,
    NAME_NODE,
    SHOW_LOGS,
    CREATE_BACKUP,
    RESTORE_BACKUP,
    DELETE_BACKUPS,
    CREATE_DOWNLOAD,
    CANCEL_BACKUP,
    CANCEL_RESTORE,
    FOLLOW_RESTORE,
    LIST_INTEGRATIONS,
    SHOW_SCANS,
    RECONCILE_STORAGE,
    RECOVER_BACKUPS,
    LIST_DRIFT,
    SHOW_VERIFICATION,
    VERIFY_BACKUP,
    CANCEL_VERIFICATION,
)
"""Every document that the commands send: a gateway that takes trusted ones only takes these."""
