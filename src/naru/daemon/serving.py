"""The life of a daemon on its event loop: bind, start, serve, reload, stop.

Stopping ends the API and the daemon. Containers run on: the supervisor keeps them, and the next
daemon takes them over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from naru.api.router import RouteTable
from naru.api.server import Server
from naru.daemon import config as configuration
from naru.daemon import listeners, logs, stacks
from naru.daemon.config import Config, ConfigError
from naru.daemon.flags import UsageError
from naru.daemon.notify import ServiceManager
from naru.kernel import descriptors

log = logging.getLogger(__name__)

_SIGNALS_TO_GIVE_UP = 3
_THREADS = 32
"""For mounts, unmounts, tars and hashes: waiting for the kernel most of the time, so more of them
than processors (asyncio's own number) may be needed at once.
"""


class App(Protocol):
    """What `daemon/wiring` builds."""

    router: RouteTable

    async def start(self) -> None:
        """Open the stores and take over what runs; then requests may come."""

    async def stop(self) -> None:
        """Finish what is begun and close; containers run on. No request is under way then.

        Also called after a `start` that failed half-way.
        """

    async def reload(self, config: Config) -> None:
        """Take up the reloadable options of `config`."""


Build = Callable[[Config], App]


class Daemon:
    def __init__(
        self,
        config: Config,
        *,
        given: Mapping[str, list[str]],
        build: Build,
        manager: ServiceManager,
    ) -> None:
        self._config = config
        self._given = given
        self._build = build
        self._manager = manager
        self._stop = asyncio.Event()
        self._stop_signals = 0
        self._reload: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until a signal (or `request_stop`) ends it; errors of the start are raised."""
        config = self._config
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="naru"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        descriptors.raise_limit()
        bound = listeners.bind(config)
        try:
            config.exec_root.mkdir(mode=0o711, parents=True, exist_ok=True)
            app = self._build(config)
            loop.add_signal_handler(signal.SIGHUP, self._start_reload, app)
            loop.add_signal_handler(signal.SIGUSR1, self._dump_stacks)
            await self._started(app)
            server = Server(router=app.router)
            try:
                for listener in bound:
                    await server.listen(listener.sock, tls=listener.tls)
                log.info("Daemon has completed initialization")
                for listener in bound:
                    log.info("API listen on %s", listener.name)
                self._manager.ready()
                await self._stop.wait()
            finally:
                self._manager.stopping()
                log.info("Processing signal: shutting down; containers run on")
                await server.close(grace=max(0, self._config.shutdown_timeout))
                if self._reload is not None:
                    await self._reload
                await app.stop()
        finally:
            for listener in bound:
                listener.remove()
        log.info("Daemon shutdown complete")

    def request_stop(self) -> None:
        self._stop_signals += 1
        self._stop.set()
        if self._stop_signals >= _SIGNALS_TO_GIVE_UP:
            log.error("Forcing shutdown after %d signals", self._stop_signals)
            os._exit(1)

    async def _started(self, app: App) -> None:
        try:
            await app.start()
        except BaseException:
            try:
                await app.stop()
            except Exception:
                log.exception("Closing what had been started failed")
            raise

    def _start_reload(self, app: App) -> None:
        if self._reload is None or self._reload.done():
            self._reload = asyncio.create_task(self._reloaded(app))

    async def _reloaded(self, app: App) -> None:
        self._manager.reloading()
        try:
            fresh = await asyncio.to_thread(configuration.reload, self._config, self._given)
            logs.set_level(fresh.log_level)
            self._config = fresh
            await app.reload(fresh)
            log.info("Reloaded configuration from %s", fresh.config_file)
        except (ConfigError, UsageError) as error:
            log.error("Error reconfiguring the daemon: %s", error)
        except Exception:
            log.exception("Error reconfiguring the daemon")
        finally:
            self._manager.ready()

    def _dump_stacks(self) -> None:
        log.info("Stacks of threads and tasks written to %s", stacks.dump(self._config.exec_root))
