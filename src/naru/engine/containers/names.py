"""Container names: what is allowed, and random ones for those who give none."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from naru.spec.errors import InvalidParameter

_ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(rf"/?{_ALLOWED}+")


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words(
    "able amber ample arctic balmy bold brave breezy bright brisk calm candid clear clever cosy "
    "crisp curious dapper daring deft dewy eager earnest easy elastic even fair fleet fond frank "
    "fresh gentle glad golden grand hardy hazel humble ivory jaunty jolly keen kind lively loyal "
    "lucid mellow merry mild mindful neat nimble noble open patient placid plucky polite prime "
    "proud quick quiet radiant rapid ready robust rosy rustic serene sharp silent silver simple "
    "sleek smooth snug sober solid spry steady still stout sunny supple swift tidy tranquil trim "
    "true upbeat valiant vivid warm wise witty zesty"
)

_SURNAMES = _words(
    "agnesi airy almeida ampere anning apgar archimedes avogadro babbage bardeen bell bernoulli "
    "berzelius bessemer biruni bohr boltzmann boole born bose boyle brahe brahmagupta braun "
    "bunsen cannon carson cauchy cavendish celsius chandrasekhar chang chatelet coulomb crick "
    "curie cuvier dalton darwin davy descartes dirac doppler earhart eddington edison einstein "
    "euclid euler faraday fermat fermi feynman fibonacci fleming fourier franklin fresnel galileo "
    "galois gauss germain gibbs goodall grothendieck halley hamilton hawking heisenberg henry "
    "herschel hertz hilbert hodgkin hooke hopper hubble humboldt huygens hypatia jang joule "
    "kelvin kepler khayyam kovalevskaya kowalska lagrange lamarr laplace lavoisier leavitt "
    "leibniz linnaeus lovelace lyell mach marconi maxwell mayer mcclintock meitner mendel "
    "mendeleev mirzakhani mitchell morse nash nernst newton nightingale nobel noether ohm "
    "oppenheimer ostrom pascal pasteur pauli payne perey planck poincare ptolemy ramanujan "
    "rayleigh riemann ritchie roentgen rubin rutherford sammet shannon shockley snell somerville "
    "stokes swan tesla thales thompson torricelli turing volta wallace watt weber wegener wiles "
    "wu yalow yonath yukawa zhang"
)


def check(name: str) -> str:
    """The name without its leading slash; `InvalidParameter` when it breaks Docker's rule."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(f"Invalid container name ({name}), only {_ALLOWED} are allowed")
    return name.removeprefix("/")


def generate(is_free: Callable[[str], bool], container_id: str) -> str:
    """A free adjective_surname; after a few collisions with a digit, at last the short id."""
    for attempt in range(8):
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_SURNAMES)}"
        if attempt > 2:
            name += str(secrets.randbelow(10))
        if is_free(name):
            return name
    return container_id[:12]
