"""What is written down is there: commands, paths, variables, entry points, names of the labelling configuration."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flows.support.store_lock import CLOCK
from plankseg import cli, local_servers
from plankseg.config import Settings
from plankseg.labelling.api import labeling_config
from plankseg.labelling.webhook import prefect_events

ROOT = local_servers.ROOT
PAGES = sorted(
    path
    for pattern in ("README.md", "*/README.md", "docs/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "log.md" and not path.is_relative_to(ROOT / "demo") and ".pytest_cache" not in path.parts
)
MAKEFILE = (ROOT / "Makefile").read_text()
# Made by a command or by the reader, so not in the tree.
MADE_LATER = re.compile(r"^(demo|plankseg-store|\.venv|\.venv-label-studio|\.cache|\.env|\.\.|~)($|[-/])")

HISTORY = {"0001-rounds-is-a-package.md", "0019-pipeline-in-the-fields-words.md"}  # they name what is gone
DECISIONS = [path for path in sorted(ROOT.glob("docs/decisions/*.md")) if path.name not in HISTORY]
LOG, CHANGES = ROOT / "docs" / "log.md", ROOT / "CHANGELOG.md"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> list[str]:
    """The code blocks and code spans of a page, line by line."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def commands() -> set[str]:
    names = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    return {name.replace("_", "-") for name in names}


def links_of(page: Path) -> set[Path]:
    """Files of the repository that a page links to or shows."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


def missing_paths(page: Path) -> list[str]:
    """Paths in code and targets of links that exist neither beside the page nor below the root."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    words = [word.strip(".,:;()'\"") for line in code_of(page) for word in line.split()]
    written = [word for word in words if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)+/?", word)]
    local = [path for path in (*links, *written) if "://" not in path and not MADE_LATER.match(path)]
    of_ours = [path for path in local if path in links or (ROOT / path.split("/")[0]).exists()]
    return [path for path in of_ours if not any((folder / path).exists() for folder in (page.parent, ROOT))]


@each_page
def test_every_make_target_and_variable_that_is_named_exists(page: Path) -> None:
    lines = [line for line in code_of(page) if re.match(r"^(\$ |[A-Z_]+=\S+ )*make\b", line)]
    named = {word for line in lines for word in re.findall(r"\bmake((?: [a-z][a-z-]*)+)", line)}
    assert {word for words in named for word in words.split()} <= targets()
    variables = {name for line in lines for name in re.findall(r"\s([A-Z_]+)=", line)}
    assert {name for name in variables if f"$({name})" not in MAKEFILE} == set()


@each_page
def test_every_plankseg_command_that_is_named_exists(page: Path) -> None:
    named = {name for line in code_of(page) for name in re.findall(r"(?:^|[\s/])plankseg ([a-z][a-z-]+)", line)}
    assert named <= commands()


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_and_link_exists(page: Path) -> None:
    assert missing_paths(page) == []


def test_readme_is_a_front_door_of_less_than_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_every_page_of_docs_is_reached_from_readme() -> None:
    reached, new = set[Path](), {ROOT / "README.md"}
    while new:
        reached |= new
        new = {path for page in new if page.suffix == ".md" for path in links_of(page) if path.is_file()} - reached
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")} <= {
        str(path.relative_to(ROOT)) for path in reached
    }


def test_pictures_are_shown_are_small_and_are_made_by_their_script() -> None:
    pictures = {path for path in (ROOT / "docs" / "pictures").iterdir() if path.suffix in {".png", ".jpg"}}
    assert pictures <= {path for page in PAGES for path in links_of(page)}
    assert all(path.read_bytes().startswith((b"\x89PNG", b"\xff\xd8\xff")) for path in pictures)
    assert all(path.stat().st_size <= 150_000 for path in pictures)
    script = (ROOT / "docs" / "pictures" / "make_pictures.py").read_text(encoding="utf-8")
    assert {path.name for path in pictures} == set(re.findall(r'"([\w-]+\.(?:png|jpg))"', script)) != set()


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS, LOG, CHANGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_have_a_leading_zero(page: Path) -> None:
    assert re.findall(r"(?<![\w.)])\.\d+", page.read_text(encoding="utf-8")) == []


def test_every_finding_of_the_log_stands_under_a_subject() -> None:
    text = LOG.read_text(encoding="utf-8")
    sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert "\n- " not in sections[0]
    subjects, bodies = sections[1::2], sections[2::2]
    assert len(set(subjects)) == len(subjects) >= 10
    assert all(body.startswith("\n\n- ") for body in bodies)


