"""Where the cycles of a token go: `tasks` names the pieces of its work, `bounds` says what forbade each to be earlier,
`idle` and `losses` account for every cycle of the matrix unit, `chain` follows what bounds the token. `profile` joins
them; `trace` and `watch` write what happens when, from the image and from the gateware."""

from sim.profile.profile import Profile, profile

__all__ = ["Profile", "profile"]
