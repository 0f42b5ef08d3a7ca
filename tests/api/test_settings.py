"""Settings: where they come from, which wins, and what is said of bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.access import token_file
from service.access.scopes import Scope
from service.access.tokens import Token, digest_of, new_secret
from service.api import settings_text
from service.api.settings import AgentsSettings, AuditSettings, ServerSettings, Settings
from service.api.settings_sources import Flag, SettingsError, load
from service.domain.errors import InvalidValueError

FIXTURES = Path(__file__).parent / "fixtures"
MINIMAL = FIXTURES / "good" / "minimal.toml"
PORT = ("server", "port")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No regulus.toml of a developer's own is found."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", sorted((FIXTURES / "good").glob("*.toml")), ids=lambda path: path.stem)
def test_a_good_file_is_read_and_shown(path: Path) -> None:
    shown = settings_text.effective(load(path, environment={}))

    assert "correct-horse" not in shown
    assert 'name = "mnist"' in shown


@pytest.mark.parametrize("path", sorted((FIXTURES / "bad").glob("*.toml")), ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_the_error_it_states(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# error: ")

    with pytest.raises(SettingsError) as caught:
        load(path, environment={})

    assert str(caught.value).startswith(expected.replace("FILE", str(path)))
    assert "hunter2" not in str(caught.value)


def test_flags_win_over_the_environment_that_over_the_file_that_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[server]\nport = 2\nhost = 'localhost'\n" + MINIMAL.read_text())
    variables = {"REGULUS_SERVER__PORT": "3"}

    assert load(MINIMAL, environment={}).server.port == 8510
    assert load(file, environment={}).server.port == 2
    assert load(file, environment=variables).server.port == 3
    everything = load(file, [Flag("--port", PORT, 4)], variables)
    assert everything.server.port == 4
    assert everything.server.host == "localhost"


def test_a_file_in_the_working_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "regulus.toml").write_text("[server]\nport = 7\n" + MINIMAL.read_text())

    assert load(environment={}).server.port == 7


def test_models_are_json_in_the_environment() -> None:
    variables = {
        "REGULUS_MODELS": '[{"name": "a", "agent_url": "http://n", "metrics_url": "http://n/m", '
        '"slo": {"bound_seconds": 0.1}}]'
    }

    assert [model.name for model in load(environment=variables).models] == ["a"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"REGULUS_SERVE__PORT": "1"}, "environment variable REGULUS_SERVE__PORT: 'serve' is not a setting here"),
        (
            {"REGULUS_SERVER__PROT": "1"},
            "environment variable REGULUS_SERVER__PROT: server.prot: 'prot' is not a setting here; did you mean port?",
        ),
        ({"REGULUS_SERVER__PORT": "x"}, "environment variable REGULUS_SERVER__PORT: server.port: input should be"),
        ({"REGULUS_MODELS": "mnist"}, "environment variable REGULUS_MODELS: sections and lists are written as JSON"),
        (
            {"REGULUS_LOOP__MAX_WINDOW_SECONDS": "1"},
            "environment variable REGULUS_LOOP__MAX_WINDOW_SECONDS: loop: ",
        ),
    ],
)
def test_an_error_in_the_environment_names_the_variable(variables: dict[str, str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(MINIMAL, environment=variables)

    assert str(caught.value).startswith(expected)


def test_variables_of_the_commands_and_of_kubernetes_services_are_no_settings() -> None:
    variables = {
        "REGULUS_URL": "http://127.0.0.1:1",
        "REGULUS_TOKEN": "abc",
        "REGULUS_PORT": "tcp://10.0.0.1:8510",
        "REGULUS_PORT_8510_TCP_ADDR": "10.0.0.1",
        "REGULUS_SERVICE_HOST": "10.0.0.1",
    }

    assert load(MINIMAL, environment=variables) == load(MINIMAL, environment={})


def test_an_error_of_a_flag_names_the_flag() -> None:
    with pytest.raises(SettingsError, match=r"^--port: server\.port: input should be less than or equal to 65535"):
        load(MINIMAL, [Flag("--port", PORT, 99_999)], {})


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[server]\nport = -1\n[log]\nlevel = 'x'\n" + MINIMAL.read_text())

    with pytest.raises(SettingsError) as caught:
        load(file, environment={})

    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", environment={})


def test_the_example_file_can_be_used_and_holds_every_default(tmp_path: Path) -> None:
    text = settings_text.example_file()
    as_it_is = tmp_path / "example.toml"
    as_it_is.write_text(text)
    uncommented = tmp_path / "uncommented.toml"
    settings = [line.removeprefix("# ") for line in text.splitlines() if " = " in line or line.startswith("[")]
    # What is unset has an example in place of a default.
    sections = (ServerSettings, AuditSettings, AgentsSettings)
    unset = {name for cls in sections for name, field in cls.model_fields.items() if field.default is None}
    uncommented.write_text("\n".join(line for line in settings if line.partition(" = ")[0] not in unset))

    assert load(as_it_is, environment={}) == load(uncommented, environment={})


def test_effective_settings_read_back_as_the_same(tmp_path: Path) -> None:
    settings = load(FIXTURES / "good" / "minimal.toml", environment={})
    file = tmp_path / "effective.toml"
    file.write_text(settings_text.effective(settings))

    assert load(file, environment={}) == settings


def test_passwords_in_urls_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("[store]\nurl = 'postgresql+psycopg://regulus:hunter2@db/regulus'\n" + MINIMAL.read_text())

    shown = settings_text.effective(load(file, environment={}))

    assert "hunter2" not in shown
    assert "postgresql+psycopg://regulus:***@db/regulus" in shown


def _with_token_file(path: Path) -> Settings:
    return load(MINIMAL, [Flag("--x", ("server", "auth_token_file"), str(path))], {})


def _names(settings: Settings, secret: str) -> str | None:
    source = settings.server.tokens()
    found = source.current().find(secret, now=0.0) if source is not None else None
    return found.name if found is not None else None


def test_a_token_is_read_from_its_file_without_the_newline(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("correct-horse-battery-staple\n")

    assert _names(_with_token_file(file), "correct-horse-battery-staple") == "default"


def test_a_former_single_token_goes_on_beside_a_file_of_new_ones(tmp_path: Path) -> None:
    secret = new_secret()
    file = tmp_path / "tokens.json"
    token_file.change(file, lambda tokens: [*tokens, Token("ci", Scope.READ, digest_of(secret), created_at=0.0)])
    variables = {
        "REGULUS_SERVER__AUTH_TOKEN": "correct-horse-battery-staple",
        "REGULUS_SERVER__TOKENS_FILE": str(file),
        "REGULUS_SERVER__HOST": "0.0.0.0",  # noqa: S104 — that it may, with tokens
    }

    settings = load(MINIMAL, environment=variables)

    assert (_names(settings, secret), _names(settings, "correct-horse-battery-staple")) == ("ci", "default")
    assert _names(settings, "something-else-altogether") is None


@pytest.mark.parametrize("content", [None, "short\n", "with spaces in between, and long", "{}", '{"version": 2}'])
def test_a_token_file_that_holds_no_token_is_refused_without_showing_it(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)

    with pytest.raises(InvalidValueError, match=r"server\.auth_token_file") as caught:
        _with_token_file(file).server.tokens()

    assert content is None or content[0] == "{" or content.strip() not in str(caught.value)
