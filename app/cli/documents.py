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
  $backup: ID!, $instance: ID!, $key: String!, $other: Boolean!, $changed: Boolean!
) {{
  result: restoreBackup(
    backupId: $backup
    instanceId: $instance
    idempotencyKey: $key
    allowOtherContainer: $other
    acceptChangedCommand: $changed
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

FOLLOW_RESTORE = (
    """
subscription FollowRestore($id: ID!) {
  restoreProgress(restoreId: $id) { ...RestoreParts }
}
"""
    + RESTORE
)

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
)
"""Every document that the commands send: a gateway that takes trusted ones only takes these."""
