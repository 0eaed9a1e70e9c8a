"""Reading the configuration: sources, precedence, and sentences that lead to the place to mend."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import dump, fields
from headrace.config.load import NULLS, load, read
from headrace.config.schema import Config
from headrace.errors import ConfigError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write headrace.yaml into an empty current directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        Path("headrace.yaml").write_text(text, encoding="utf-8")
        return Path("headrace.yaml")

    return write


def problems(env: dict[str, str] | None = None, **overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(None, env or {}, overrides)
    return str(refused.value).splitlines()


class TestSources:
    """Where values come from, and which source wins."""

    def test_nothing_given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a file and variables the defaults are in force."""
        monkeypatch.chdir(tmp_path)

        assert Config() == load(None, {})

    def test_file_in_the_current_directory(self, write: Write) -> None:
        """headrace.yaml is found where the program runs."""
        write("server: {port: 1}")

        assert 1 == load(None, {}).server.port

    def test_file_named_by_variable(self, write: Write, tmp_path: Path) -> None:
        """HEADRACE_CONFIG wins over headrace.yaml in the current directory."""
        write("server: {port: 1}")
        other = tmp_path / "other.yaml"
        other.write_text("server: {port: 2}")

        loaded = read(None, {"HEADRACE_CONFIG": str(other)})

        assert (2, other) == (loaded.config.server.port, loaded.file)

    def test_named_file_wins(self, write: Write, tmp_path: Path) -> None:
        """A path given by the caller wins over HEADRACE_CONFIG."""
        path = write("server: {port: 1}")

        assert 1 == load(path, {"HEADRACE_CONFIG": str(tmp_path / "none.yaml")}).server.port

    def test_precedence(self, write: Write) -> None:
        """Overrides win over variables, variables over the file, the file over defaults."""
        write("server: {port: 1, drain_s: 1, read_s: 1}")
        env = {"HEADRACE__SERVER__PORT": "2", "HEADRACE__SERVER__DRAIN_S": "2"}

        server = load(None, env, {"server": {"port": 3}}).server

        assert (3, 2, 1, 75) == (server.port, server.drain_s, server.read_s, server.keep_alive_s)

    def test_override_that_is_none_is_not_given(self, write: Write) -> None:
        """A command hands on all its options; those that nobody gave change nothing."""
        write("server: {port: 1}")

        assert 1 == load(None, {}, {"server": {"port": None, "host": None}}).server.port

    def test_origins(self, write: Write) -> None:
        """Every value that was given says where; a default says nothing."""
        write("server:\n  port: 1\n  host: a\nbackends:\n  - url: http://h\n    serves: [a, b]\n")
        env = {"HEADRACE__SERVER__HOST": "b", "HEADRACE__MEDIA": "{allowed_hosts: [h]}"}

        origins = read(None, env, {"timeouts": {"queue_s": 1}}).origins

        assert "headrace.yaml:2" == origins["server", "port"]
        assert "HEADRACE__SERVER__HOST" == origins["server", "host"]
        assert "headrace.yaml:6" == origins["backends", 0, "serves"]
        assert "HEADRACE__MEDIA" == origins["media", "allowed_hosts"]
        assert "command line" == origins["timeouts", "queue_s"]
        assert ("server", "read_s") not in origins


class TestFile:
    """A file that cannot be read is one sentence."""

    def test_missing(self, tmp_path: Path) -> None:
        """A file that is not there is named."""
        path = tmp_path / "none.yaml"

        with pytest.raises(ConfigError, match=re.escape(f"{path}: there is no such file")):
            load(path, {})

    def test_missing_by_variable(self, tmp_path: Path) -> None:
        """The variable that named a missing file is named, too."""
        path = tmp_path / "none.yaml"

        assert [f"HEADRACE_CONFIG: {path}: there is no such file"] == problems(
            {"HEADRACE_CONFIG": str(path)}
        )

    def test_directory(self, tmp_path: Path) -> None:
        """A directory is not a file."""
        with pytest.raises(ConfigError, match=r": is a directory; name the file in it$"):
            load(tmp_path, {})

    def test_below_a_file(self, write: Write) -> None:
        """Whatever the system says about a path, it is a sentence."""
        with pytest.raises(ConfigError, match=r"x: cannot be read \(Not a directory\)$"):
            load(write("") / "x", {})

    def test_no_path_at_all(self) -> None:
        """A path that the system cannot even look up is a sentence."""
        with pytest.raises(ConfigError, match=r"cannot be read \(not a path\)$"):
            load(Path("a\0b"), {})

    def test_not_utf8(self, tmp_path: Path) -> None:
        """Another encoding is named as such, with the place of the first wrong byte."""
        path = tmp_path / "latin.yaml"
        path.write_bytes(b"server: {host: \xe9}")

        with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 15\); save it as UTF-8$"):
            load(path, {})

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        """A byte order mark at the start does no harm."""
        path = tmp_path / "bom.yaml"
        path.write_bytes(b"\xef\xbb\xbfserver: {port: 1}")

        assert 1 == load(path, {}).server.port

    @pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "null", "server:\n"])
    def test_empty(self, write: Write, text: str) -> None:
        """A file that says nothing leaves the defaults."""
        write(text)

        assert Config() == load(None, {})

    @pytest.mark.parametrize(("text", "what"), [("- a\n", "a list"), ("\nword", "plain text")])
    def test_no_sections(self, write: Write, text: str, what: str) -> None:
        """A file that holds no sections is told what it should hold."""
        write(text)

        [problem] = problems()

        assert re.match(rf"headrace\.yaml:[12]: the file holds {what}; it must hold", problem)


