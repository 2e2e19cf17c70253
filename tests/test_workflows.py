"""The workflows and hooks that run elsewhere: their commands, options, extras and files exist here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from diversity_guidance.cli import COMMANDS
from project.tree import ROOT, pyproject
from support.missing import program

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
FROM_INSTALLED = {"comfy": "comfy-cli"}
"""Programs that a step may call after another has installed them, and what brings them."""


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key "on" as true.
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in content.items()}


def jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{path.stem}-{name}") for path in WORKFLOWS for name, job in load(path)["jobs"].items()
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_says_when_it_runs_and_may_only_read(path: Path) -> None:
    content = load(path)
    assert content["name"] and content["on"] and content["jobs"]
    assert content["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", jobs())
def test_a_job_can_be_carried_out(job: dict[str, Any]) -> None:
    if "uses" in job:
        assert (ROOT / job["uses"]).is_file()
        return
    assert job["runs-on"] and job["timeout-minutes"] and job["name"]
    checked_out = {step.get("with", {}).get("path", ".") for step in job["steps"] if "checkout" in step.get("uses", "")}
    installed: set[str] = set()
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), (
                f"{step['uses']} is not pinned by its major version"
            )
        else:
            assert step.get("working-directory", ".") in checked_out
            assert "${{" not in step["run"], (
                "values go through the environment, where a shell does not read them as code"
            )
            for line in step["run"].splitlines():
                for command in line.split("&&"):
                    check_command(shlex.split(command), installed)


def check_command(words: list[str], installed: set[str]) -> None:
    """What a command names exists: its program, files, extras, markers and subcommands."""
    match words:
        case ["cd", folder]:
            assert folder.startswith("$")
        case ["python", "-m", "pip", "install", *what]:
            for word in what:
                if extra := re.fullmatch(r"\.\[(.+)\]", word):
                    assert extra.group(1) in pyproject()["project"]["optional-dependencies"]
                elif word != "-e":
                    installed.add(word)
        case ["python", "-m", "pytest", *options]:
            check_pytest(options)
        case [".ci/run", *options]:
            assert os.access(ROOT / ".ci" / "run", os.X_OK)
            check_pytest(options)
        case ["python", script, *_]:
            assert (ROOT / script).is_file()
        case ["diversity-guidance", command, *_]:
            assert "diversity-guidance" in pyproject()["project"]["scripts"]
            assert command in COMMANDS
        case [name, *_]:
            assert FROM_INSTALLED.get(name) in installed, f"{name} is not installed"


def check_pytest(options: list[str]) -> None:
    """Every option names tests or markers that exist."""
    markers = {marker.split(":")[0] for marker in pyproject()["tool"]["pytest"]["ini_options"]["markers"]}
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--ignore":
            assert (ROOT / value).is_dir()
        elif option == "-m":
            assert set(re.findall(r"\w+", value)) - {"not", "and", "or"} <= markers
        else:
            assert option == "-k"
            assert list((ROOT / "tests").rglob(f"*{value}*.py")), f"no test is called {value}"


def test_the_suite_runs_on_every_system_and_python_that_are_promised() -> None:
    matrix = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]["library"]["strategy"]["matrix"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "windows", "macos"}
    assert matrix["python"] == PYTHONS
    project = pyproject()["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert named == PYTHONS
    assert project["requires-python"] == f">={PYTHONS[0]}"
    assert pyproject()["tool"]["basedpyright"]["pythonVersion"] == PYTHONS[0]
    assert pyproject()["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")


def test_a_version_is_published_by_its_tag_after_all_tests() -> None:
    content = load(ROOT / ".github" / "workflows" / "publish.yml")
    assert content["on"] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    assert content["jobs"]["publish"]["needs"] == "tests"
    assert content["jobs"]["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert "workflow_call" in load(ROOT / ".github" / "workflows" / "tests.yml")["on"]


def hooks() -> list[dict[str, Any]]:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    return repository["hooks"]


def test_hooks_call_what_the_tests_call() -> None:
    """Local programs only, so that a hook never checks with another version than the suite does."""
    tools = [shlex.split(hook["entry"])[0] for hook in hooks()]
    assert tools == ["ruff", "ruff", "basedpyright"]
    for hook in hooks():
        assert hook["language"] == "system" and hook["id"] and hook["name"]
        program(shlex.split(hook["entry"])[0])


@pytest.mark.parametrize(
    "hook", [hook for hook in hooks() if hook["entry"].startswith("ruff")], ids=lambda hook: hook["id"]
)
def test_a_hook_passes_the_project_and_stops_a_fault(hook: dict[str, Any], tmp_path: Path) -> None:
    name, *arguments = shlex.split(hook["entry"])
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nx = {  'a':1 }\n")
    for path, outcome in ((ROOT / "__init__.py", 0), (bad, 1)):
        done = subprocess.run([program(name), *arguments, str(path)], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == outcome, done.stdout + done.stderr
