"""Reading nextpnr's report: the one here was recorded from a blinker of ours, and shortened."""

from typing import Any

import pytest

from fpga.families.gowin import GOWIN
from fpga.families.ice40 import ICE40
from fpga.report import read_critical_path, read_fmax, read_usage


def end(cell: str, port: str) -> dict[str, Any]:
    return {"cell": cell, "loc": [5, 9], "port": port}


RECORDED: dict[str, Any] = {
    "critical_paths": [
        {"from": "async", "to": "posedge clk", "path": [
            {"delay": 9.5, "from": end("rx$sb_io", "D_IN_0"), "net": "rx", "to": end("tx", "I0"), "type": "routing"}]},
        {"from": "posedge clk", "to": "posedge clk", "path": [
            {"delay": 1.391, "from": end("n_LC", "O"), "to": end("n_LC", "O"), "type": "clk-to-q"},
            {"delay": 1.763, "from": end("n_LC", "O"), "net": "n[0]", "to": end("n_2_LC", "I2"), "type": "routing"},
            {"delay": 0.609, "from": end("n_2_LC", "I2"), "to": end("n_2_LC", "COUT"), "type": "logic"},
            {"delay": 0.274, "from": end("n_2_LC", "COUT"), "net": "c", "to": end("led_LC", "I3"), "type": "routing"},
            {"delay": 0.873, "from": end("led_LC", "I3"), "to": end("led_LC", "I3"), "type": "setup"}]},
    ],
    "fmax": {"clk": {"achieved": 80.17, "constraint": 24.0}},
    "utilization": {
        "ICESTORM_LC": {"available": 5280, "used": 29}, "ICESTORM_DSP": {"available": 8, "used": 3},
        "ICESTORM_RAM": {"available": 30, "used": 2}, "ICESTORM_SPRAM": {"available": 4, "used": 4}},
}


def test_fmax_is_that_of_the_slowest_clock() -> None:
    assert read_fmax(RECORDED) == ("clk", 80.17)
    assert read_fmax({"fmax": {"a": {"achieved": 90.0}, "b": {"achieved": 30.0}}}) == ("b", 30.0)


def test_a_design_without_a_clock_is_an_error() -> None:
    with pytest.raises(ValueError, match="no clock"):
        read_fmax({"fmax": {}})


def test_the_critical_path_is_between_registers_of_the_clock() -> None:
    path = read_critical_path(RECORDED, "clk")
    assert path is not None
    assert (path.start, path.end) == ("n_LC.O", "led_LC.I3")
    assert (path.logic_ns, path.routing_ns) == (2.87, 2.04)
    assert path.ns == pytest.approx(4.91)
    assert path.hops == ((3.15, "n_2_LC.I2", "n[0]"), (4.04, "led_LC.I3", "c"))


def test_another_clock_has_no_path() -> None:
    assert read_critical_path(RECORDED, "other") is None


def test_usage_is_counted_in_the_vendors_units() -> None:
    assert read_usage(RECORDED, ICE40) == {"lut": 29, "dsp": 3, "bram": 2, "spram": 4}
    used = {"LUT4": 23, "ALU": 5, "DFF": 7, "MULT9X9": 3, "MULT18X18": 2, "BSRAM": 6, "RAM16SDP4": 1}
    report = {"utilization": {name: {"used": count, "available": 99} for name, count in used.items()}}
    # Two 9x9 share a DSP, so three take two; a RAM cell takes the place of four LUTs.
    assert read_usage(report, GOWIN) == {"lut": 23, "ff": 7, "dsp": 4, "bram": 6, "lut_ram": 1}
