"""From an image to what the gateware's memories hold when the FPGA is configured."""

from __future__ import annotations

from compiler.errors import InputError
from compiler.image import Image
from rtl.contents import Contents
from rtl.protocol import Space, word_bytes
from sim.driver import memory_writes


def image_contents(image: Image) -> Contents:
    """The words that a host would write to load the image. Raises InputError for a machine whose banks are external."""
    if image.config.external_banks:
        raise InputError(f"the banks of {image.config.name} are no block RAM; nothing can be baked into them")
    words: dict[Space, list[int]] = {}
    for write in memory_writes(image, skip_zeros=False):
        size = word_bytes(image.config, write.space)
        words[write.space] = [
            int.from_bytes(write.data[start:start + size], "little") for start in range(0, len(write.data), size)]
    return Contents(words=words)
