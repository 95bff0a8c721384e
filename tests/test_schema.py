"""The contract: schema.graphql is up to date, described, and holds what was promised for ever."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
    find_dangerous_changes,
    get_named_type,
)
from graphql.utilities import DangerousChangeType

from app import errors
from app.api.schema import export
from app.api.user_errors import CODES
from app.model.access import Capability
from app.model.events import EventKind

ROOT = Path(__file__).parents[1]
RELEASED = ROOT / "tests/schema_released.graphql"
HARMLESS = {
    DangerousChangeType.OPTIONAL_ARG_ADDED,
    DangerousChangeType.OPTIONAL_INPUT_FIELD_ADDED,
    DangerousChangeType.IMPLEMENTED_INTERFACE_ADDED,
}
"""Which types are errors is frozen apart."""
BUILT_IN = {"String", "Int", "Float", "Boolean", "ID"}

ENUMS = {
    "BackupState": "QUEUED SAVING LIVE DELETING DELETED FAILED CANCELED SKIPPED",
    "BackupTrigger": "SCHEDULE MANUAL PRE_RESTORE RECOVERED",
    "ContainerState": "LIVE DELETING DELETED",
    "DriftKind": "MISSING MISMATCH ORPHAN UNFINISHED FOREIGN",
    "CreationOrder": "NEWEST_FIRST OLDEST_FIRST",
    "InstanceSelection": "EACH FIRST_RUNNING",
    "InstanceState": "RUNNING PAUSED STOPPED UNREACHABLE GONE DELETING",
    "EngineState": "VERIFYING LIVE UNREACHABLE DELETING DELETED",
    "IntegrationState": "VERIFYING LIVE FAILED DELETING DELETED",
    "ListChange": "RESET ENTERED CHANGED LEFT",
    "LogStream": "STDERR STDOUT_TAIL",
    "RestorePhase": "PREPARING SAVING_TARGET TRANSFERRING WAITING_FOR_COMMAND CHECKING",
    "RestoreState": "QUEUED RUNNING SUCCEEDED FAILED CANCELED",
    "RestoreTrigger": "MANUAL VERIFICATION",
    "Role": "VIEWER OPERATOR ADMIN",
    "StorageStatus": "UNCHECKED PRESENT MISSING MISMATCH LOSS_ACCEPTED",
    "ValueSource": "API LABEL DEFAULT",
    "VerificationLevel": "STORED READABLE RESTORABLE",
    "VerificationState": "QUEUED RUNNING PASSED FAILED CANCELED",
}
"""A new enum may come; a new value breaks every generated client."""

USER_ERRORS = {
    "NotFoundError",
    "InvalidInputError",
    "InvalidStateError",
    "ConflictError",
    "NotPermittedError",
    "StorageError",
}

REQUIRED_ARGUMENTS = {
    "restoreBackup": ["backupId: ID!", "instanceId: ID!"],
    "deleteBackups": ["ids: [ID!]!"],
    "updateBackup": ["id: ID!"],
    "createDownload": ["backupId: ID!"],
    "createApiKey": ["name: String!"],
    "revokeApiKey": ["id: ID!"],
    "createBackup": ["containerId: ID!"],
    "deleteContainer": ["id: ID!", "confirm: String!"],
    "configureBackups": ["containerId: ID!"],
}


@pytest.fixture(scope="module")
def text() -> str:
    return export()


@pytest.fixture(scope="module")
def schema(text: str) -> GraphQLSchema:
    return build_schema(text)


def own_types(schema: GraphQLSchema) -> list[GraphQLNamedType]:
    return [
        type_
        for name, type_ in schema.type_map.items()
        if not name.startswith("__") and name not in BUILT_IN
    ]


def described(schema: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    """Everything that can have a description, with the one that it has."""
    for type_ in own_types(schema):
        yield type_.name, type_.description
        if isinstance(type_, GraphQLEnumType):
            for name, value in type_.values.items():
                yield f"{type_.name}.{name}", value.description
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in type_.fields.items():
                for argument, value in field.args.items():
                    yield f"{type_.name}.{name}({argument}:)", value.description


def root_fields(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        assert root is not None
        for name, field in root.fields.items():
            yield f"{root.name}.{name}", field.description or ""


def test_the_committed_schema_is_up_to_date(text: str) -> None:
    """`backup-gateway schema > schema.graphql` writes it anew."""
    assert (ROOT / "schema.graphql").read_text(encoding="utf-8") == text


def find_breaks(released: str, now: str) -> list[str]:
    """What of a schema that was released no client may rely on any more."""
    old, new = build_schema(released), build_schema(now)
    found = [*find_breaking_changes(old, new), *find_dangerous_changes(old, new)]
    return [change.description for change in found if change.type not in HARMLESS]


def test_nothing_that_was_released_is_broken(text: str) -> None:
    """Before the first release `make released` may write it anew; then the changelog says so."""
    assert find_breaks(RELEASED.read_text(encoding="utf-8"), text) == []


def test_the_released_schema_is_that_of_the_last_release() -> None:
    """The changelog's newest version that is released; before the first one, the one to come."""
    heads = re.findall(r"^## (\S+)(.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [version for version, rest in heads if "not released" not in rest]
    expected = released[0] if released else heads[0][0]
    assert RELEASED.read_text(encoding="utf-8").splitlines()[0] == f"# {expected}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  pinned: Boolean!\n", "  fixed: Boolean!\n"),
        ("  pinned: Boolean!\n", "  pinned: Boolean\n"),
        ("  CANCELED\n", "  LOST\n"),
        ("  CANCELED\n", "  CANCELED\n  LOST\n"),
        ("first: Int", "first: Int!"),
    ],
    ids=["removed", "nullable", "value less", "value more", "required"],
)
def test_a_broken_promise_is_found(text: str, old: str, new: str) -> None:
    assert old in text
    assert find_breaks(text, text.replace(old, new)) != []


