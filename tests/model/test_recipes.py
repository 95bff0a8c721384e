"""Recipes: commands that a policy can take. tests/worker/test_recipes.py shows what they do."""

import re
import subprocess
from uuid import UUID

import pytest

from app.model.labels import read_labels
from app.model.policies import NewPolicy, check_policy
from app.model.recipes import RECIPES, find_recipe
from app.model.shell_syntax import find_syntax_error

COMMANDS = [
    pytest.param(command, id=f"{recipe.name}-{what}")
    for recipe in RECIPES.values()
    for what, command in (("save", recipe.backup_command), ("restore", recipe.restore_command))
]


def test_a_recipe_is_found_by_its_name():
    assert all(find_recipe(name) is recipe for name, recipe in RECIPES.items())
    assert find_recipe("oracle") is find_recipe("") is None


@pytest.mark.parametrize("command", COMMANDS)
def test_a_policy_takes_the_commands(command):
    check_policy(
        NewPolicy(integration_id=UUID(int=1), backup_command=command, restore_command=command)
    )
    assert find_syntax_error(command) is None
    done = subprocess.run(["sh", "-n", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_failure_hides_in_a_pipe_or_behind_another_command(command):
    outside = re.sub(r"'[^']*'", "", command)
    assert not re.search(r"(?<!\|)\|(?!\|)", outside)
    assert "\n" not in outside.strip() or command.startswith("set -e\n")


@pytest.mark.parametrize("name", RECIPES)
def test_each_variable_is_read_and_each_is_told(name):
    recipe = RECIPES[name]
    both = f"{recipe.backup_command}\n{recipe.restore_command}"
    told = " ".join(f"{one.name} {one.meaning}" for one in recipe.variables)
    read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", both))
    assert read <= set(re.findall(r"[A-Z][A-Z_]+", told))
    assert all(program in both for program in recipe.programs)


def test_a_label_takes_a_recipe_where_no_other_gives_the_command():
    recipe, labels = RECIPES["redis"], {"backup-gateway.container": "db"}
    labelled, problems = read_labels({**labels, "backup-gateway.recipe": "redis"}, "box")
    assert problems == []
    made = labelled.policy.policy
    assert (made.backup_command, made.restore_command) == (
        recipe.backup_command,
        recipe.restore_command,
    )
    own = {"backup-gateway.recipe": "redis", "backup-gateway.restore.command": "cat >got"}
    labelled, problems = read_labels({**labels, **own}, "box")
    assert problems == []
    assert labelled.policy.policy.backup_command == recipe.backup_command
    assert labelled.policy.policy.restore_command == "cat >got"
    labelled, [problem] = read_labels({**labels, "backup-gateway.recipe": "oracle"}, "box")
    assert (problem.code, problem.label) == ("INVALID_LABEL", "backup-gateway.recipe")
    assert (labelled.policy, labelled.is_policy_broken) == (None, True)
