"""The `lpu` command. Bad input is one line on standard error and exit code 2."""

from __future__ import annotations

import os
import sys

import typer

from compiler.errors import InputError, one_line
from rtl.config import ConfigError
from sim.commands.bench import bench_command
from sim.commands.check import check_command
from sim.commands.compile import compile_command
from sim.commands.demo import demo_command
from sim.commands.evaluate import eval_command
from sim.commands.generate import generate_command
from sim.commands.inspect import disasm_command, isa_command, verilog_command
from sim.commands.profile import profile_command
from sim.commands.quantise import quantise_command
from sim.commands.verify import verify_command
from sim.cycle import IllegalProgram
from sim.toolchain import BuildFailed, ToolMissing

app = typer.Typer(
    help="An open language processing unit: compile a model, run it on a simulated chip.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False)

COMMANDS = {
    "compile": compile_command, "generate": generate_command, "check": check_command, "verify": verify_command,
    "eval": eval_command, "quantise": quantise_command, "verilog": verilog_command, "disasm": disasm_command,
    "isa": isa_command, "bench": bench_command, "demo": demo_command, "profile": profile_command}
for name, command in COMMANDS.items():
    app.command(name)(command)


def _fail(error: Exception, code: int) -> None:
    sys.stderr.write(f"lpu: {one_line(str(error))}\n")
    sys.exit(code)


def main(failures: tuple[type[Exception], ...] = ()) -> None:
    """Run the command of the command line.

    failures: exceptions that are no mistake of ours either; each is one line and exit code 1.
    """
    try:
        app()
    except (InputError, ConfigError, ToolMissing) as error:
        _fail(error, 2)
    except IllegalProgram as error:  # of an image: our own programs are checked as they are compiled
        _fail(InputError(f"the image's program is illegal: {error}"), 2)
    except failures as error:
        _fail(error, 1)
    except BuildFailed as error:
        sys.stderr.write(f"lpu: {error}\n")
        sys.exit(1)
    except BrokenPipeError:  # `lpu disasm IMAGE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
