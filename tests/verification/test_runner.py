"""The bench runner: a failure in the simulator must become a failure here, whatever its kind."""

import textwrap
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sim.toolchain import BuildFailed
from verification.runner import BenchFailed, run

BENCH = '''
import random
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from verification.runner import bench_parameters

@cocotb.test()
async def counts(dut):
    limit = bench_parameters().get("limit", 10)
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    dut.step.value = 0
    await RisingEdge(dut.clk)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    total = 0
    for _ in range(limit):
        await RisingEdge(dut.clk)
        assert int(dut.total.value) == total
        total = (total + int(dut.step.value)) % 256
        dut.step.value = random.randrange(256)
'''


class Counter(wiring.Component):
    """Adds ``step`` each cycle; ``bug`` loses the carry into the highest bit, as a seeded fault."""

    step: In(8)
    total: Out(8)

    def __init__(self, *, bug: bool = False):
        self.bug = bug
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        total = self.total + self.step
        if self.bug:
            total = (self.total[:7] + self.step[:7])[:7] | ((self.total ^ self.step) & 0x80)
        m.d.sync += self.total.eq(total)
        return m


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a bench of the text given, and returns its name for import."""

    def write(text: str, name: str = "bench_of_test") -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


def test_a_good_design_passes_and_reports_each_test(bench) -> None:
    (outcome,) = run(Counter(), bench(BENCH), parameters={"limit": 200})
    assert outcome.name == "bench_of_test.counts"
    assert 2000 <= outcome.sim_time_ns <= 2100


def test_a_seeded_bug_in_the_design_is_reported_with_the_assertion(bench) -> None:
    with pytest.raises(BenchFailed, match=r"(?s)bench_of_test\.counts: AssertionError: .*assert \d+ == \d+"):
        run(Counter(bug=True), bench(BENCH), parameters={"limit": 200})


def test_the_seed_decides_the_random_operands(bench, tmp_path: Path) -> None:
    name = bench("""
        import cocotb, os, pathlib, random
        @cocotb.test()
        async def draws(dut):
            pathlib.Path(os.environ["WHERE"]).write_text(str(random.getrandbits(64)))
    """)
    drawn: list[str] = []
    for seed in (5, 5, 6):
        run(Counter(), name, seed=seed, environment={"WHERE": str(tmp_path / "drawn")})
        drawn.append((tmp_path / "drawn").read_text())
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_the_chosen_test_case_runs(bench) -> None:
    name = bench("""
        import cocotb
        @cocotb.test()
        async def good(dut): pass
        @cocotb.test()
        async def bad(dut): assert False, "not to be run"
    """)
    assert [outcome.name for outcome in run(Counter(), name, testcase="good")] == ["bench_of_test.good"]
    with pytest.raises(BenchFailed, match="not to be run"):
        run(Counter(), name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import cocotb\n", "bench bench_of_test"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ("import cocotb, os\n@cocotb.test()\nasync def dies(dut): os._exit(3)\n", "ended with code 3"),
    ],
    ids=["no tests", "import error", "crash"],
)
def test_a_bench_that_cannot_report_has_failed(bench, text: str, complaint: str) -> None:
    with pytest.raises(BenchFailed, match=complaint):
        run(Counter(), bench(text), timeout_s=300)  # these end by themselves, however busy the machine is


def test_a_bench_that_hangs_has_failed(bench) -> None:
    name = bench("import cocotb, time\n@cocotb.test()\nasync def hangs(dut): time.sleep(60)\n")
    with pytest.raises(BenchFailed, match="had not ended after 3 s"):
        run(Counter(), name, timeout_s=3)


def test_verilog_text_runs_too_and_waves_are_written(bench, tmp_path: Path) -> None:
    text = "module gate(input a, output q); assign q = !a; endmodule"
    name = bench("""
        import cocotb
        from cocotb.triggers import Timer
        @cocotb.test()
        async def inverts(dut):
            for a in (0, 1):
                dut.a.value = a
                await Timer(1, unit="ns")
                assert dut.q.value == 1 - a
    """)
    waves = tmp_path / "waves" / "gate.vcd"
    run(text, name, top="gate", waves=waves)
    assert "$enddefinitions" in waves.read_text()


def test_a_design_that_does_not_build_says_so(bench) -> None:
    with pytest.raises(BuildFailed, match="verilating dut"):
        run("module other(input a endmodule", bench(BENCH))