class TestSentences:
    """file:line:key: what is wrong, and what would be right."""

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("server:\n  port: many\n", "2:server.port: 'many' must be a whole number"),
            ("server:\n  port: 70000\n", "2:server.port: 70000 must be at most 65535"),
            ("server: {read_s: 0}", "1:server.read_s: 0 must be more than 0"),
            ("server: {read_s: soon}", "1:server.read_s: 'soon' must be a number"),
            ("server: {read_s: .nan}", "1:server.read_s: '.nan' must be a number"),
            ("server: {host: ''}", "1:server.host: '' must have at least one character"),
            ("admin: {host: ''}", "1:admin.host: '' must have at least one character"),
            ("server: 5", "1:server: 5 must be a mapping (`key: value` lines)"),
            ("server: []", "1:server: an empty list must be a mapping (`key: value` lines)"),
            ("engine: {enabled: maybe}", "1:engine.enabled: 'maybe' must be true or false"),
            ("engine: {name: [a]}", "1:engine.name: a list must be text"),
            ("logging: {format: xml}", "1:logging.format: 'xml' must be 'json' or 'console'"),
            (
                "media: {allowed_hosts: a}",
                "1:media.allowed_hosts: 'a' must be a list (each entry with `- ` before it",
            ),
            ("models:\n- name: a\n-\n", "3:models[1]: an empty value must be a mapping (`key: "),
            ("models:\n  - name: ''\n", "2:models[0].name: '' must have at least one character"),
            ("models:\n\n  - {}\n", "3:models[0].name: is required: The name clients use."),
            (
                "backends:\n  - {url: gpu-1, serves: [a]}\n",
                "2:backends[0].url: 'gpu-1' must be http://host:port or https://host:port",
            ),
            (
                "models:\n  - name: a\n  - name: a\n",
                "3:models[1]: the name 'a' is already used by the model 'a'",
            ),
        ],
    )
    def test_wrong_value(self, write: Write, text: str, sentence: str) -> None:
        """A wrong value is named with its line and key, and with what would be right."""
        write(text)

        [problem] = problems()

        assert problem.startswith(f"headrace.yaml:{sentence}")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (
                "server:\n  prot: 1\n",
                "2:server.prot: there is no such setting; did you mean `port`?",
            ),
            ("Server: {}", "1:Server: there is no such setting; did you mean `server`?"),
            (
                "server: {max-body-bytes: 1}",
                "1:server.max-body-bytes: there is no such setting; did you mean `max_body_bytes`?",
            ),
            ("port: 1", "1:port: there is no such setting; did you mean `server.port`?"),
            ("prices: {}", "1:prices: there is no such setting; did you mean `metering.prices`?"),
            ("metering: {enabled: true}", "1:metering.enabled: there is no such setting; metering"),
            (
                "server: {prices_file: a}",
                "1:server.prices_file: there is no such setting; did you mean `metering.prices_f",
            ),
            (
                "media: {zebra: 1}",
                "1:media.zebra: there is no such setting; media has allowed_hosts",
            ),
        ],
    )
    def test_unknown_key(self, write: Write, text: str, sentence: str) -> None:
        """An unknown key is told the nearest known key, or where it belongs, and what there is."""
        write(text)

        [problem] = problems()

        assert problem.startswith(f"headrace.yaml:{sentence}")
        assert " has " in problem

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("server:\n  port: 1\n  port: 2\n", "3:server.port: is set twice, first in line 2"),
            ("server: {port: 1\n", "2:1: is not valid YAML: expected ',' or '}'"),
            ("server:\n\tport: 1\n", "2:1: a tab cannot indent; use spaces"),
            ("server:\n  host: a: b\n", "2:10: a second `: ` in one line"),
            ("server:\n  host: @me\n", "2:9: a text that begins with this character needs quotes"),
            ("server: {}\n---\nserver: {}\n", "2:1: a second document begins here"),
            ("server: \0", "1: contains a control character, which YAML does not allow"),
            ("a: &a {}\nb: &a {}\n", "2:4: two anchors have the same name"),
            ("engine:\n  name: *key\n", "2:9: no anchor has this alias's name"),
            ("engine:\n  name: !key\n", "2:engine.name: tags are not supported"),
            ("engine:\n  name: !a!key x\n", "2:9: tags are not supported"),
            ("engine: !!python/object:os.system {}\n", "1:engine: tags are not supported"),
            ("server: {[a]: 1}", "1:server: a key must be plain text"),
            ("server: &a\n  x: *a\n", "1:server.x: an alias repeats without end"),
            ("server: &a\n  <<: *a\n", "1:server: `<<` needs the alias of a mapping"),
            ("server: {<<: 3}", "1:server: `<<` needs the alias of a mapping"),
        ],
    )
    def test_wrong_yaml(self, write: Write, text: str, sentence: str) -> None:
        """What YAML does not allow, or we do not, is one sentence with its line."""
        write(text)

        assert problems()[0].startswith(f"headrace.yaml:{sentence}")

    def test_too_deep(self, write: Write) -> None:
        """A file nested without end is refused, not a crash."""
        write("[" * 5000)

        assert ["headrace.yaml: is nested too deeply to be a configuration"] == problems()

    def test_alias_bomb(self, write: Write) -> None:
        """Aliases of aliases cannot make a small file fill the memory."""
        rows = [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 9)]
        write("\n".join(["x0: &x0 [a]", *rows]))

        assert any("an alias repeats without end" in problem for problem in problems())

    def test_all_at_once(self, write: Write) -> None:
        """Every problem of every source is told in one run: file by line, variables, options."""
        write("engine: {slots: 0}\nserver:\n  port: x\n  prot: 1\n  read_s: 1\n  read_s: 1\n")

        found = problems({"HEADRACE__LOGGING__FORMAT": "x"}, timeouts={"queue_s": -1})

        assert [
            "headrace.yaml:1:engine.slots",
            "headrace.yaml:3:server.port",
            "headrace.yaml:4:server.prot",
            "headrace.yaml:6:server.read_s",
            "HEADRACE__LOGGING__FORMAT",
            "command line:timeouts.queue_s",
        ] == [problem.split(": ")[0] for problem in found]

    @pytest.mark.parametrize(
        "text",
        [
            "backends: [{url: http://h, serves: [a], api_key: [sk-secret]}]",
            "backends: [{url: 'http://me:sk-secret@h', serves: [a]}]",
            "backends: [{url: http://h, serves: [a], apikey: sk-secret}]",
            "backends: [{url: http://h, serves: [a], api_key: *sk-secret}]",
            "backends: [{url: http://h, serves: [a], api_key: !sk-secret}]",
            "backends: [{url: http://h, serves: [a], api_key: !sk-!secret x}]",
            "backends: [{url: '${SECRET}', serves: [a]}]",
            "backends: [{url: x, serves: [a], api_key: sk-secret}]",
            "backends: {url: x, serves: [a], api_key: sk-secret}",
            "backends: [{url: x, api_key: sk-secret",
        ],
    )
    def test_secrets_stay_secret(self, write: Write, text: str) -> None:
        """No error shows a key, a password in a URL, or what a variable holds."""
        write(text)

        told = "\n".join(problems({"SECRET": "sk-secret"}))

        assert "secret" not in told.lower().replace("${secret}", "")

    def test_a_wrong_entry_is_not_also_a_missing_one(self, write: Write) -> None:
        """A list with a wrong entry is as long as it is; only one that is too short is told so."""
        arms = "rules: [{name: r, experiment: {name: e, arms: [{name: a, target: m}%s]}}]"
        models = "models: [{name: m}]\n"
        write(models + arms % ", {name: b, target: m, weigth: 2}")
        (wrong,) = problems()
        write(models + arms % "")
        (short,) = problems()

        assert "weigth: there is no such setting" in wrong
        assert "at least 2 items" in short


