"""Parts of the Engine API that Naru does not do: each says so by name, or truly answers "none".

Docker's commands ask for some of them in passing: `system prune` prunes the build cache, `inspect`
looks among plugins. "page not found" would make these fail, or leave the user guessing.
"""

from __future__ import annotations

from naru.api.messages import Handler, Request, Response, Router
from naru.spec.errors import NotFound, Unavailable, Unsupported

_ANY = ("GET", "POST", "DELETE")
_NO_MANAGER = (  # docker's own beginning: clients look for it
    "This node is not a swarm manager. Swarm mode is not supported by this engine."
)


class AbsentRoutes:
    def register(self, router: Router) -> None:
        router.add("POST", "/build", _refusing("docker build is"))
        router.add("POST", "/session", _refusing("docker build with BuildKit is"))
        router.add("POST", "/grpc", _refusing("docker build with BuildKit is"))
        router.add("POST", "/build/prune", self.prune_build_cache)
        router.add("GET", "/plugins", self.plugins)
        router.add("GET", "/plugins/{name:.+}/json", self.plugin)
        for method in _ANY:
            router.add(method, "/plugins/{name:.+}", _refusing("plugins are"))
            router.add(method, "/containers/{id}/checkpoints", _refusing("checkpoint is"))
            router.add(method, "/containers/{id}/checkpoints/{name}", _refusing("checkpoint is"))
        router.add("POST", "/swarm/init", _refusing("swarm mode is"))
        router.add("POST", "/swarm/join", _refusing("swarm mode is"))
        router.add("POST", "/swarm/leave", self.leave_swarm)
        for method in _ANY:
            for objects in ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs"):
                router.add(method, objects, self.manage_swarm)
                router.add(method, f"{objects}/{{rest:.+}}", self.manage_swarm)

    async def prune_build_cache(self, request: Request) -> Response:
        """There is none, so nothing of it is left."""
        return Response({"CachesDeleted": [], "SpaceReclaimed": 0})

    async def plugins(self, request: Request) -> Response:
        return Response([])

    async def plugin(self, request: Request) -> Response:
        raise NotFound(f'plugin "{request.params["name"]}" not found')

    async def leave_swarm(self, request: Request) -> Response:
        raise Unavailable("This node is not part of a swarm")

    async def manage_swarm(self, request: Request) -> Response:
        raise Unavailable(_NO_MANAGER)


def _refusing(what: str) -> Handler:
    async def refuse(request: Request) -> Response:
        raise Unsupported(f"{what} not supported by this engine")

    return refuse
