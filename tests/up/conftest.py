"""New users with homes of their own."""

from collections.abc import Iterator

import pytest

from tests.fakes.new_user import NewUser, make_user


@pytest.fixture
def user() -> Iterator[NewUser]:
    user = make_user()
    try:
        yield user
    finally:
        user.end()
