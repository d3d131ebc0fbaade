"""`naru login` and `naru logout`: credentials in config.json, checked by the daemon."""

from __future__ import annotations

import sys

from naru.cli.credentials import Config, auth_key
from naru.cli.failures import CliError
from naru.cli.flags import Parser
from naru.cli.terminal import is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.main import Context

FLAGS = """
-p --password string = Password or access token
--password-stdin = Take the password from STDIN
-u --username string = User name
"""


def _ask(values: Values) -> tuple[str, str]:
    username, password = values["username"], values["password"]
    if values["password-stdin"]:
        if "password" in values.given:
            raise CliError("--password and --password-stdin are mutually exclusive")
        if not username:
            raise CliError("Must provide --username with --password-stdin")
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif "password" in values.given:
        print(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
            file=sys.stderr,
        )
    if not username or not password:
        if not is_terminal(0):
            raise CliError("Error: Cannot perform an interactive login from a non TTY device")
        if not username:
            username = input("Username: ").strip()
        if not username:
            raise CliError("Error: Non-null Username Required")
        import getpass

        password = getpass.getpass("Password: ")
    if not password:
        raise CliError("Error: Password Required")
    return username, password


def login(context: Context, values: Values, arguments: list[str]) -> None:
    key = auth_key(arguments[0] if arguments else "")
    config = Config(context.config_dir)
    username, password = _ask(values)
    if config.values.get("credsStore") or config.values.get("credHelpers"):
        raise CliError(
            "credential helpers are read but not written by this version of naru: "
            "log in with the helper's own tool"
        )
    answer = (
        context.client.post(
            "/auth", {"username": username, "password": password, "serveraddress": key}
        )
        or {}
    )
    config.store(key, username, password, answer.get("IdentityToken") or "")
    print(
        f"\nWARNING! Your credentials are stored unencrypted in '{config.path}'.\n"
        "Configure a credential helper to remove this warning.\n",
        file=sys.stderr,
    )
    print(answer.get("Status") or "Login Succeeded")


def logout(context: Context, values: Values, arguments: list[str]) -> None:
    shown = arguments[0] if arguments else auth_key("")
    config = Config(context.config_dir)
    if not config.erase(shown):
        print(f"Not logged in to {shown}")
        return
    print(f"Removing login credentials for {shown}")


COMMANDS = {
    "login": lambda path: (
        Parser(path, f"{path} [OPTIONS] [SERVER]", FLAGS, most=1, about="Log in to a registry"),
        login,
    ),
    "logout": lambda path: (
        Parser(path, f"{path} [SERVER]", "", most=1, about="Log out from a registry"),
        logout,
    ),
}
