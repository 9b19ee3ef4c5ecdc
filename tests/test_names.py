"""Names are the field's words, docstrings are statements, folders are small, and tests mirror the code."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("plankseg", "flows", "tests", "benchmarks")
LONGEST_FOLDER = 14

# The left column of issue 12's table. Words of everyday English are banned as names of modules only.
OLD_MODULES = {
    *("agreement", "answering", "at_hand", "bars", "burying", "by_hand", "calibrating", "domains", "eyes", "faults"),
    *("finding", "frameworks", "ground", "hooks", "inferring", "judging", "keeping", "learner", "likeness"),
    *("local_bucket", "measures", "memory", "nudging", "pace", "packs", "place", "places", "preparing", "quick"),
    *("replacing", "roster", "serving", "tabs", "together", "wire"),
}
OLD_IDENTIFIERS = {
    *("Eyes", "Looker", "NowAndThen", "Nudger", "Outside", "PATIENCE_S", "Place", "at_hand", "bury", "by_hand"),
    *("eyes_of", "is_settled", "keep_together", "meet", "one_at_a_time", "png_data_uri", "pull_round"),
    *("put_to_work", "roster", "said", "sort_tasks", "surroundings", "task_url", "tell_prefect", "train_together"),
    "why_flat",
}
OLD_ENDINGS = ("_at_hand",)
OLD_LOOP_VARIABLES = {"place", "one"}

# Tests that belong to no single module: they check several of them together, or the project as a whole.
NO_MODULE = {
    "tests/archives/containers/test_containers.py": "the same tests on every kind of container",
    "tests/archives/containers/test_hostile_containers.py": "containers that are damaged or made to deceive",
    "tests/archives/test_archive_guesses.py": "layouts and tables that do not agree",
    "tests/browser/test_clicking.py": "clicks, boxes and outlines in the real interface",
    "tests/browser/test_clicking_through_faults.py": "clicks while Label Studio restarts, and beside a training",
    "tests/browser/test_counting_actions.py": "how many actions a repair by clicks takes in the real interface",
    "tests/browser/test_correcting.py": "a person's answers in the real interface",
    "tests/browser/test_loop.py": "a whole round in the real interface",
    "tests/browser/test_turned_images.py": "masks painted on turned images of a bucket",
    "tests/flows/test_dask.py": "the flow segment on Dask workers that are killed",
    "tests/flows/test_advance_with_faults.py": "the flows while their servers fail",
    "tests/flows/test_first_validation.py": "the loop before a validation set has masks",
    "tests/flows/test_four_rounds.py": "four rounds of the loop in memory",
    "tests/flows/test_four_rounds_live.py": "four rounds of the loop on real servers",
    "tests/flows/test_killed_learning.py": "the flow advance, killed at every step",
    "tests/flows/test_killed_proposing.py": "two flows at once, and one killed while it scores",
    "tests/flows/test_promotion.py": "promotion by flow, person and rollback",
    "tests/flows/test_up.py": "the servers of `plankseg up`",
    "tests/labelling/api/test_contract.py": "the same tests on the client and on the fake",
    "tests/labelling/sync/test_bucket_images.py": "images of a bucket in a real Label Studio",
    "tests/pipeline/annotation/test_hostile_answers.py": "collect, push and manual tasks on damaged answers and tasks",
    "tests/pipeline/ingest/test_ingest_bounds.py": "register_images on hostile files",
    "tests/pipeline/ingest/test_ingest_guesses.py": "what register_images guesses of images",
    "tests/pipeline/ingest/test_register_archives.py": "register_images on archives",
    "tests/pipeline/ingest/test_register_buckets.py": "register_images on a bucket",
    "tests/pipeline/prediction/test_killed_predict.py": "predict, killed -9 and run again",
    "tests/pipeline/models/test_activation.py": "promotion and rollback over several models",
    "tests/storage/s3/test_radosgw.py": "the S3 modules on a real Ceph",
    "tests/storage/test_copy_at_work.py": "copies while other processes train and collect",
    "tests/storage/test_read_only.py": "the command line on a store that may only be read",
    "tests/storage/test_old_stores.py": "stores that earlier commits wrote",
    "tests/storage/test_store_by_others.py": "the store read by pandas and DuckDB",
    "tests/storage/test_store_killed.py": "the store while its process is killed",
    "tests/test_docs.py": "the documentation",
    "tests/test_names.py": "this file",
}


def modules(*folders: str) -> Iterator[Path]:
    """Python files of the given folders, relative to the project."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT)


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every name in a file; strings and comments are no names."""
    with (ROOT / path).open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NAME:
                yield token.start[0], token.string


def test_no_module_has_an_old_name() -> None:
    old = [
        str(path)
        for path in modules(*CODE)
        if path.stem.removeprefix("test_") in OLD_MODULES or path.stem.endswith(OLD_ENDINGS)
    ]
    assert old == []


def test_no_identifier_has_an_old_name() -> None:
    old = [
        f"{path}:{line} {name}"
        for path in modules(*CODE)
        for line, name in identifiers(path)
        if name in OLD_IDENTIFIERS or name.endswith(OLD_ENDINGS)
    ]
    assert old == []


def loop_variables(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every variable of a loop or comprehension."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.For | ast.comprehension):
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name):
                    yield name.lineno, name.id


def test_loop_variables_say_what_they_are() -> None:
    variables = ((path, line, name) for path in modules(*CODE) for line, name in loop_variables(path))
    assert [f"{path}:{line} {name}" for path, line, name in variables if name in OLD_LOOP_VARIABLES] == []


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Address and first line of the docstring of a file and of everything in it that has one."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and (text := ast.get_docstring(node)):
            yield f"{path}:{getattr(node, 'lineno', 1)}", text.splitlines()[0]


def test_every_module_has_a_docstring() -> None:
    files = [path for path in modules(*CODE) if not path.name.startswith("test_")]
    assert [str(path) for path in files if f"{path}:1" not in dict(docstrings(path))] == []


def test_no_docstring_is_a_question() -> None:
    summaries = [summary for path in modules(*CODE) for summary in docstrings(path)]
    assert [summary for summary in summaries if "?" in summary[1]] == []


def test_every_module_docstring_begins_with_a_sentence() -> None:
    summaries = {path: dict(docstrings(path)).get(f"{path}:1", ".") for path in modules(*CODE)}
    assert {str(path): text for path, text in summaries.items() if not text.endswith(".")} == {}


def test_no_code_is_kept_from_the_formatter() -> None:
    comments = re.compile(r"#\s*fmt:\s*(skip|off)")
    assert [str(path) for path in modules(*CODE) if comments.search((ROOT / path).read_text(encoding="utf-8"))] == []


def test_no_folder_of_the_package_is_large() -> None:
    folders = {path.parent for path in modules("plankseg")}
    sizes = {str(folder): len(list((ROOT / folder).glob("[!_]*.py"))) for folder in folders}
    assert {folder: size for folder, size in sizes.items() if size > LONGEST_FOLDER} == {}


def modules_of(path: Path) -> list[Path]:
    """The files that a test file of this path may belong to."""
    below = path.relative_to("tests")
    package = below.parent if below.parts[0] in {"flows", "deployments"} else Path("plankseg") / below.parent
    name = re.sub(r"^test_", "", path.stem)
    return [package / f"{name}.py", package / name / "__init__.py"]


def test_a_test_file_has_the_path_of_its_module_or_a_reason() -> None:
    files = [path for path in modules("tests") if path.name.startswith("test_")]
    without_module = {str(path) for path in files if not any((ROOT / module).is_file() for module in modules_of(path))}
    assert without_module == set(NO_MODULE)