class TestText:
    """A value is text until a setting says what it must be."""

    @pytest.mark.parametrize("name", ["no", "on", "0123", "1.0", "22:30", "1e5", "2024-01-01"])
    def test_names_need_no_quotes(self, write: Write, name: str) -> None:
        """What YAML 1.1 takes for a switch, a number or a date is a name where a name belongs."""
        write(f"models:\n  - name: {name}\n")

        assert name == load(None, {}).models[0].name

    @pytest.mark.parametrize(
        ("word", "meaning"), [("no", False), ("off", False), ("yes", True), ("True", True)]
    )
    def test_switches_in_words(self, write: Write, word: str, meaning: bool) -> None:
        """A switch understands the usual words."""
        write(f"engine: {{enabled: {word}}}")

        assert meaning is load(None, {}).engine.enabled

    def test_anchors_and_merges(self, write: Write) -> None:
        """An entry may repeat another one and change what differs."""
        write(
            "backends:\n"
            "  - &first {url: http://a, serves: [x], api_key: k}\n"
            "  - {<<: *first, url: http://b}\n"
        )

        first, second = load(None, {}).backends

        assert (first.serves, first.api_key) == (second.serves, second.api_key)
        assert ("http://a", "http://b") == (first.url, second.url)


class TestInterpolation:
    """``${NAME}`` in the file."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${A}", "one"),
            ("x-${A}-${B:-two}", "x-one-two"),
            ("'${EMPTY:-two}'", "two"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A {A}", "$A {A}"),
            ("${B:-}", None),
        ],
    )
    def test_variables(self, write: Write, text: str, value: str | None) -> None:
        """Variables and defaults are filled in; where nothing remains, the default applies."""
        write(f"engine:\n  name: {text}\n")

        assert value == load(None, {"A": "one", "EMPTY": ""}).engine.name

    def test_numbers(self, write: Write) -> None:
        """A number may come from a variable, too."""
        write("server:\n  port: ${PORT}\n")

        assert 81 == load(None, {"PORT": "81"}).server.port

    @pytest.mark.parametrize("env", [{}, {"KEY": ""}])
    def test_unknown(self, write: Write, env: dict[str, str]) -> None:
        """A variable that is not set is one problem, with the line where it is used."""
        write("server:\n  port: ${KEY}\n")

        [problem] = problems(env)

        assert problem == (
            "headrace.yaml:2:server.port: the environment variable KEY is not set or empty; "
            "set it, or give a default: ${KEY:-default}"
        )

    def test_broken(self, write: Write) -> None:
        """A `${` that begins no variable is told how to write both."""
        write("engine:\n  name: ${not a name}\n")

        [problem] = problems()

        assert problem == (
            "headrace.yaml:2:engine.name: `${` begins a variable: "
            "${NAME} or ${NAME:-default}; for the text write $${"
        )

    def test_wrong_value_is_shown_as_written(self, write: Write) -> None:
        """An error shows the variable's name, not what it holds."""
        write("server:\n  port: ${PORT}\n")

        assert ["headrace.yaml:2:server.port: '${PORT}' must be a whole number"] == problems(
            {"PORT": "x"}
        )


