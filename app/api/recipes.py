"""Recipes: commands that save and restore what people run."""

from typing import Self

import strawberry

from app.api import access
from app.model import recipes as model
from app.model.access import Capability


@strawberry.type(description="A variable of the environment that a recipe's commands read.")
class RecipeVariable:
    name: str = strawberry.field(description="Its name.")
    meaning: str = strawberry.field(description="What it says, and what counts where it is absent.")


@strawberry.type(
    description="A pair of commands that save and restore something that many people run, and that "
    "fail when they fail. `BackupPolicyInput.recipe` takes it by its name."
)
class BackupRecipe:
    name: str = strawberry.field(description="Its name. More may come.")
    description: str = strawberry.field(description="What it saves, and by which means.")
    backup_command: str = strawberry.field(description="The backup command.")
    restore_command: str = strawberry.field(description="The restore command.")
    variables: list[RecipeVariable] = strawberry.field(
        description="What the commands read of their environment: that of the container, and the "
        "variables of the instance."
    )
    programs: list[str] = strawberry.field(
        description="The programs that must be there, beside `sh` and `head`."
    )
    caveats: list[str] = strawberry.field(
        description="What to know before: how consistent it is, and what a restore that fails "
        "leaves behind."
    )
    tested: bool = strawberry.field(
        description="It is saved and restored for real whenever the gateway is tested. False: try "
        "it yourself before you rely on it."
    )

    @classmethod
    def of(cls, recipe: model.Recipe) -> Self:
        return cls(
            name=recipe.name,
            description=recipe.description,
            backup_command=recipe.backup_command,
            restore_command=recipe.restore_command,
            variables=[
                RecipeVariable(name=variable.name, meaning=variable.meaning)
                for variable in recipe.variables
            ],
            programs=list(recipe.programs),
            caveats=list(recipe.caveats),
            tested=recipe.tested,
        )


@strawberry.type
class RecipeQueries:
    @access.query(
        Capability.READ,
        description="Commands for what many people run, to take or to learn from; the same for "
        "every hub.",
    )
    def backup_recipes(self) -> list[BackupRecipe]:
        return [BackupRecipe.of(recipe) for recipe in model.RECIPES.values()]
