"""The README's tables, written from the code: `make tables` puts them in, a test compares them."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from app import errors
from app.__main__ import main
from app.model.events import MEANINGS
from app.model.labels import LABELS
from app.model.objects import PartPlan
from app.model.recipes import RECIPES
from app.settings import ClientSettings, Settings, name_variable

README = Path(__file__).parents[1] / "README.md"
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def render_settings() -> str:
    rows = ["| variable | default | what it says |", "|---|---|---|"]
    fields = {**ClientSettings.model_fields, **Settings.model_fields}
    order = [*Settings.model_fields, *ClientSettings.model_fields]
    for name in dict.fromkeys(order):
        described = (fields[name].description or "").replace("|", "\\|")
        rows.append(f"| `{name_variable(name)}` | {write_default(fields[name])} | {described} |")
    return "\n".join(rows)


def write_default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or value is None or value == ():
        return ""
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        unit, size = next((unit, size) for unit, size in UNITS if seconds % size == 0)
        value = f"{seconds // size}{unit}"
    if isinstance(value, bool):
        value = int(value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def render_errors() -> str:
    """Every failure with a code of its own that an answer may carry."""
    rows = ["| code | again? | what it says |", "|---|---|---|"]
    for failure in list_failures(errors.GatewayError):
        if not issubclass(failure, errors.ClientError | errors.StartError):
            sentence = (failure.__doc__ or "").partition("\n")[0].replace("|", "\\|")
            rows.append(f"| `{failure.code}` | {'yes' if failure.retry else ''} | {sentence} |")
    return "\n".join(rows)


def list_failures(base: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from list_failures(kind)


def render_commands() -> str:
    rows = ["| command | what it does |", "|---|---|"]
    for words, command in list_commands(main, "backup-gateway"):
        context = click.Context(command, info_name=words)
        usage = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS]", "").strip()
        what = command.get_short_help_str(limit=200)
        rows.append(f"| `{' '.join(filter(None, [words, usage]))}` | {what} |")
    return "\n".join(rows)


def list_commands(group: click.Group, words: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def render_memory() -> str:
    """Buffers of an upload: the parts in flight and the one that is being filled."""
    plan = PartPlan()
    rows = ["| a backup of up to | takes buffers of |", "|---|---|"]
    total = 0
    for number in range(1, plan.parts + 1):
        size = plan.size(number)
        total += size
        if number == plan.parts or plan.size(number + 1) != size:
            buffers = size * (plan.in_flight(number) + 1)
            rows.append(f"| {total / 1e9:,.0f} GB | {buffers / 1e6:,.0f} MB |")
    return "\n".join(rows)


def render_events() -> str:
    rows = ["| kind of event | what happened |", "|---|---|"]
    rows += [f"| `{kind}` | {meaning} |" for kind, meaning in MEANINGS.items()]
    return "\n".join(rows)


def render_labels() -> str:
    rows = ["| label | what it says | where it is absent |", "|---|---|---|"]
    rows += [f"| `{one.full_name}` | {one.meaning} | {one.default} |" for one in LABELS]
    return "\n".join(rows)


def render_recipes() -> str:
    rows = [
        "| recipe | what it saves | needs | variables | to know | tested |",
        "|---|---|---|---|---|---|",
    ]
    for recipe in RECIPES.values():
        cells = (
            f"`{recipe.name}`",
            recipe.description,
            ", ".join(f"`{program}`" for program in recipe.programs),
            " ".join(f"`{variable.name}`: {variable.meaning}" for variable in recipe.variables),
            " ".join(recipe.caveats),
            "yes" if recipe.tested else "no",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "commands": render_commands,
    "settings": render_settings,
    "errors": render_errors,
    "memory": render_memory,
    "events": render_events,
    "labels": render_labels,
    "recipes": render_recipes,
}


def find_block(text: str, name: str) -> re.Match[str]:
    """Find what stands between a table's two marks."""
    mark = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    found = mark.search(text)
    assert found, f"README.md has no <!-- {name} --> ... <!-- /{name} -->"
    return found


def write_tables() -> None:
    text = README.read_text()
    for name, render in TABLES.items():
        found = find_block(text, name)
        text = text[: found.start()] + found[1] + render() + found[2] + text[found.end() :]
    README.write_text(text)


if __name__ == "__main__":
    write_tables()