class TestEnvironment:
    """``HEADRACE__SECTION__KEY``."""

    def test_list_entries(self, write: Write) -> None:
        """A number is an entry of a list; the one after the last adds an entry."""
        write("backends: [{url: http://a, serves: [x]}]")
        env = {
            "HEADRACE__BACKENDS__1__URL": "http://b",
            "HEADRACE__BACKENDS__1__SERVES": '{"y": "z"}',
            "HEADRACE__BACKENDS__0__API_KEY": "0123",
        }

        first, second = load(None, env).backends

        assert first.api_key is not None
        assert "0123" == first.api_key.get_secret_value()
        assert ("http://b", {"y": "z"}) == (second.url, second.serves)

    def test_many_list_entries(self, write: Write) -> None:
        """Entry 10 comes after entry 9, not after entry 1."""
        write("")
        names = [f"m{index}" for index in range(12)]
        env = {f"HEADRACE__MODELS__{index}__NAME": name for index, name in enumerate(names)}

        assert names == [model.name for model in load(None, env).models]

    def test_whole_sections_come_first(self, write: Write) -> None:
        """A section given as a whole adds to the file, and its parts win over it."""
        write("server: {host: a, drain_s: 1}")
        env = {"HEADRACE__SERVER__PORT": "2", "HEADRACE__SERVER": "{port: 1, host: b}"}

        server = load(None, env).server

        assert (2, "b", 1) == (server.port, server.host, server.drain_s)

    @pytest.mark.parametrize("text", ["", "null", "~"])
    def test_nothing(self, write: Write, text: str) -> None:
        """An empty variable is not set; null brings back the default."""
        write("engine: {threads: 3}")

        expected = 3 if text == "" else None

        assert expected == load(None, {"HEADRACE__ENGINE__THREADS": text}).engine.threads

    def test_other_variables(self, write: Write) -> None:
        """Variables that only look alike are not ours."""
        write("")

        assert Config() == load(None, {"HEADRACE_SERVER": "x", "HEADRACE": "x", "X__Y": "z"})

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("SERVER__PORT", "x", ": 'x' must be a whole number"),
            (
                "SERVER__PROT",
                "1",
                ": there is no such setting; did you mean HEADRACE__SERVER__PORT?",
            ),
            ("PORT", "1", ": there is no such setting; did you mean HEADRACE__SERVER__PORT?"),
            ("", "1", ": there is no such setting"),
            ("SERVER__X__Y", "1", ":server.x: there is no such setting; server has"),
            ("SERVER__PORT__X", "1", ":server.port: a mapping must be a whole number"),
            ("MODELS", "a", ": 'a' must be a list"),
            ("MODELS", "[{nam: a}]", ":models[0].name: is required"),
            ("MODELS", "[{name: a", ":1:10: is not valid YAML: expected ',' or '}'"),
            ("MODELS__0__CONTEXT_LENGTH", "9", ":models[0].name: is required"),
            ("MODELS__1__NAME", "a", ": leaves a gap; the next entry of models is number 0"),
            ("MODELS__X__NAME", "a", ":models: a mapping must be a list"),
        ],
    )
    def test_wrong(self, write: Write, name: str, text: str, sentence: str) -> None:
        """An error of a variable names the variable, and suggests variables."""
        write("")

        found = problems({f"HEADRACE__{name}": text})

        assert any(problem.startswith(f"HEADRACE__{name}{sentence}") for problem in found)

    def test_inside_of_something_else(self, write: Write) -> None:
        """A key cannot be set where the file has a list of names."""
        write("backends: [{url: http://a, serves: [x]}]")

        [problem] = problems({"HEADRACE__BACKENDS__0__SERVES__X": "y"})

        assert problem.startswith("HEADRACE__BACKENDS__0__SERVES__X: cannot be set, because")


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda word: word not in NULLS
)
paths = st.from_regex(r"[a-z./ ]{1,20}", fullmatch=True).map(str)
seconds = st.floats(0.001, 86_400)
failures = st.integers(500, 599)


keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).filter(
    lambda key: key not in NULLS
)


def section(**keys: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    names = draw(st.lists(words, unique=True, max_size=6))
    models = [
        {"name": name, "aliases": aliases}
        for name, *aliases in (names[index : index + 2] for index in range(0, len(names), 2))
    ]
    served = st.sampled_from(names[::2]) if models else words
    backends = [
        {
            "url": f"http://gpu:{port}",
            "serves": draw(st.dictionaries(served, words, min_size=1, max_size=3)),
            **draw(section(api_key=keys, tls_verify=st.booleans(), tls_ca=paths)),
        }
        for port in draw(st.lists(st.integers(1, 65_535), unique=True, max_size=3))
    ]
    return Config.model_validate(
        {
            "server": draw(section(host=words, port=st.integers(0, 65_535), drain_s=seconds)),
            "retries": draw(section(statuses=st.lists(failures), budget=st.floats(0, 1))),
            "models": models,
            "backends": backends,
            "engine": draw(section(name=words, model=paths, threads=st.integers(1, 99))),
            "media": draw(section(allowed_hosts=st.lists(words))),
            "logging": draw(section(format=st.sampled_from(["json", "console"]))),
        }
    )


@given(configurations())
def test_what_is_dumped_loads_back(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    """Any configuration, printed as YAML, reads back as the same configuration."""
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump.to_yaml(config, {}, reveal=True), encoding="utf-8")

    assert config == load(path, {})


@given(configurations())
def test_variables_equal_the_file(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    """Any configuration may come from variables alone."""
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.write_text("")
    env: dict[str, str] = {}
    spell(dump.plain(config, reveal=True), (), env)

    assert config == load(path, env)


def spell(value: object, keys: fields.Keys, env: dict[str, str]) -> None:
    """Every setting as a variable; what the file cannot say with text is said as YAML."""
    kind = fields.find(keys)
    if fields.is_section(kind) and isinstance(value, dict):
        for key, inner in value.items():
            spell(inner, (*keys, key), env)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            spell(inner, (*keys, index), env)
    elif isinstance(value, dict | list):
        env[fields.variable(keys)] = yaml.safe_dump(value, default_flow_style=True)
    elif value is not None:
        env[fields.variable(keys)] = str(value)
