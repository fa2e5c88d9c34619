"""The scripts that were written by hand, by what they are about."""

from . import api, callbacks, delta, guests, history, people, protocol, rooms, served, signs, tokens, transports, uni, walk  # noqa: F401