def test_what_is_added_breaks_nothing(text: str) -> None:
    more = text.replace("type Mutation {", "type Mutation {\n  more(of: Int): Int", 1)
    more = more.replace("input BackupFilter {", "input BackupFilter {\n  more: Int", 1)
    assert find_breaks(text, more) == []


def test_everything_has_a_description(schema: GraphQLSchema) -> None:
    bare = [name for name, description in described(schema) if not (description or "").strip()]
    assert bare == []


def test_descriptions_are_sentences(schema: GraphQLSchema) -> None:
    odd = [
        name
        for name, description in described(schema)
        if description and not (description[0] == "`" or description[0].isupper())
    ]
    unended = [
        name for name, description in described(schema) if not (description or "").endswith(".")
    ]
    assert (odd, unended) == ([], [])


def test_enums_have_exactly_the_promised_values(schema: GraphQLSchema) -> None:
    found = {
        type_.name: " ".join(type_.values)
        for type_ in own_types(schema)
        if isinstance(type_, GraphQLEnumType)
    }
    assert found == ENUMS


def test_exactly_six_types_are_user_errors(schema: GraphQLSchema) -> None:
    interface = schema.type_map["UserError"]
    assert isinstance(interface, GraphQLInterfaceType)
    implementations = schema.get_implementations(interface)
    assert {type_.name for type_ in implementations.objects} == USER_ERRORS
    assert implementations.interfaces == []
    shape = {name: str(field.type) for name, field in interface.fields.items()}
    assert shape == {"message": "String!", "code": "String!", "path": "[String!]"}


def test_each_mutation_has_a_payload_of_its_own_with_errors(schema: GraphQLSchema) -> None:
    assert schema.mutation_type is not None
    for name, field in schema.mutation_type.fields.items():
        payload = get_named_type(field.type)
        assert str(field.type) == f"{name[0].upper()}{name[1:]}Payload!"
        assert isinstance(payload, GraphQLObjectType)
        shape = {key: value.type for key, value in payload.fields.items()}
        assert str(shape.pop("errors")) == "[UserError!]!"
        assert str(shape.pop("warnings", "[String!]!")) == "[String!]!"
        for type_ in shape.values():
            # Its objects are absent where it was refused; a list is empty.
            is_list = isinstance(type_, GraphQLNonNull) and isinstance(type_.of_type, GraphQLList)
            assert is_list or not isinstance(type_, GraphQLNonNull)
        assert str(field.args["idempotencyKey"].type) == "String"


