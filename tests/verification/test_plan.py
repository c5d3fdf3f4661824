"""The test plan: every test it names exists, every test file and field of an instruction is in it, and red is red."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from compiler.errors import InputError
from verification.plan import ROOT, Feature, all_points, expand, join, load_plan, main, matches, read_results

FEATURES = load_plan()
FILES = sorted(str(path.relative_to(ROOT)) for folder in ("tests", "verification")
               for path in (ROOT / folder).rglob("test_*.py"))


def functions(file: str) -> set[str]:
    return {node.name for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_is_named_exists() -> None:
    for feature in FEATURES:
        assert feature.tests, feature.name
        for test in feature.tests:
            file, _, function = test.partition("::")
            assert file in FILES, test
            assert not function or function in functions(file), test


def test_every_test_file_belongs_to_a_feature() -> None:
    assert {test.partition("::")[0] for feature in FEATURES for test in feature.tests} == set(FILES)


def test_every_field_of_an_instruction_is_a_point_of_a_feature() -> None:
    assert {point for feature in FEATURES for point in expand(feature.points)} == set(all_points())


def test_names_are_not_repeated() -> None:
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)


def test_a_point_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"'vector\.nothing' is no field"):
        expand(["vector.nothing"])


@pytest.mark.parametrize(("test", "case", "belongs"), [
    ("tests/a.py", "tests/a.py::test_one[x]", True), ("tests/a.py::test_one", "tests/a.py::test_one", True),
    ("tests/a.py::test_one", "tests/a.py::test_one[x::y-[1]]", True),
    ("tests/a.py::test_one", "tests/a.py::test_one_more", False), ("tests/a.py", "tests/a.pyx::test_one", False)])
def test_which_cases_are_whose(test: str, case: str, belongs: bool) -> None:
    assert matches(test, case) == belongs


RESULTS = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_good[1]"/><testcase classname="tests.a" name="test_good[2]"/>
<testcase classname="tests.a" name="test_half[1]"/>
<testcase classname="tests.a" name="test_half[2]"><skipped message="no model"/></testcase>
<testcase classname="tests.a" name="test_none"><skipped message="no model"/></testcase>
<testcase classname="tests.a" name="test_bad"><failure message="1 is not 2"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(("tests", "reached", "state", "passed"), [
    (["tests/a.py::test_good"], {"matrix.op=RUN": 1}, "passed", 2),
    (["tests/a.py::test_good"], {}, "partly", 2),
    (["tests/a.py::test_half"], None, "partly", 1),
    (["tests/a.py::test_none"], None, "missing", 0),
    (["tests/a.py::test_gone", "tests/a.py::test_good"], None, "missing", 2),
    (["tests/a.py"], None, "failed", 3)])
def test_a_feature_is_green_only_if_all_its_tests_passed(tmp_path: Path, tests: list[str],
                                                         reached: dict[str, int] | None, state: str,
                                                         passed: int) -> None:
    (tmp_path / "results.xml").write_text(RESULTS, encoding="utf-8")
    feature = Feature(area="a", name="b", intent="c", tests=tuple(tests), points=("matrix.op=RUN",))
    (found,) = join([feature], read_results([tmp_path / "results.xml"]), reached)
    assert (found.state, found.passed) == (state, passed)
    assert found.unreached == (["matrix.op=RUN"] if reached == {} else [])


def test_the_command_is_red_where_a_test_did_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, coverage = tmp_path / "results.xml", tmp_path / "coverage.json"
    cases = "".join(f'<testcase classname="{file[:-3].replace("/", ".")}" name="{name}"/>'
                    for file in FILES for name in functions(file))
    path.write_text(f"<testsuite>{cases}</testsuite>", encoding="utf-8")
    coverage.write_text(json.dumps({"points": dict.fromkeys(all_points(), 1)}), encoding="utf-8")
    assert main(["--results", str(path), "--coverage", str(coverage)]) == 0
    assert "0 red" in capsys.readouterr().out
    coverage.write_text(json.dumps({"points": dict.fromkeys(all_points()[1:], 1)}), encoding="utf-8")
    assert main(["--results", str(path), "--coverage", str(coverage)]) == 1
    assert f"not reached: {all_points()[0]}" in capsys.readouterr().out
    path.write_text(f"<testsuite>{cases.replace('test_matrix_products', 'test_other')}</testsuite>".replace(
        'tests.rtl.test_scalar"', 'tests.rtl.test_other"'), encoding="utf-8")
    assert main(["--results", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["feature"]["name"] for one in found["features"] if one["state"] == "missing"] == ["scalar unit"]


@pytest.mark.parametrize("text", ["", "<html>", "{"])
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.xml").write_text(text, encoding="utf-8")
    assert main(["--results", str(tmp_path / "results.xml")]) == 2
    assert capsys.readouterr().err.startswith("plan: ")
