"""`naru`: finds the command, imports that one only, and runs it with Docker's conventions."""

from __future__ import annotations

import os
import sys

from naru.cli.failures import CliError, Quit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from naru.cli.client import Client
    from naru.cli.flags import Parser, Values

VERSION = "0.1.0"

# command -> module in naru.cli.commands: "GROUP NAME" or "NAME"; the module's COMMANDS maps the
# same key to what runs.
_CONTAINER = {
    "attach": "attach", "commit": "image_make", "cp": "copy", "create": "run", "diff": "details",
    "exec": "exec", "export": "archive", "inspect": "inspect", "kill": "verbs", "logs": "logs",
    "ls": "ps", "pause": "verbs", "port": "details", "prune": "prune", "rename": "verbs",
    "restart": "verbs", "rm": "verbs", "run": "run", "start": "start", "stats": "stats",
    "stop": "verbs", "top": "details", "unpause": "verbs", "update": "update", "wait": "verbs",
}  # fmt: skip
_IMAGE = {
    "history": "history", "import": "image_make", "inspect": "inspect", "load": "archive",
    "ls": "images", "prune": "prune", "pull": "transfer", "push": "transfer", "rm": "image_remove",
    "save": "archive", "tag": "image_make",
}  # fmt: skip
_GROUPS: dict[str, dict[str, str]] = {
    "container": _CONTAINER,
    "image": _IMAGE,
    "manifest": {
        "annotate": "manifest", "create": "manifest", "inspect": "manifest", "push": "manifest",
        "rm": "manifest",
    },
    "volume": {
        "create": "volume", "inspect": "inspect", "ls": "volume", "prune": "prune", "rm": "volume",
    },
    "network": {
        "connect": "network", "create": "network", "disconnect": "network", "inspect": "inspect",
        "ls": "network", "prune": "prune", "rm": "network",
    },
    "storage": {"bench": "storage", "inspect": "storage", "migrate": "storage"},
    "system": {"check": "check", "df": "df", "events": "events", "info": "info", "prune": "prune"},
}  # fmt: skip
_TITLES = {
    "manifest": "manifests, and the lists that give the images of several platforms one name",
    "storage": "storage drivers",
    "system": "the engine",
}
_SAYING_COMMAND = ("manifest", "volume")
"""Groups whose usage docker ends with COMMAND where it tells of an unknown one."""
_ALIASES = {"list": "ls", "remove": "rm", "ps": "ls"}
_TOP: dict[str, tuple[str, str]] = {
    **{name: ("container", name) for name in _CONTAINER if name not in ("ls", "prune", "inspect")},
    "ps": ("container", "ls"),
    "images": ("image", "ls"),
    "rmi": ("image", "rm"),
    **{
        name: ("image", name)
        for name in ("history", "import", "load", "pull", "push", "save", "tag")
    },
    "events": ("system", "events"),
    "info": ("system", "info"),
}
_ALONE = {
    "inspect": "inspect", "login": "login", "logout": "login", "search": "search",
    "version": "version",
}  # fmt: skip
_REFUSED = ("build", "buildx", "compose", "swarm", "service", "stack", "node", "secret", "config",
            "plugin", "trust", "checkpoint", "context", "builder")  # fmt: skip

_GLOBAL = """
   --config string = Location of client config files
-c --context string = Name of the context to use (not supported)
-D --debug = Enable debug mode
-H --host list = Daemon socket to connect to
-l --log-level string:info = Logging level of the client
   --tls = Use TLS; implied by --tlsverify
   --tlscacert string = Trust certificates signed only by this CA
   --tlscert string = TLS certificate file
   --tlskey string = TLS key file
   --tlsverify = Use TLS and verify the daemon
-v --version = Print version information and quit
"""


class Context:
    """What a command gets: the client, made at first use, and the way it was called."""

    def __init__(self, options: Values | None, path: str) -> None:
        self._options = options
        self.path = path
        self._client: Client | None = None

    def option(self, name: str) -> Any:
        return self._options.get(name) if self._options is not None else None

    @property
    def config_dir(self) -> str:
        return str(
            self.option("config")
            or os.environ.get("DOCKER_CONFIG")
            or os.path.join(os.environ.get("HOME", "/root"), ".docker")
        )

    @property
    def client(self) -> Client:
        if self._client is None:
            from naru.cli.client import Client, Tls, normalise_host

            environ = os.environ
            hosts = self.option("host") or []
            if len(hosts) > 1:
                raise CliError(
                    "Failed to initialize: unable to resolve naru endpoint: Specify only one -H"
                )
            host = hosts[0] if hosts else environ.get("NARU_HOST") or environ.get("DOCKER_HOST", "")
            verify = self.option("tlsverify")
            if verify is None:
                verify = bool(environ.get("DOCKER_TLS_VERIFY"))
            tls = None
            if verify or self.option("tls") or environ.get("DOCKER_TLS"):
                home = environ.get("DOCKER_CERT_PATH") or self.config_dir
                tls = Tls(
                    verify=verify,
                    ca=self.option("tlscacert") or os.path.join(home, "ca.pem"),
                    cert=self.option("tlscert") or os.path.join(home, "cert.pem"),
                    key=self.option("tlskey") or os.path.join(home, "key.pem"),
                )
            host = normalise_host(host, tls=tls is not None)
            self._client = Client(host, tls, environ.get("DOCKER_API_VERSION") or None)
        return self._client

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; the console script's entry point. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(arguments)
    except Quit as quit_:
        status = quit_.status
    except CliError as error:
        _flush()
        print(error.message, file=sys.stderr)
        status = error.status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining at its own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    status = status if _flush() else 1
    if argv is None:
        # As a program: nothing is left to do that the kernel does not do faster than the
        # interpreter's own teardown.
        sys.stderr.flush()
        os._exit(status)
    return status