def test_mutations_have_exactly_the_promised_required_arguments(schema: GraphQLSchema) -> None:
    assert schema.mutation_type is not None
    for name, promised in REQUIRED_ARGUMENTS.items():
        arguments = schema.mutation_type.fields[name].args
        required = [
            f"{key}: {value.type}"
            for key, value in arguments.items()
            if isinstance(value.type, GraphQLNonNull) and value.default is None
        ]
        assert required == promised


def test_connections_have_the_shape_that_relay_wants(schema: GraphQLSchema) -> None:
    connections = [type_ for type_ in own_types(schema) if type_.name.endswith("Connection")]
    assert len(connections) == 14
    for type_ in connections:
        assert isinstance(type_, GraphQLObjectType)
        noun = type_.name.removesuffix("Connection")
        shape = {name: str(field.type) for name, field in type_.fields.items()}
        assert shape["edges"] == f"[{noun}Edge!]!"
        assert shape["nodes"] == f"[{noun}!]!"
        assert shape["pageInfo"] == "PageInfo!"
        assert shape["totalCount"] == "Int!"
        edge = schema.type_map[f"{noun}Edge"]
        assert isinstance(edge, GraphQLObjectType)
        assert {name: str(field.type) for name, field in edge.fields.items()} == {
            "cursor": "String!",
            "node": f"{noun}!",
        }


def test_each_list_of_nodes_is_a_connection_with_the_four_arguments(schema: GraphQLSchema) -> None:
    allowed = {"Query.nodes"}
    for type_ in own_types(schema):
        if not isinstance(type_, GraphQLObjectType) or type_.name.endswith("Connection"):
            continue
        for name, field in type_.fields.items():
            named = get_named_type(field.type)
            if named.name.endswith("Connection"):
                pages = {key: str(field.args[key].type) for key in field.args if key in PAGES}
                assert pages == PAGES
            elif is_list(field.type) and "Node" in {
                interface.name for interface in getattr(named, "interfaces", ())
            } | {named.name}:
                assert f"{type_.name}.{name}" in allowed


PAGES = {"first": "Int", "after": "String", "last": "Int", "before": "String"}


def is_list(type_: object) -> bool:
    inner = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    return isinstance(inner, GraphQLList)


def test_each_root_field_names_its_capability(schema: GraphQLSchema) -> None:
    for name, description in root_fields(schema):
        if name == "Query.viewer":
            assert "Needs no capability" in description
            continue
        named = [word for word in Capability if f"Needs the capability `{word}`." in description]
        assert len(named) == 1, name


def test_each_scalar_of_ours_says_where_it_is_specified(schema: GraphQLSchema) -> None:
    scalars = [type_ for type_ in own_types(schema) if isinstance(type_, GraphQLScalarType)]
    assert sorted(type_.name for type_ in scalars) == ["BigInt", "DateTime", "Duration"]
    assert all(type_.specified_by_url for type_ in scalars)


def outputs(schema: GraphQLSchema) -> Iterator[tuple[str, str, GraphQLNamedType]]:
    """Each field that answers something, but for those of the mutations themselves."""
    for type_ in own_types(schema):
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and type_.name != "Mutation":
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", name, get_named_type(field.type)


def test_no_secret_has_a_field_but_those_that_are_shown_once(schema: GraphQLSchema) -> None:
    """A text whose name sounds like a secret is explained here, or it may not be answered."""
    found = {
        place
        for place, name, type_ in outputs(schema)
        if SECRET.search(name) and type_.name in {"String", "ID"}
    }
    assert found == set(NO_SECRETS)


SECRET = re.compile(
    r"secret|token|passw|key|credential|variable|auth|private|seal|sign", re.IGNORECASE
)
NO_SECRETS = {
    "CreateApiKeyPayload.secret": "shown once, to whom has just made it",
    "CreateWebhookPayload.secret": "shown once, to whom has just made it",
    "UpdateWebhookPayload.secret": "shown once, to whom has just asked for a new one",
    "Instance.variableNames": "names only; the values are write-only",
    "Integration.keyId": "Backblaze's name of the key, which opens nothing",
    "Integration.nextKeyId": "the same of a key that waits to be tried",
    "Viewer.keyId": "an opaque id of ours, which opens nothing",
}


