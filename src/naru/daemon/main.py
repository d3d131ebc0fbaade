"""`narud`, and `dockerd`, its alias with Docker's defaults: from a command line to a served API."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence

from naru import __version__
from naru.daemon import config as configuration
from naru.daemon import locks, logs, usage
from naru.daemon.config import Config, ConfigError
from naru.daemon.endpoints import EndpointError
from naru.daemon.flags import UsageError
from naru.daemon.options import DOCKERD, NARUD, Program

log = logging.getLogger(__name__)

_USAGE = 125  # dockerd's exit code for a command line that is wrong


def main() -> int:
    return run(NARUD, sys.argv[1:])


def dockerd() -> int:
    return run(DOCKERD, sys.argv[1:])


def run(program: Program, arguments: Sequence[str]) -> int:
    try:
        asked = configuration.command_line(arguments)
        if asked.action == "help":
            print(usage.text(program))
            return 0
        if asked.action == "version":
            print(f"{program.product} version {__version__}")
            return 0
        config = configuration.load(program, asked.given)
        configuration.check_hosts(config)
    except UsageError as error:
        print(f"{error}\nSee '{program.name} --help'.", file=sys.stderr)
        return _USAGE
    except (ConfigError, EndpointError) as error:
        print(error, file=sys.stderr)
        return 1
    if asked.action == "validate":
        print("configuration OK", file=sys.stderr)
        return 0
    return _serve(config, asked.given)


def _serve(config: Config, given: configuration.Given) -> int:
    logs.configure(level=config.log_level, form=config.log_format, raw=config.raw_logs)
    if os.geteuid() != 0:
        log.critical("%s needs to be started with root privileges", config.program.name)
        return 1
    _say_what_differs(config)
    try:
        with (
            locks.held(data_root=config.data_root, pidfile=config.pidfile),
            asyncio.Runner(loop_factory=_loop_factory()) as runner,
        ):
            runner.run(_daemon(config, given))
    except Exception as error:
        known = type(error).__module__.startswith("naru.") or isinstance(error, OSError)
        log.critical("failed to start daemon: %s", error, exc_info=not known)
        return 1
    return 0


async def _daemon(config: Config, given: configuration.Given) -> None:
    from naru.daemon import prelude

    begun = await prelude.begin(config)
    try:
        # Only now: the supervisor comes up while these are read.
        from naru.daemon import wiring
        from naru.daemon.notify import ServiceManager
        from naru.daemon.serving import Daemon

        daemon = Daemon(
            config,
            given=given,
            build=lambda config: wiring.build(config, begun),
            manager=ServiceManager(),
        )
        await daemon.run()
    except BaseException:
        await begun.abandon(config.exec_root)
        raise


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (the extra "fast"), else asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _say_what_differs(config: Config) -> None:
    if config.containerd:
        log.warning("--containerd=%s has no effect: no containerd is used", config.containerd)
    if not config.live_restore:
        log.warning("live-restore=false has no effect: containers always outlive the daemon")


if __name__ == "__main__":
    sys.exit(main())
