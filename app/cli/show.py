"""Show: tables, sizes, times and the live line of a run; JSON where it was asked for."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from app.cli.client import Json
from app.cli.names import shorten

PIPE_WIDTH = 10_000
"""A table that goes into a pipe is never cut."""
LINE_SECONDS = 5.0
KIB = 1024
MINUTE = 60
HOUR = 3600


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "SIZE" else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def print_containers(containers: Iterable[Json]) -> None:
    print_table(
        ("CONTAINER", "STATE", "INSTANCES", "NEWEST BACKUP"),
        (
            (
                container["identifier"],
                container["state"] + ("" if container["stateful"] else " (stateless)"),
                ", ".join(
                    instance["hostname"]
                    + ("" if instance["state"] == "RUNNING" else f" ({instance['state']})")
                    for instance in container["instances"]["nodes"]
                ),
                describe_newest(container["newest"]["nodes"]),
            )
            for container in containers
        ),
    )


def print_backups(backups: Iterable[Json]) -> None:
    print_table(
        ("BACKUP", "INSTANCE", "STATE", "SIZE", "CREATED", "TRIGGER", "ERROR"),
        (
            (
                shorten(backup["id"]),
                backup["instanceHostname"],
                backup["state"],
                write_size(backup["sizeBytes"]),
                write_time(backup["createdAt"]),
                backup["trigger"],
                describe_error(backup),
            )
            for backup in backups
        ),
    )


def print_log(entries: Iterable[Json]) -> None:
    """Print the log as it is; what stands for a silent failure's stdout is marked."""
    stream = "STDERR"
    end = ""
    for entry in entries:
        if entry["stream"] != stream:
            stream = entry["stream"]
            sys.stdout.write("--- the command printed no error; its output ended in:\n")
        sys.stdout.write(entry["text"])
        end = entry["text"][-1:] or end
    if end not in {"", "\n"}:
        sys.stdout.write("\n")


def describe_run(run: Json) -> str:
    """Say in a line what became of a run."""
    what = "Restore" if "phase" in run else "Verification" if "level" in run else "Backup"
    words = [f"{what} {run['id']}: {run['state']}"]
    if run["state"] in {"LIVE", "SUCCEEDED", "PASSED"}:
        words.append(write_size(run["sizeBytes"] if what == "Backup" else measure(run)[0]))
        words.append(f"in {write_seconds(find_duration(run))}")
    return ", ".join(filter(None, [*words, describe_error(run)]))


def find_duration(run: Json) -> float | None:
    """Give the seconds from a run's start to its end."""
    if not run["startedAt"] or not run["finishedAt"]:
        return None
    ended = datetime.fromisoformat(run["finishedAt"])
    return (ended - datetime.fromisoformat(run["startedAt"])).total_seconds()


def describe_deletion(result: Json) -> tuple[str, str]:
    """Say what became of one id of a `deleteBackups`."""
    if result["accepted"]:
        backup = result["backup"]
        return shorten(result["id"]), backup["state"] if backup else "accepted"
    error = result["error"]
    return shorten(result["id"]), f"refused, {error['code']}: {error['message']}"


def describe_newest(backups: list[Json]) -> str:
    if not backups:
        return "none"
    backup = backups[0]
    size = write_size(backup["sizeBytes"])
    return f"{shorten(backup['id'])} {backup['state']} {write_time(backup['createdAt'])} {size}"


def describe_error(run: Json) -> str:
    error = run["error"]
    return f"{error['code']}: {error['message']}" if error else ""


def write_size(size: float | None) -> str:
    """Write bytes in the largest unit that keeps a number of at most four digits."""
    if size is None:
        return ""
    if size < KIB:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= KIB
        if size < KIB:
            return f"{size:.1f} {unit}"
    return f"{size / KIB:.1f} TiB"


def write_time(text: str | None) -> str:
    """Write an RFC 3339 time in this machine's zone, to the second."""
    if text is None:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def write_seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE:02}s"
    return f"{whole // HOUR}h{whole % HOUR // MINUTE:02}m"


def measure(run: Json) -> tuple[int, int | None]:
    """Say how many bytes a run has moved, and of how many; a save does not know."""
    progress = run["progress"] or {}
    if "bytesDelivered" in progress:
        return progress["bytesDelivered"], progress["bytesTotal"]
    if "bytesChecked" in progress:
        return progress["bytesChecked"], progress["bytesTotal"]
    return progress.get("bytesRead") or 0, run.get("sizeBytes")


def describe_progress(run: Json) -> str:
    """Say bytes, rate and time left in words, such as `1.2 MiB of 3.0 MiB, 40.0 MiB/s, 2s left`."""
    done, total = measure(run)
    progress = run["progress"] or {}
    parts = [write_size(done) + (f" of {write_size(total)}" if total is not None else "")]
    if progress.get("bytesPerSecond"):
        parts.append(f"{write_size(progress['bytesPerSecond'])}/s")
    if progress.get("etaSeconds") is not None:
        parts.append(f"{write_seconds(progress['etaSeconds'])} left")
    return ", ".join(parts)


def describe_step(run: Json) -> str:
    """Say where a run is: a running restore by its phase."""
    state: str = run["state"]
    phase: str | None = run.get("phase")
    return phase if state == "RUNNING" and phase else state


class LiveLine:
    """A bar on a terminal; elsewhere a line a step and one every few seconds. Goes to stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[words]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, words="")
        self._step = ""
        self._written = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def follow(self, states: Iterator[Json]) -> Json | None:
        """Show each state as it comes; gives the last one."""
        last = None
        for last in states:
            self.show(last)
        return last

    def show(self, run: Json) -> None:
        step, words = describe_step(run), describe_progress(run)
        if self._console.is_terminal:
            done, total = measure(run)
            self._progress.update(
                self._task, description=step, completed=done, total=total, words=words
            )
            return
        now = time.monotonic()
        if step != self._step or now - self._written >= LINE_SECONDS:
            self._console.print(f"{step}: {words}", soft_wrap=True)
            self._step, self._written = step, now


def describe_scan(scan: Json) -> str:
    """The numbers of a reconcile or a recovery that are not 0, and what it does now."""
    numbers = [f"{count} {word}" for word, count in scan.items() if type(count) is int and count]
    step = (scan["phase"] or "WAITING") if scan["running"] else "done"
    return f"{step}: {', '.join(numbers) or 'nothing'}"


def describe_drift(drift: Json) -> tuple[str, str, str, str]:
    size = drift["sizeBytes"]
    return drift["kind"], drift["detail"], "" if size is None else write_size(size), drift["name"]
