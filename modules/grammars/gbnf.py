"""Reads GBNF, llama.cpp's grammar notation. Source: llama.cpp, grammars/README.md.

llguidance has a converter of its own, which was tried and is not used: it makes every rule a word of a lexer that
always takes the longest match, so that `[a-z]+ "x"` split over two rules can never end, and it breaks \\u escapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.errors import BadParameter

_LONGEST = 200_000  # characters
_DEEPEST = 100  # nested groups
_HEX = {"x": 2, "u": 4, "U": 8}
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]"}


@dataclass(frozen=True, slots=True)
class Text:
    """A literal."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges (first and last), or of none of them; no ranges and `negated` = any."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Ref:
    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the model: `<[1000]>` by id, `<think>` by what it is written as."""

    written: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` None = without end."""

    part: Part
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Sequence:
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[Part, ...]


Part = Text | Chars | Ref | Token | Repeat | Sequence | Choice


def read_gbnf(text: str) -> dict[str, Part]:
    """The rules by name. Raises BadParameter with the line, also for rules that are named but not there."""
    return _Reader(text).rules()


class GrammarRefused(BadParameter):
    """A grammar that cannot be used; `reason` is the part of the message that says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The grammar cannot be used: {reason}",
            hint='It has to be GBNF, llama.cpp\'s notation, with a rule called root, such as: root ::= "yes" | "no"',
            param="grammar",
        )
        self.reason = reason


def refused(reason: str) -> GrammarRefused:
    """The error for a grammar, with the reason as the end of its sentence."""
    return GrammarRefused(reason)


class _Reader:
    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise refused(f"it has {len(text):,} characters, and {_LONGEST:,} are the most.")
        self._text, self._at, self._depth = text, 0, 0

    def rules(self) -> dict[str, Part]:
        found: dict[str, Part] = {}
        refs: list[tuple[str, int]] = []
        self._refs = refs
        self._space(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._space()
            self._expect("::=")
            self._space(lines=True)
            if name in found:
                raise self._error(f"the rule {name!r} is there twice")
            found[name] = self._options()
            self._space()
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._error(f"{self._text[self._at]!r} was not expected")
            self._space(lines=True)
        if "root" not in found:
            raise refused("it has no rule called root.")
        for name, at in refs:
            if name not in found:
                self._at = at
                raise self._error(f"there is no rule called {name!r}")
        return found

    def _options(self) -> Part:
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            self._space(lines=True)
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Part:
        parts: list[Part] = []
        while True:
            part = self._part()
            if part is None:
                break
            self._space(lines=self._depth > 0)
            parts.append(self._repeated(part))
            self._space(lines=self._depth > 0)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _part(self) -> Part | None:
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._chars()
            case ".":
                self._at += 1
                return Chars((), True)
            case "(":
                return self._group()
            case "<":
                return self._token()
            case "!":
                raise self._error("“any token but this one” (!) cannot be enforced by this loader")
            case char if char.isascii() and (char.isalnum() or char in "-_") and char:
                start, name = self._at, self._name()
                self._refs.append((name, start))
                return Ref(name)
        return None

    def _group(self) -> Part:
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(f"groups are nested more than {_DEEPEST} deep")
        self._space(lines=True)
        inner = self._options()
        self._depth -= 1
        self._expect(")")
        return inner

    def _repeated(self, part: Part) -> Part:
        while True:  # (a+)? may be written a+?
            match self._peek():
                case "*":
                    least, most = 0, None
                case "+":
                    least, most = 1, None
                case "?":
                    least, most = 0, 1
                case "{":
                    least, most = self._bounds()
                case _:
                    return part
            self._at += 1
            part = Repeat(part, least, most)
            self._space(lines=self._depth > 0)

    def _bounds(self) -> tuple[int, int | None]:
        """{m}, {m,} or {m,n}; stops at the closing brace."""
        end = self._text.find("}", self._at)
        first, comma, last = self._text[self._at + 1 : max(end, self._at)].partition(",")
        first, last = first.strip(), last.strip()
        if end < 0 or not _whole(first) or (last and not _whole(last)):
            raise self._error("a repetition has to be {m}, {m,} or {m,n}")
        least = int(first)
        most = (int(last) if last else None) if comma else least
        if most is not None and most < least:
            raise self._error("a repetition ends below where it begins")
        self._at = end
        return least, most

    def _literal(self) -> Part:
        self._at += 1
        out = ""
        while self._peek() != '"':
            out += self._char("a literal")
        self._at += 1
        return Text(out)

    def _chars(self) -> Part:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges = []
        while self._peek() != "]":
            first = last = self._char("a class of characters")
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._char("a class of characters")
            if last < first:
                raise self._error("a range of characters ends below where it begins")
            ranges.append((first, last))
        self._at += 1
        if not ranges and not negated:
            raise self._error("a class of characters is empty")
        return Chars(tuple(ranges), negated)

    def _char(self, of: str) -> str:
        char = self._peek()
        if not char:
            raise self._error(f"{of} has no end")
        self._at += 1
        if char != "\\":
            return char
        kind = self._peek()
        self._at += 1
        if kind in _PLAIN and kind:
            return _PLAIN[kind]
        digits = self._text[self._at : self._at + _HEX.get(kind, 0)]
        if not digits or len(digits) < _HEX[kind] or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise self._error(f"\\{kind} is no escape")
        self._at += len(digits)
        number = int(digits, 16)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise self._error(f"\\{kind}{digits} is no character")
        return chr(number)

    def _token(self) -> Part:
        end = self._text.find(">", self._at)
        written = self._text[self._at : end + 1]
        if end < 0 or "\n" in written or len(written) < 3:
            raise self._error("a token has to be written <name> or <[number]>")
        self._at = end + 1
        return Token(written)

    def _name(self) -> str:
        start = self._at
        while (char := self._peek()) and char.isascii() and (char.isalnum() or char in "-_"):
            self._at += 1
        if start == self._at:
            raise self._error("the name of a rule was expected")
        return self._text[start : self._at]

    def _space(self, *, lines: bool = False) -> None:
        while char := self._peek():
            if char == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif char in " \t" or (lines and char in "\r\n"):
                self._at += 1
            else:
                break

    def _expect(self, wanted: str) -> None:
        if not self._text.startswith(wanted, self._at):
            raise self._error(f"{wanted!r} was expected")
        self._at += len(wanted)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _error(self, said: str) -> BadParameter:
        return refused(f"line {self._text.count(chr(10), 0, self._at) + 1}: {said}.")


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
