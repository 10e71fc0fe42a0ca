"""Names that say that a value is a secret, and what a message shows of settings."""

import pytest

from datasets_builders.secret_settings import is_secret, secrets_in, shown


@pytest.mark.parametrize(
    "name",
    [
        "JUDGE_API_KEY", "OPENAI_API_KEY", "APIKEY", "HF_TOKEN", "hub_token", "D2PO_SERVER_TOKEN", "AWS_SECRET_ACCESS_KEY",
        "MODPO_SECRET", "DB_PASSWORD", "password", "DB_PASSWD", "passphrase", "STEER_PAGE_AUTH", "api-key",
        "ssh_private_key", "GOOGLE_CREDENTIALS", "Authorization",
    ],
)  # fmt: skip
def test_secrets_by_name(name):
    assert is_secret(name)
    assert shown(name, "sk-123456") == "***" and list(secrets_in({name: "sk-123456"})) == ["sk-123456"]


@pytest.mark.parametrize(
    "name",
    ["MODPO_W", "max_tokens", "tokenizer", "eos_token", "pad_token", "MONKEY", "keyboard", "author", "BT_DELTA_TEMP", "num_tokens"],
)  # fmt: skip
def test_other_names_are_shown(name):
    assert not is_secret(name)
    assert shown(name, 0.5) == "0.5" and not list(secrets_in({name: "sk-123456"}))


def test_an_address_is_shown_without_its_password():
    assert shown("MODPO_MARGIN_ADAPTER", "http://me:secret@host/a") == "http://***@host/a"


def test_a_placeholder_hides_no_word():
    assert not list(secrets_in({"API_KEY": "none", "HF_TOKEN": ""}))
