"""GBNF rules in llguidance's notation (Lark), so that exactly the same texts fit.

llguidance reads text as words of a lexer that takes the longest match. A short grammar without recursion becomes one
word, a regular expression: exact and quick. Otherwise every word is a single character, which no longest match can get
wrong, at about a millisecond per token. Source: llguidance, docs/syntax.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from modules.grammars.gbnf import Chars, Choice, Part, Ref, Repeat, Sequence, Text, Token

_ANY = "/(?s:.)/"
LONGEST_WORD = 4000
"""Characters of a grammar written as one word: the lexer gives up on larger ones with a real vocabulary."""


def to_lark(rules: Mapping[str, Part]) -> str:
    """The rules that `root` needs; they have to be complete."""
    needed = _needed(rules)
    regular = not _recursive(rules) and not uses_tokens(rules)
    regular_text = _written(rules, needed, True) if regular else ""
    return regular_text if 0 < len(regular_text) <= LONGEST_WORD else _written(rules, needed, False)


def uses_tokens(rules: Mapping[str, Part]) -> bool:
    """Whether a rule that `root` needs names single tokens of a model."""
    return any(isinstance(part, Token) for name in _needed(rules) for part in _all(rules[name]))


def _written(rules: Mapping[str, Part], needed: Iterable[str], regular: bool) -> str:
    names = {name: f"{'R' if regular else 'r'}{number}" for number, name in enumerate(needed)}
    write = _Writer(names, regular)
    lines = [f"start: {names['root']}"]
    lines += [f"{names[name]}: {write.part(rules[name])}" for name in needed]
    return "%llguidance {}\n" + "\n".join(lines) + "\n"


class _Writer:
    def __init__(self, names: Mapping[str, str], regular: bool) -> None:
        self._names, self._regular = names, regular

    def part(self, part: Part) -> str:
        match part:
            case Text(text):
                return self._literal(text)
            case Chars(ranges, negated):
                if not ranges:
                    return _ANY
                inner = "".join(_coded(first) + "-" + _coded(last) for first, last in ranges)
                return f"/[{'^' if negated else ''}{inner}]/"
            case Ref(name):
                return self._names[name]
            case Token(written):
                return written
            case Repeat(inside, least, most):
                most_ = "" if most is None else str(most)
                return f"({self.part(inside)}){{{least},{most_}}}"
            case Sequence(parts):
                return "(" + " ".join(self.part(one) for one in parts) + ")" if parts else '""'
            case Choice(options):
                return "(" + " | ".join(self.part(one) for one in options) + ")"

    def _literal(self, text: str) -> str:
        if not text:
            return '""'
        if self._regular:
            return "/" + "".join(map(_coded, text)) + "/"
        return "(" + " ".join(f"/{_coded(char)}/" for char in text) + ")"


def _coded(char: str) -> str:
    """A character of a regular expression that means itself."""
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}"


def _needed(rules: Mapping[str, Part]) -> list[str]:
    """`root` and the rules it leads to."""
    needed, waiting = {"root": None}, ["root"]
    while waiting:
        for name in _refs(rules[waiting.pop()]):
            if name not in needed:
                needed[name] = None
                waiting.append(name)
    return list(needed)


def _recursive(rules: Mapping[str, Part]) -> bool:
    """Whether a rule that `root` needs leads back to itself."""
    state: dict[str, bool] = {}  # True = done, False = on the way
    waiting: list[tuple[str, bool]] = [("root", False)]
    while waiting:
        name, left = waiting.pop()
        if left:
            state[name] = True
            continue
        if name in state:
            if not state[name]:
                return True
            continue
        state[name] = False
        waiting.append((name, True))
        for other in set(_refs(rules[name])):
            if state.get(other) is False:
                return True
            if other not in state:
                waiting.append((other, False))
    return False


def _refs(part: Part) -> Iterator[str]:
    return (one.name for one in _all(part) if isinstance(one, Ref))


def _all(part: Part) -> Iterator[Part]:
    waiting = [part]
    while waiting:
        one = waiting.pop()
        yield one
        match one:
            case Repeat(inside):
                waiting.append(inside)
            case Sequence(parts) | Choice(parts):
                waiting.extend(parts)
