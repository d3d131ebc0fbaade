"""The verbs on images, and their routes."""

from __future__ import annotations

from naru import __version__
from naru.api.router import RouteTable
from naru.api.routes.commit import CommitRoutes
from naru.api.routes.image_transfers import ImageTransferRoutes
from naru.api.routes.images import ImageRoutes
from naru.api.routes.registry import RegistryRoutes
from naru.daemon.assembly.containers import ContainerParts
from naru.daemon.assembly.foundation import Foundation
from naru.engine.images.commit import Committer
from naru.engine.images.imports import Importer
from naru.engine.images.inquiries import Inquiries
from naru.engine.images.layer_blobs import LayerBlobs
from naru.engine.images.listing import Listing
from naru.engine.images.load import Loader
from naru.engine.images.pull import Puller
from naru.engine.images.push import Pusher
from naru.engine.images.removal import Removal
from naru.engine.images.save import Saver
from naru.registry.transport import Transport


def image_routes(
    router: RouteTable, base: Foundation, parts: ContainerParts, transport: Transport
) -> Listing:
    """-> how images are listed, which the system's part needs too."""
    config, library, tasks = base.config, base.library, base.tasks
    blobs = LayerBlobs(library=library, drop=config.layer_blobs == "drop")
    listing = Listing(library=library)
    ImageTransferRoutes(
        puller=Puller(
            library=library,
            transport=transport,
            tasks=tasks,
            blobs=blobs,
            at_once=config.max_concurrent_downloads,
        ),
        pusher=Pusher(
            library=library,
            transport=transport,
            tasks=tasks,
            blobs=blobs,
            at_once=config.max_concurrent_uploads,
        ),
        importer=Importer(library=library, transport=transport, version=__version__),
        loader=Loader(library=library),
        saver=Saver(library=library),
    ).register(router)
    RegistryRoutes(inquiries=Inquiries(transport=transport)).register(router)
    ImageRoutes(library=library, listing=listing, removal=Removal(library=library)).register(router)
    committer = Committer(
        library=library, containers=base.containers, pauses=parts.pause, version=__version__
    )
    CommitRoutes(committer=committer).register(router)
    return listing
