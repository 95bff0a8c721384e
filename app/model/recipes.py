"""Recipes: pairs of commands that save and restore what people run, and fail when they fail.

None has a pipe whose first half can fail unseen, none says yes to half a dump. What a restore that
fails leaves behind is among the caveats of each. Secrets stay in the environment, never in argv.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeVariable:
    """A variable of the command's environment: the container's own, or one of the instance."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    name: str
    description: str
    backup_command: str
    restore_command: str
    variables: tuple[RecipeVariable, ...]
    programs: tuple[str, ...]
    """What the image must hold, beside `sh` and `head`."""
    caveats: tuple[str, ...]
    tested: bool
    """It was really saved and restored in the tests, from one container into another."""


_POSTGRESQL_USER: Final = '"${PGUSER:-${POSTGRES_USER:-postgres}}"'
_POSTGRESQL_DATABASE: Final = '"${PGDATABASE:-${POSTGRES_DB:-${POSTGRES_USER:-postgres}}}"'

# Whole and checked before anything old goes: what is cut or damaged leaves the folder as it was.
_UNPACK: Final = """\
new="$folder/.backup-gateway-restoring"
trap 'rm -rf "$new"' EXIT
rm -rf "$new"
mkdir -m 700 "$new"
tar -xf - -C "$new"
"""
_EXCHANGE: Final = """\
find "$folder" -mindepth 1 -maxdepth 1 ! -name .backup-gateway-restoring -exec rm -rf {} +
find "$new" -mindepth 1 -maxdepth 1 -exec sh -c 'mv "$@" "$0"' "$folder" {} +"""

# The password goes by the environment. No statement is lost unseen: the last one makes a table.
_MYSQL_DUMP: Final = """\
set -e
export MYSQL_PWD="${MYSQL_PWD-${MARIADB_ROOT_PASSWORD-${MYSQL_ROOT_PASSWORD-}}}"
database="${MARIADB_DATABASE:-${MYSQL_DATABASE:?names no database}}"
DUMP -u "${BACKUP_USER:-root}" --single-transaction --quick --routines --events --triggers \
--hex-blob "$database"
echo 'CREATE TABLE backup_gateway_complete (complete int);'"""
_MYSQL_LOAD: Final = """\
set -e
export MYSQL_PWD="${MYSQL_PWD-${MARIADB_ROOT_PASSWORD-${MYSQL_ROOT_PASSWORD-}}}"
database="${MARIADB_DATABASE:-${MYSQL_DATABASE:?names no database}}"
load() { CLIENT -u "${BACKUP_USER:-root}" --binary-mode "$@" "$database"; }
load -e 'DROP TABLE IF EXISTS backup_gateway_complete' </dev/null
load
load -e 'DROP TABLE backup_gateway_complete' </dev/null"""
_MYSQL_VARIABLES: Final = (
    RecipeVariable(
        name="MARIADB_DATABASE", meaning="The database; else `MYSQL_DATABASE`. One is needed."
    ),
    RecipeVariable(name="BACKUP_USER", meaning="The account; `root` where absent."),
    RecipeVariable(
        name="MYSQL_PWD",
        meaning="Its password; else `MARIADB_ROOT_PASSWORD`, `MYSQL_ROOT_PASSWORD`, or none.",
    ),
)
_MYSQL_CAVEATS: Final = (
    "One state for tables of InnoDB only; do not alter tables meanwhile.",
    (
        "A restore commits table by table: one that fails leaves old and new tables side by side. "
        "`safetyBackup` is the way back."
    ),
    "Tables that the dump does not know stay.",
)

# One script is one state. What is restored goes to a database of its own, and takes the place of
# the old one in a single step, once the last command of the dump has arrived.
_REDIS: Final = 'redis-cli -e -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}"'
_REDIS_SAVE: Final = f"""\
{_REDIS} -n "${{REDIS_DATABASE:-0}}" --raw EVAL '
local commands = {{}}
local function say(...)
  local text = {{"*" .. select("#", ...) .. "\\r\\n"}}
  for _, word in ipairs({{...}}) do
    text[#text + 1] = "$" .. #word .. "\\r\\n" .. word .. "\\r\\n"
  end
  commands[#commands + 1] = table.concat(text)
end
for _, key in ipairs(redis.call("KEYS", "*")) do
  local ends, value = redis.call("PEXPIRETIME", key), redis.call("DUMP", key)
  if value then
    local at = ends < 0 and "0" or string.format("%.0f", ends)
    say("RESTORE", key, at, value, "REPLACE", "ABSTTL")
  end
end
say("SET", "backup-gateway:complete", "yes")
return commands' 0"""
_REDIS_LOAD: Final = f"""\
set -e
at="${{REDIS_DATABASE:-0}}" new="${{REDIS_SCRATCH_DATABASE:-15}}"
ask() {{ {_REDIS} -n "$new" "$@" >&2; }}
ask EVAL '
if redis.call("DBSIZE") > 0 and redis.call("EXISTS", KEYS[1]) == 0 then
  return redis.error_reply("ERR the scratch database is in use")
end
redis.call("FLUSHDB")
return redis.call("SET", KEYS[1], "yes")' 1 backup-gateway:restoring </dev/null
trap 'ask FLUSHDB </dev/null' EXIT
ask --pipe --pipe-timeout "${{REDIS_PIPE_TIMEOUT:-30}}"
trap - EXIT
ask EVAL '
local whole = redis.call("DEL", KEYS[2])
redis.call("DEL", KEYS[1])
if whole == 1 then redis.call("SWAPDB", ARGV[1], ARGV[2]) end
redis.call("FLUSHDB", "ASYNC")
return whole == 1 and redis.status_reply("OK") or redis.error_reply("ERR the dump is cut")
' 2 backup-gateway:restoring backup-gateway:complete "$at" "$new" </dev/null"""