@each_page
def test_every_variable_of_ours_is_read_somewhere(page: Path) -> None:
    named = set(re.findall(r"\bPLANKSEG_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
    known = {f"PLANKSEG_{name.upper()}" for name in Settings.model_fields}
    readers = [
        path
        for folder in ("plankseg", "flows", "tests", "deployments", "label_studio")
        for path in (ROOT / folder).rglob("*")
    ]
    readers += [ROOT / "Makefile", ROOT / ".ci" / "run"]
    code = "\n".join(
        path.read_text(errors="replace")
        for path in readers
        if path.is_file() and path.suffix in {".py", ".sh", ".yaml", ""}
    )
    known |= set(re.findall(r"\bPLANKSEG_[A-Z_]*[A-Z]\b", code))
    assert named <= known


@each_page
def test_no_place_is_left_to_fill_in(page: Path) -> None:
    assert re.findall(r"@@\w*|\bTODO\b|\bTBD\b", page.read_text(encoding="utf-8")) == []


def test_the_checks_of_pages_find_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[gone](docs/gone.md) `flows/gone.py` `flows/advance.py` `and/or`\n```\nmake dance STEP=1\n```\n")
    assert missing_paths(page) == ["docs/gone.md", "flows/gone.py"]
    with pytest.raises(AssertionError):
        test_every_make_target_and_variable_that_is_named_exists(page)
    page.write_text(f"`plankseg dance` and PLANKSEG_{'DANCE'}")  # in two parts: this file is read too
    with pytest.raises(AssertionError):
        test_every_plankseg_command_that_is_named_exists(page)
    with pytest.raises(AssertionError):
        test_every_variable_of_ours_is_read_somewhere(page)


def test_every_make_target_of_the_house_is_there() -> None:
    assert targets() >= {"setup", "demo", "test", "check", "up", "bench"}


@pytest.mark.slow
def test_every_deployment_is_a_flow_that_loads(tmp_path: Path) -> None:
    deployments = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    entrypoints = [deployment["entrypoint"] for deployment in deployments]
    names = [(deployment["entrypoint"], deployment["name"]) for deployment in deployments]
    assert len(set(names)) == len(names) > 0
    named_otherwise = [(flow, name) for flow, name in names if not flow.endswith(f":{name}")]
    assert named_otherwise == [("flows/advance.py:advance", "advance_regularly")], (
        "a deployment is named by what it does"
    )
    assert all(deployment["description"] for deployment in deployments)
    code = (
        "import sys\nfrom prefect.flows import load_flow_from_entrypoint\n"
        "for name in sys.argv[1:]:\n    print(load_flow_from_entrypoint(name).name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *entrypoints],
        cwd=ROOT,
        env=os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [entrypoint.split(":")[1] for entrypoint in entrypoints]


def test_advance_starts_on_the_relays_event_and_by_a_clock_whose_ticks_do_not_pile_up() -> None:
    deployments = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    advance = {
        deployment["name"]: deployment
        for deployment in deployments
        if deployment["entrypoint"] == "flows/advance.py:advance"
    }
    expected = {event for trigger in advance["advance"]["triggers"] for event in trigger["expect"]}
    assert prefect_events.ROUND_ANSWERED in expected
    assert advance["advance"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
    assert CLOCK == "advance_regularly", "its runs do not wait for another one"
    assert [schedule["interval"] for schedule in advance[CLOCK]["schedules"]] == [300]
    assert advance["advance_regularly"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert all(deployment["concurrency_limit"]["limit"] == 1 for deployment in deployments)


def test_the_labelling_configuration_has_the_names_of_the_code() -> None:
    root = ElementTree.parse(ROOT / "label_studio" / "labeling_config.xml").getroot()
    assert {element.get("name") for element in root.iter() if element.get("name")} == {
        labeling_config.IMAGE,
        labeling_config.BRUSH,
        labeling_config.QUALITY,
        labeling_config.OUTLINE,
        labeling_config.CLICK,
        labeling_config.BOX,
    }
    assert [element.get("alias") for element in root.iter("Label")] == [
        labeling_config.LABEL,
        labeling_config.OUTLINE_LABEL,
    ]
    assert [element.get("value") for element in root.iter("Choice")] == [labeling_config.UNUSABLE]
    assert [element.get("value") for element in root.iter("Image")] == [f"${labeling_config.IMAGE}"]


LOCKS = [ROOT / name for name in ("requirements.lock", "requirements-torch.lock", "label_studio/requirements.txt")]


def locked(path: Path) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package of a lock file."""
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    pins = [(re.split(r"[ ;\\]", entry)[0], entry.count("--hash=sha256:")) for entry in entries]
    split = [(*pin.split("=="), hashes) for pin, hashes in pins]
    return {canonicalize_name(name): (version, hashes) for name, version, hashes in split}


def pinned() -> dict[str, str]:
    return {name: version for path in LOCKS[:2] for name, (version, _) in locked(path).items()}


def test_the_lock_file_pins_every_requirement_and_holds_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    pins = pinned()
    unmet = [
        text
        for text in wanted
        if not (requirement := Requirement(text)).specifier.contains(
            pins.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
        or canonicalize_name(requirement.name) not in pins
    ]
    assert unmet == []
    assert all(re.fullmatch(r"[0-9][\w.!]*", version) for version in pins.values())
    for path in LOCKS:
        text = re.sub(r"--hash=sha256:[0-9a-f]{64}\b", "", path.read_text())
        assert not [sign for sign in ("://", "+cpu", "--", " @ ") if sign in text]


def test_every_package_of_every_lock_file_has_hashes() -> None:
    for path in LOCKS:
        packages = locked(path)
        assert len(packages) > 15
        assert [name for name, (_, hashes) in packages.items() if not hashes] == []
    assert len(locked(LOCKS[2])) > 150, "Label Studio with all that it needs"
    both = set(locked(LOCKS[0])) & set(locked(LOCKS[1]))
    assert both == set(), "torch and what only it brings may come from elsewhere, with other hashes"