@pytest.mark.parametrize(
    "name", ["secretKey", "applicationKey", "apiToken", "password", "variables", "privatePart"]
)
def test_a_secret_that_gets_a_field_is_found(text: str, name: str) -> None:
    leaking = re.sub(
        r"type Integration implements Node \{", rf"\g<0>\n  {name}: String\n", text, count=1
    )
    assert leaking != text
    with pytest.raises(AssertionError, match=f"Integration.{name}"):
        test_no_secret_has_a_field_but_those_that_are_shown_once(build_schema(leaking))


NUMBERS = {"Int", "BigInt", "Float"}
COUNTED = re.compile(
    r"\b(bytes?|seconds?|minutes?|hours?|days?|how (many|often)|so many|\d+ to [\d,]+)\b",
    re.IGNORECASE,
)
"""What a number is a number of, or where it begins and ends."""
RANGE = re.compile(r"\d[\d,]*( \w+)? to \d[\d,]*|\d[\d,]* or more|at most \d|sequence")
ABSENT = re.compile(r"absent|null|neither|with `last`|before `before`")


def numbers(schema: GraphQLSchema) -> Iterator[tuple[str, GraphQLField | GraphQLInputField]]:
    for type_ in own_types(schema):
        if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                if get_named_type(field.type).name in NUMBERS:
                    yield f"{type_.name}.{name}", field


def given_numbers(
    schema: GraphQLSchema,
) -> Iterator[tuple[str, GraphQLArgument | GraphQLInputField]]:
    """Arguments and fields of inputs that are numbers or lengths of time."""
    wanted = {*NUMBERS, "Duration"}
    for type_ in own_types(schema):
        if isinstance(type_, GraphQLInputObjectType):
            for name, field in type_.fields.items():
                if get_named_type(field.type).name in wanted:
                    yield f"{type_.name}.{name}", field
        elif isinstance(type_, GraphQLObjectType):
            for name, output in type_.fields.items():
                for key, argument in output.args.items():
                    if get_named_type(argument.type).name in wanted:
                        yield f"{type_.name}.{name}({key}:)", argument


def test_each_number_says_what_it_counts(schema: GraphQLSchema) -> None:
    """Lengths of time say it by their type."""
    found = [name for name, field in numbers(schema) if not COUNTED.search(field.description or "")]
    assert found == []
    assert "ISO 8601" in (schema.type_map["Duration"].description or "")
    for name, field in numbers(schema):
        if name.lower().endswith("bytes") or ".bytes" in name:
            assert "bytes" in (field.description or "").lower() or "size" in name, name


def test_each_number_that_is_given_says_what_is_taken(schema: GraphQLSchema) -> None:
    """The smallest and the largest one, and what is meant where none is given."""
    given = list(given_numbers(schema))
    assert given != []
    assert [name for name, value in given if not RANGE.search(value.description or "")] == []
    optional = [
        (name, value) for name, value in given if not isinstance(value.type, GraphQLNonNull)
    ]
    assert [name for name, value in optional if not ABSENT.search(value.description or "")] == []


def test_each_kind_of_event_that_is_promised_is_written_somewhere() -> None:
    written = {
        node.attr
        for path in (ROOT / "app/service").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "EventKind"
    }
    assert set(EventKind) - written == set()


def test_each_code_of_a_refusal_is_documented() -> None:
    """A code that the sources use and the descriptions do not name, or the other way round."""
    used = {kind: {kind.code} for kind in CODES}
    for path in [*(ROOT / "app/service").glob("*.py"), *(ROOT / "app/model").glob("*.py")]:
        for kind, code in find_codes(path.read_text(encoding="utf-8")):
            used[kind].add(code)
    for path in (ROOT / "app/api").glob("*.py"):
        for kind, code in find_codes(path.read_text(encoding="utf-8")):
            used[kind].add(code)
    # Only the operator's command line makes hubs.
    used[errors.Conflict] -= {"HUB_NAME_TAKEN"}
    assert {kind: sorted(codes) for kind, codes in used.items()} == {
        kind: sorted(codes) for kind, codes in CODES.items()
    }


def find_codes(source: str) -> Iterator[tuple[type[errors.UserError], str]]:
    kinds = {kind.__name__: kind for kind in CODES}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            for keyword in node.keywords:
                if (
                    name in kinds
                    and keyword.arg == "code"
                    and isinstance(keyword.value, ast.Constant)
                ):
                    yield kinds[name], keyword.value.value
