"""Shell syntax: what is warned of is certainly wrong, as a real `sh` says that runs nothing."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.model.shell_syntax import find_syntax_error

PIECES = (
    *("'", '"', "`", "$(", "(", ")", "|", "||", "&&", "&", ";", "\\", "#", "$", "<", ">"),
    *(" ", "\n", "a", "echo ", "if ", "then ", "fi", "{ ", "}", "((", "2>&1", "=", "*", "!"),
    *("${", "a}", "while ", "do ", "done", "fi\n", "{", "else", "until ", "'a'", "$$", "f\\\ni"),
)


def sh_reads(command: str) -> bool:
    """Say if `sh` can read it; with `-n` nothing is run."""
    checked = subprocess.run(["sh", "-n", "-c", command], capture_output=True, check=False)
    return checked.returncode == 0


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_there_is_no_false_alarm(command):
    if find_syntax_error(command) is not None:
        assert not sh_reads(command)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("tar c 'my folder", "a single quote is never closed"),
        ('psql -c "select 1', "a double quote is never closed"),
        ("echo `date", "a backquote is never closed"),
        ("echo $(date", "a `$(` is never closed"),
        ("(cd data; tar c .", "a parenthesis is never closed"),
        ("pg_dump db |", "nothing follows the last `|`"),
        ("pg_dump db &&\n", "nothing follows the last `&&`"),
        ("pg_dump db ||  # or else", "nothing follows the last `||`"),
        ("tar c . >", "nothing follows the last `>`"),
        ("psql <  # the dump", "nothing follows the last `<`"),
        ("&& pg_dump db", "nothing comes before the first `&&`"),
        (" | gzip", "nothing comes before the first `|`"),
        ("; pg_dump db", "nothing comes before the first `;`"),
        ("& pg_dump db", "nothing comes before the first `&`"),
        ("cat )", "a `)` closes nothing"),
        ("(cat) )", "a `)` closes nothing"),
        ("done", "`done` closes or continues nothing"),
        ("fi; pg_dump", "`fi` closes or continues nothing"),
        ("then pg_dump", "`then` closes or continues nothing"),
        ("}", "`}` closes or continues nothing"),
        ("if true", "`if` is never closed by `fi`"),
        ("while true; do pg_dump", "`while` is never closed by `done`"),
        ("{ pg_dump; ", "`{` is never closed by `}`"),
        ("echo ${a", "a `${` is never closed"),
    ],
)
def test_what_is_left_open_is_named(command, fault):
    assert find_syntax_error(command) == fault
    assert not sh_reads(command)


@pytest.mark.parametrize(
    "command",
    [
        "pg_dump -Fc db | gzip -c",
        "tar c . # it's all",
        'echo "it\'s $(date "+%F")"',
        "psql -c 'select 1' && cat dump",
        "sleep 1 &",
        "cat <<E\nit's\nE\n",
        "echo $((1 + 2))",
        "echo a\\'b",
        "fixtures --all",
        "done=1; echo $done",
        "if true; then pg_dump; f\\\ni",
        'while read -r a; do echo "$a"; done < list',
        "{ pg_dump; }",
        "echo '${a'",
        "echo \\${a",
        "echo $${a",
        "echo ${a:-x} > out",
        "echo \\>",
        "bash -c 'set -o pipefail; pg_dump db | gzip && [[ -f x ]]'",
        "bash -c 'diff <(a) <(b)'",
        "find . -name '*.sql' -exec cat {} +",
        "f() { cat; }; f",
        "case $1 in a) cat;; esac",
        "! false",
        "echo }",
        "pg_dump db 2>&1 >out",
        "cat <<'E' | sh\necho )\nE",
        "(cd data && tar c .)",
        "echo \"$(echo ')')\"",
        "test -f a || exit 1",
        "sh -c \"if true; then echo 'fi'; fi\"",
        "mysqldump --all-databases --single-transaction | zstd -3",
        "tar -C /data -cf - .",
        "mongodump --archive 2>/dev/null",
        "redis-cli --rdb -",
        "sqlite3 db.sqlite '.backup /dev/stdout'",
        "until pg_isready; do sleep 1; done; pg_dump db",
        "for f in *; do cat $f; done",
        "PGPASSWORD=x pg_dump -h db",
        "exec pg_dump",
        'echo "a ) b"',
        "echo 'a)b' # )",
    ],
)
def test_nothing_is_said_of_what_sh_reads(command):
    assert find_syntax_error(command) is None
    assert sh_reads(command)
