"""The host link: the core's two byte streams, carried over a serial line that may damage, lose or repeat bytes."""
