"""
YAML text as plain values, each with the line it stands in. Knows no settings and reads no files.

Every scalar stays text (``no``, ``0123`` and ``22:30`` mean themselves) and only the schema decides
what it must be; so YAML 1.1's surprises do not exist here. An empty value and ``null`` are None.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml

from headrace.config.fields import Keys, dotted

# A file is written by people: more values than this are an alias bomb, not a configuration.
MAX_VALUES = 100_000

NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"
TEXT = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool"))
CONTAINERS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("map", "seq"))

VARIABLE = re.compile(
    r"\$(?P<literal>\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<has_default>:-(?P<default>[^}]*))?\}"
    r"|(?P<broken>\$\{)"
)

# PyYAML's words and ours. Those that would quote the file (an alias, a tag) must be here.
REASONS = {
    "undefined alias": "no anchor has this alias's name; a text that begins with * needs quotes",
    "second occurrence": "two anchors have the same name; give one another name",
    "tag handle": "tags are not supported; a text that begins with ! needs quotes",
    "another document": "a second document begins here; a configuration is one, without `---`",
    "character '\\t'": "a tab cannot indent; use spaces",
    "cannot start any token": "a text that begins with this character needs quotes",
    "mapping values are not allowed": "a second `: ` in one line; quote a text that has `: ` in it",
}


@dataclass(frozen=True, slots=True)
class Document:
    """
    What a text says.

    ``lines`` has the line of every key and entry; ``written`` has the original text of the values
    in which ``${VARIABLE}`` was replaced; ``problems`` has sentences with their lines, and
    ``wrong`` the places that they speak of.
    """

    value: object = None
    lines: dict[Keys, int] = field(default_factory=dict)
    written: dict[Keys, str] = field(default_factory=dict)
    wrong: set[Keys] = field(default_factory=set)
    problems: list[tuple[int, str]] = field(default_factory=list)


def parse(text: str, name: str, env: Mapping[str, str] | None = None) -> Document:
    """
    Read one YAML text. Problems become sentences that begin with ``name:line:``, not exceptions.

    With ``env``, ``${VARIABLE}`` and ``${VARIABLE:-default}`` in values are replaced.
    """
    document = Document()
    try:
        root = _compose(text)
    except yaml.YAMLError as error:
        line, reason = _syntax(error, text)
        document.problems.append((line, f"{name}:{reason}"))
        return document
    except RecursionError:
        document.problems.append((0, f"{name}: is nested too deeply to be a configuration"))
        return document
    value = _Visit(name, env, document).value(root, ()) if root else None
    return replace(document, value=value)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser; of YAML 1.1's guesses about scalars it keeps only null and ``<<``."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own declaration is not a ClassVar


_Loader.add_implicit_resolver(NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(MERGE, re.compile(r"^<<$"), ["<"])


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _syntax(error: yaml.YAMLError, text: str) -> tuple[int, str]:
    """The line and ``line:column: what is wrong``. Never quotes the text: it could be a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"{line}: contains a control character, which YAML does not allow"
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return 0, " is not valid YAML"
    line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
    return line, f"{line}:{column}: {_reason(error)}"


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "the text ends or turns where YAML does not allow it"
    for words, reason in REASONS.items():
        if words in problem:
            return reason
    return f"is not valid YAML: {problem}"


class _Visit:
    """One walk over the nodes of a document, which fills its lines and problems."""

    def __init__(self, name: str, env: Mapping[str, str] | None, document: Document) -> None:
        self._name = name
        self._env = env
        self._document = document
        self._open: set[int] = set()  # nodes above the present one: an alias to them never ends
        self._visited = 0

    def value(self, node: yaml.Node, keys: Keys) -> object:
        self._document.lines.setdefault(keys, node.start_mark.line + 1)
        self._visited += 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if id(node) in self._open or self._visited > MAX_VALUES:
            self._refuse(node, keys, "an alias repeats without end; write the values out")
            return None
        if node.tag not in CONTAINERS:
            self._refuse(node, keys, "tags are not supported; remove the word that begins with !")
            return None
        self._open.add(id(node))
        value = self._container(node, keys)
        self._open.discard(id(node))
        return value

    def _container(self, node: yaml.Node, keys: Keys) -> object:
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*keys, index)) for index, entry in enumerate(node.value)]
        values: dict[str, object] = {}
        for key, entry in self._pairs(node, keys).values():
            self._document.lines[*keys, key.value] = key.start_mark.line + 1
            values[key.value] = self.value(entry, (*keys, key.value))
        return values

    def _pairs(self, node: yaml.Node, keys: Keys) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The entries of a mapping by key; its own win over those that ``<<`` merges in."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, entry in node.value:
            if key.tag == MERGE:
                merged = self._merged(entry, keys) | merged
            elif not isinstance(key, yaml.ScalarNode):
                self._refuse(key, keys, "a key must be plain text, not a list or a mapping")
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                self._refuse(
                    key,
                    (*keys, key.value),
                    f"is set twice, first in line {first}; keep one of the two",
                )
            else:
                own[key.value] = (key, entry)
        return merged | own

    def _merged(self, node: yaml.Node, keys: Keys) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode) or id(node) in self._open:
            self._refuse(node, keys, "`<<` needs the alias of a mapping elsewhere in the file")
            return {}
        self._open.add(id(node))
        pairs = self._pairs(node, keys)
        self._open.discard(id(node))
        return pairs

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> str | None:
        if node.tag == NULL:
            return None
        if node.tag not in TEXT:
            self._refuse(
                node, keys, "tags are not supported; a text that begins with ! needs quotes"
            )
            return None
        text = str(node.value)
        if self._env is None or "${" not in text:
            return text
        return self._replaced(text, node, keys)

    def _replaced(self, text: str, node: yaml.Node, keys: Keys) -> str | None:
        """The text with its variables filled in; None (the default applies) if nothing remains."""
        self._document.written[keys] = text
        parts: list[str] = []
        end = 0
        for match in VARIABLE.finditer(text):
            parts += [text[end : match.start()], self._variable(match, node, keys)]
            end = match.end()
        return "".join([*parts, text[end:]]) or None

    def _variable(self, match: re.Match[str], node: yaml.Node, keys: Keys) -> str:
        if match["literal"]:
            return "${"
        if match["broken"]:
            self._refuse(
                node,
                keys,
                "`${` begins a variable: ${NAME} or ${NAME:-default}; for the text write $${",
            )
            return "${"
        value = (self._env or {}).get(match["name"], "")
        if not value and match["has_default"] is None:
            self._refuse(
                node,
                keys,
                f"the environment variable {match['name']} is not set or empty; "
                f"set it, or give a default: ${{{match['name']}:-default}}",
            )
        return value or match["default"] or ""

    def _refuse(self, node: yaml.Node, keys: Keys, reason: str) -> None:
        line = node.start_mark.line + 1
        place = ":".join(filter(None, [self._name, str(line), dotted(keys)]))
        self._document.wrong.add(keys)
        self._document.problems.append((line, f"{place}: {reason}"))
