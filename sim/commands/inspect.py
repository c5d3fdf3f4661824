"""`lpu disasm`, `lpu isa`, `lpu verilog`: what the machine is and what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compiler.image_file import check_writable, load_image, write_atomically
from rtl.config import preset as find_preset
from rtl.encoding import decode, disassemble
from rtl.isa import QUEUES
from rtl.manual import manual
from sim.commands import common

Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; standard output.")]


def emit(text: str, output: Path | None) -> None:
    """A text to a file, or to standard output."""
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text.encode())


def disasm_command(
    image: Annotated[Path, typer.Argument(help="An image.")],
    output: Output = None,
    as_json: common.Json = False,
) -> None:
    """Disassemble an image's program."""
    loaded = load_image(image)
    lines = {queue.name: [disassemble(decode(loaded.config, queue, word)) for word in loaded.programs[queue.name]]
             for queue in QUEUES}
    if as_json:
        common.print_json({"preset": loaded.config.name, "programs": lines})
        return
    parts = [f"; {name}, {len(words)} words\n" + "".join(f"{number:4}  {line}\n" for number, line in enumerate(words))
             for name, words in lines.items()]
    emit("\n".join(parts), output)


def isa_command(output: Output = None, as_json: common.Json = False) -> None:
    """The instruction set manual."""
    if as_json:
        common.print_json({queue.name: {
            "doc": queue.doc,
            "fields": [{"name": item.name, "doc": item.doc, "signed": item.signed, "strided": item.strided,
                        "members": {m.name: m.value for m in item.enum or ()}} for item in queue.fields],
        } for queue in QUEUES})
        return
    text = manual()
    emit(text if text.endswith("\n") else text + "\n", output)


def verilog_command(
    preset: common.Preset = common.DEFAULT_PRESET,
    output: Output = None,
    as_json: common.Json = False,
) -> None:
    """The machine as Verilog."""
    config = find_preset(preset)
    if output is not None:
        check_writable(output)
    from rtl.verilog import generate  # Amaranth takes a moment to load, which the other commands need not wait for
    with common.progress(f"generating Verilog of {preset}"):
        text = generate(config)
    if as_json:
        if output is not None:
            emit(text, output)
        where = {"verilog": text} if output is None else {"output": str(output)}
        common.print_json({"preset": preset, "lines": text.count("\n"), "bytes": len(text.encode()), **where})
        return
    emit(text, output)
