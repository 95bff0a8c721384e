"""Shell syntax: what `sh -c` would certainly refuse, found without running anything."""

import re
from typing import Final

_OPEN: Final = {
    '"': "a double quote is never closed",
    "`": "a backquote is never closed",
    "$(": "a `$(` is never closed",
    "(": "a parenthesis is never closed",
}
_QUOTE: Final = "a single quote is never closed"
_MAY_BEGIN_A_COMMENT: Final = " \t\n;&|("
_FIRST_WORD: Final = re.compile(r"\s*([a-z]+|[{}])(?=[\s;&|]|\Z)")
_FIRST_OPERATOR: Final = re.compile(r"\s*(&&|\|\||[;&|])")
_CLOSED_BY: Final = {"if": "fi", "while": "done", "until": "done", "{": "}"}
_NEVER_FIRST: Final = frozenset({"then", "else", "elif", "fi", "do", "done", "}"})
_QUOTING: Final = re.compile(r"['\"`\\#]|\$\$")


class _Uncertain(Exception):
    """It cannot be said without a shell."""


def find_syntax_error(command: str) -> str | None:
    """Say in one clause what is wrong; None: nothing, or it is not certain.

    Found are quotes, `$(`, `${` and parentheses that are left open or never were, operators that
    nothing comes before or follows, and a first word that cannot stand there or is never closed.
    About here-documents, `case` and what hides in `${}` nothing else is said.
    """
    begin = _find_wrong_begin(command)
    if begin is not None or "<<" in command or "case" in command:
        return begin
    if "${" in command:
        is_left_open = "}" not in command and not _QUOTING.search(command)
        return "a `${` is never closed" if is_left_open else None
    try:
        return _Scanner(command).scan()
    except _Uncertain:
        return None


def _find_wrong_begin(command: str) -> str | None:
    operator = _FIRST_OPERATOR.match(command)
    if operator is not None:
        return f"nothing comes before the first `{operator[1]}`"
    word = _FIRST_WORD.match(command)
    if word is not None and word[1] in _NEVER_FIRST:
        return f"`{word[1]}` closes or continues nothing"
    end = None if word is None else _CLOSED_BY.get(word[1])
    # A line that goes on may part the word.
    if word is not None and end is not None and end not in command.replace("\\\n", ""):
        return f"`{word[1]}` is never closed by `{end}`"
    return None


class _Scanner:
    """Goes through a command once; what is open stands on a stack."""

    def __init__(self, command: str) -> None:
        self._text = command
        self._at = 0
        self._open: list[str] = []
        self._said = ""
        """What was said last outside of quotes, blanks left out."""

    def scan(self) -> str | None:
        while self._at < len(self._text):
            if self._is_in('"'):
                self._step_in_quotes()
            elif (fault := self._step()) is not None:
                return fault
        if self._open:
            return _OPEN[self._open[-1]]
        for operator in ("&&", "||", "|", ">", "<"):
            if self._said.endswith(operator):
                return f"nothing follows the last `{operator}`"
        return None

    def _is_in(self, what: str) -> bool:
        return bool(self._open) and self._open[-1] == what

    def _step_in_quotes(self) -> None:
        text, at = self._text, self._at
        self._at += 1
        if text[at] == "\\":
            self._at += 1
        elif text[at] == '"':
            self._open.pop()
            self._say('"')
        elif text.startswith("$(", at):
            self._at += 1
            self._open.append("$(")
            self._said = ""
        elif text[at] == "`":
            # Quotes within backquotes within quotes: every shell has its own mind.
            raise _Uncertain

    def _step(self) -> str | None:
        text, at = self._text, self._at
        character = text[at]
        self._at += 1
        if character == "\\":
            self._at += 1
            self._say("x")
        elif character == "'":
            end = text.find("'", self._at)
            self._at = end + 1
            self._say("x")
            return None if end >= 0 else _QUOTE
        elif character == "#" and (at == 0 or text[at - 1] in _MAY_BEGIN_A_COMMENT):
            end = text.find("\n", at)
            if self._open:
                raise _Uncertain
            self._at = len(text) if end < 0 else end
        elif character in '"`($)':
            if character == ")" and not self._open:
                return "a `)` closes nothing"
            self._nest(character)
        elif not character.isspace():
            self._say(character)
        return None

    def _nest(self, character: str) -> None:
        if character == "$":
            if self._text.startswith("(", self._at):
                self._at += 1
                self._open.append("$(")
            elif self._text.startswith(("'", '"'), self._at):
                raise _Uncertain
            self._say("$")
        elif character == ")":
            if self._open[-1] not in {"(", "$("}:
                raise _Uncertain
            self._open.pop()
            self._say(")")
        elif character == "`" and "`" in self._open:
            if not self._is_in("`"):
                raise _Uncertain
            self._open.pop()
            self._say("`")
        else:
            self._open.append(character)
            self._said = ""

    def _say(self, character: str) -> None:
        self._said = (self._said + character)[-2:]