_RECIPES: Final = (
    Recipe(
        name="postgresql",
        description="One database of PostgreSQL, by `pg_dump` in its custom format.",
        backup_command=f"pg_dump -w -Fc -U {_POSTGRESQL_USER} -d {_POSTGRESQL_DATABASE}",
        restore_command="pg_restore -w --exit-on-error --single-transaction --clean --if-exists"
        f" -U {_POSTGRESQL_USER} -d {_POSTGRESQL_DATABASE}",
        variables=(
            RecipeVariable(
                name="PGDATABASE", meaning="The database; else `POSTGRES_DB`, else the account's."
            ),
            RecipeVariable(
                name="PGUSER", meaning="The account; else `POSTGRES_USER`, else `postgres`."
            ),
            RecipeVariable(
                name="PGPASSWORD",
                meaning="Its password, where the server asks for one; `PGHOST` and `PGPORT` "
                "count, too.",
            ),
        ),
        programs=("pg_dump", "pg_restore"),
        caveats=(
            (
                "One state, while others write. A restore is one transaction: one that fails "
                "changes nothing. It waits for locks of those that use the tables."
            ),
            (
                "Accounts and other databases are not in it; the owners of what is restored must "
                "exist. Tables that the dump does not know stay."
            ),
        ),
        tested=True,
    ),
    Recipe(
        name="postgresql-base",
        description="A whole server of PostgreSQL, by `pg_basebackup`; restored into a stopped "
        "helper: a container of the same image and volume in which no server runs.",
        backup_command=f"pg_basebackup -w -D - -Ft -X fetch -c fast -U {_POSTGRESQL_USER}",
        restore_command="set -e\n"
        'folder="${PGDATA:-/var/lib/postgresql/data}"\n'
        '[ ! -e "$folder/postmaster.pid" ] ||'
        ' { echo "a server runs in $folder, or was killed there" >&2; exit 1; }\n'
        f'{_UNPACK}pg_verifybackup -q "$new" >&2\n{_EXCHANGE}',
        variables=(
            RecipeVariable(
                name="PGUSER",
                meaning="An account that may replicate; else `POSTGRES_USER`, else `postgres`.",
            ),
            RecipeVariable(
                name="PGDATA", meaning="The folder; `/var/lib/postgresql/data` where absent."
            ),
        ),
        programs=("pg_basebackup", "pg_verifybackup", "tar", "find"),
        caveats=(
            (
                "It cannot go back into a server that runs: run the helper with `sleep infinity` "
                "as its command, make it an instance of the container, restore into that, start "
                "the server."
            ),
            "PostgreSQL 13 or newer, the same major version in both, no tablespaces.",
            (
                "The old files go only once the new ones are whole and checked: there must be "
                "room for both, and a dump that is damaged changes nothing. One that is killed "
                "while it renames leaves a mixture."
            ),
        ),
        tested=True,
    ),
    Recipe(
        name="mariadb",
        description="One database of MariaDB, by `mariadb-dump`.",
        backup_command=_MYSQL_DUMP.replace("DUMP", "mariadb-dump", 1),
        restore_command=_MYSQL_LOAD.replace("CLIENT", "mariadb", 1),
        variables=_MYSQL_VARIABLES,
        programs=("mariadb-dump", "mariadb"),
        caveats=_MYSQL_CAVEATS,
        tested=True,
    ),
    Recipe(
        name="mysql",
        description="One database of MySQL, by `mysqldump`.",
        backup_command=_MYSQL_DUMP.replace("DUMP", "mysqldump", 1),
        restore_command=_MYSQL_LOAD.replace("CLIENT", "mysql", 1),
        variables=_MYSQL_VARIABLES,
        programs=("mysqldump", "mysql"),
        caveats=(*_MYSQL_CAVEATS, "Tried with MariaDB's programs only."),
        tested=False,
    ),
    Recipe(
        name="redis",
        description="One database of Redis or Valkey: `DUMP` of every key, put back by `RESTORE` "
        "through `redis-cli --pipe`.",
        backup_command=_REDIS_SAVE,
        restore_command=_REDIS_LOAD,
        variables=(
            RecipeVariable(name="REDIS_DATABASE", meaning="The database; 0 where absent."),
            RecipeVariable(
                name="REDIS_SCRATCH_DATABASE",
                meaning="An unused one that a restore goes through; 15 where absent.",
            ),
            RecipeVariable(
                name="REDISCLI_AUTH",
                meaning="The password, where the server asks for one; `REDIS_HOST` and "
                "`REDIS_PORT` count, too.",
            ),
            RecipeVariable(
                name="REDIS_PIPE_TIMEOUT",
                meaning="How many seconds a restore waits for an answer; 30 where absent.",
            ),
        ),
        programs=("redis-cli",),
        caveats=(
            (
                "One state; the server stands still while it is taken, and server and client hold"
                " all of it in memory: for some hundred MB, not for more. No cluster."
            ),
            (
                "A restore takes the place of the old data in one step, and needs memory for "
                "both: one that fails changes nothing. Keys that have expired since stay expired."
            ),
            "Redis 7 or newer, into the same version or a newer one; functions are not in it.",
        ),
        tested=True,
    ),
    Recipe(
        name="sqlite",
        description="A file of SQLite, as one state by `VACUUM INTO`.",
        backup_command="set -e\n"
        'copy="${SQLITE_DATABASE:?names no file}.saving"\n'
        "trap 'rm -f \"$copy\"' EXIT\n"
        'rm -f "$copy"\n'
        'sqlite3 -bail -readonly "$SQLITE_DATABASE" '
        '".timeout 60000" "VACUUM INTO \'$copy\'" >&2\n'
        'cat "$copy"',
        restore_command="set -e\n"
        'new="${SQLITE_DATABASE:?names no file}.restoring"\n'
        "trap 'rm -f \"$new\"' EXIT\n"
        'cat >"$new"\n'
        '[ -s "$new" ]\n'
        '[ "$(sqlite3 -bail "$new" "PRAGMA integrity_check")" = ok ]\n'
        'sqlite3 -bail "$SQLITE_DATABASE" ".timeout 60000" ".restore \'$new\'" >&2',
        variables=(
            RecipeVariable(
                name="SQLITE_DATABASE", meaning="The path of the file, without a quote. Needed."
            ),
        ),
        programs=("sqlite3", "cat"),
        caveats=(
            "Needs room for a second copy beside the file, for as long as it lasts.",
            (
                "A restore is one transaction, while others use the file: one that fails changes "
                "nothing."
            ),
        ),
        tested=True,
    ),
    Recipe(
        name="mongodb",
        description="MongoDB, by `mongodump`.",
        backup_command='mongodump ${MONGO_CONFIG:+--config "$MONGO_CONFIG"} --archive',
        restore_command='mongorestore ${MONGO_CONFIG:+--config "$MONGO_CONFIG"} --archive --drop'
        " --stopOnError",
        variables=(
            RecipeVariable(
                name="MONGO_CONFIG",
                meaning="The path of a configuration file with `uri` and `password`; absent: the "
                "server of the container, without a password.",
            ),
        ),
        programs=("mongodump", "mongorestore"),
        caveats=(
            "Never tried: prove it with a restore of your own.",
            (
                "Collections are of different moments while others write. A restore that fails "
                "leaves old and new ones side by side."
            ),
        ),
        tested=False,
    ),
    Recipe(
        name="volume",
        description="The files of a folder, by `tar`.",
        backup_command='tar -cf - -C "${VOLUME:-.}" --exclude=./.backup-gateway-restoring .',
        restore_command=f'set -e\nfolder="${{VOLUME:-.}}"\n{_UNPACK}{_EXCHANGE}',
        variables=(
            RecipeVariable(name="VOLUME", meaning="The folder; the instance's where absent."),
        ),
        programs=("tar", "find"),
        caveats=(
            (
                "Files are of different moments while others write; GNU tar fails where it sees "
                "that. Not for the files of a database that runs."
            ),
            (
                "The old files go only once the new ones are unpacked: there must be room for "
                "both, and an archive that is damaged changes nothing. One that is killed while "
                "it renames leaves a mixture."
            ),
        ),
        tested=True,
    ),
)

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {recipe.name: recipe for recipe in _RECIPES}
)


def find_recipe(name: str) -> Recipe | None:
    """The recipe of this name, as an argument or a label says it; None: there is none."""
    return RECIPES.get(name)