def _flush() -> bool:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return False
    return True


def _dispatch(argv: list[str]) -> int:
    options = None
    if argv and argv[0].startswith("-"):
        from naru.cli.flags import HelpWanted, Parser

        parser = Parser("naru", "naru [OPTIONS] COMMAND [ARG...]", _GLOBAL, interspersed=False)
        try:
            options, argv = parser.parse(argv)
        except HelpWanted:
            return _help(parser)
        if options["version"]:
            print(f"Naru version {VERSION}")
            return 0
        if options["context"] not in ("", "default"):
            raise CliError("naru has no contexts: use --host, NARU_HOST or DOCKER_HOST")
        if options["log-level"] not in ("debug", "info", "warn", "error", "fatal"):
            raise CliError(f"Unable to parse logging level: {options['log-level']}")
    if not argv:
        return _help()
    word, *rest = argv
    if word == "help":
        return _dispatch([*rest, "--help"]) if rest else _help()
    if word in _GROUPS:
        return _group(word, rest, options)
    if word in _TOP:
        group, name = _TOP[word]
        return _run(_GROUPS[group][name], f"{group} {name}", f"naru {word}", rest, options)
    if word in _ALONE:
        return _run(_ALONE[word], word, f"naru {word}", rest, options)
    if word in _REFUSED:
        raise CliError(f"naru: '{word}' is not supported by this version of naru")
    raise CliError(f"naru: unknown command: naru {word}\n\nRun 'naru --help' for more information")


def _group(group: str, argv: list[str], options: Values | None) -> int:
    commands = _GROUPS[group]
    if not argv or argv[0] in ("--help", "-h"):
        out = sys.stdout if argv else sys.stderr
        title = _TITLES.get(group, f"{group}s")
        print(f"Usage:  naru {group} COMMAND\n\nManage {title}\n\nCommands:", file=out)
        for name, module in sorted(commands.items()):
            print(f"  {name:<11} {_parser(module, f'{group} {name}').about}", file=out)
        print(f"\nRun 'naru {group} COMMAND --help' for more information on a command.", file=out)
        return 0
    word, *rest = argv
    name = word if word in commands else _ALIASES.get(word, word)
    if name not in commands:
        usage = f"naru {group} COMMAND" if group in _SAYING_COMMAND else f"naru {group}"
        raise CliError(
            f"naru: unknown command: naru {group} {word}\n\nUsage:  {usage}\n\n"
            f"Run 'naru {group} --help' for more information"
        )
    return _run(commands[name], f"{group} {name}", f"naru {group} {word}", rest, options)


def _parser(module: str, key: str) -> Parser:
    loaded = __import__(f"naru.cli.commands.{module}", fromlist=["COMMANDS"])
    parser: Parser = loaded.COMMANDS[key](f"naru {key}")[0]
    return parser


def _run(module: str, key: str, path: str, argv: list[str], options: Values | None) -> int:
    from naru.cli.flags import HelpWanted

    loaded = __import__(f"naru.cli.commands.{module}", fromlist=["COMMANDS"])
    parser, run = loaded.COMMANDS[key](path)
    try:
        values, arguments = parser.parse(argv)
    except HelpWanted:
        print(parser.help(), end="")
        return 0
    status = run(Context(options, path), values, arguments)
    return status or 0


def _help(parser: Parser | None = None) -> int:
    print("Usage:  naru [OPTIONS] COMMAND\n\nA client of the Naru container engine\n")
    print("Commands:")
    for name in sorted({*_TOP, *_ALONE}):
        print(f"  {name}")
    print("\nManagement commands:\n" + "\n".join(f"  {name}" for name in sorted(_GROUPS)))
    if parser is None:
        from naru.cli.flags import Parser

        parser = Parser("naru", "", _GLOBAL)
    print("\n" + parser.help().partition("\n\n\n")[2])
    print("Run 'naru COMMAND --help' for more information on a command.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
