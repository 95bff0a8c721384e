"""What roles may do."""

from uuid import UUID

import pytest

from app.errors import NotPermitted
from app.model.access import CAPABILITIES, Capability, Principal, Role

ROLES = {
    Capability.READ: {Role.VIEWER, Role.OPERATOR, Role.ADMIN},
    Capability.BACK_UP: {Role.OPERATOR, Role.ADMIN},
    Capability.CANCEL: {Role.OPERATOR, Role.ADMIN},
    Capability.RESTORE: {Role.OPERATOR, Role.ADMIN},
    Capability.VERIFY: {Role.OPERATOR, Role.ADMIN},
    Capability.DELETE_BACKUPS: {Role.OPERATOR, Role.ADMIN},
    Capability.DOWNLOAD: {Role.OPERATOR, Role.ADMIN},
    Capability.PIN_BACKUPS: {Role.OPERATOR, Role.ADMIN},
    Capability.UNPIN_BACKUPS: {Role.ADMIN},
    Capability.DELETE_LAST_GOOD_BACKUP: {Role.ADMIN},
    Capability.RESTORE_ELSEWHERE: {Role.ADMIN},
    Capability.CONFIGURE: {Role.ADMIN},
    Capability.DELETE_CONTAINERS: {Role.ADMIN},
    Capability.READ_COMMANDS: {Role.ADMIN},
    Capability.MANAGE_KEYS: {Role.ADMIN},
    Capability.DELETE_HUB: {Role.ADMIN},
}


def test_the_table_of_roles_is_the_documented_one():
    assert set(ROLES) == set(Capability)
    for role in Role:
        may = {capability for capability, roles in ROLES.items() if role in roles}
        assert CAPABILITIES[role] == may


@pytest.mark.parametrize("capability", Capability)
@pytest.mark.parametrize("role", Role)
def test_a_principal_is_refused_exactly_what_its_role_lacks(role, capability):
    principal = Principal(
        hub_id=UUID(int=1),
        key_id=UUID(int=2),
        name="it",
        role=role,
        capabilities=CAPABILITIES[role],
    )
    allowed = role in ROLES[capability]
    assert principal.may(capability) is allowed
    if allowed:
        principal.require(capability)
    else:
        with pytest.raises(NotPermitted, match=f"lacks the capability {capability}") as refusal:
            principal.require(capability)
        assert refusal.value.reason == "NOT_PERMITTED"
