"""What is built and installed is complete, below one root, and a good neighbour of others."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "restoration_toolchain"
FOLDERS = ("data", "tools_zoo", "envs", "agents", "toolchain")
NEIGHBOURS = {"openai-agents": "agents", "envs": "envs", "data": "data"}
"""Other distributions, and the import package that each of them owns."""

IMPORTS = """
from pathlib import Path
import agents, data, envs
assert (agents.OWNER, data.OWNER, envs.OWNER) == {owners}, (agents, data, envs)
"""
OURS = f"""
import {PACKAGE}
import {PACKAGE}.agents, {PACKAGE}.data.errors, {PACKAGE}.tools_zoo, {PACKAGE}.toolchain.errors
from importlib.resources import files
home = Path({PACKAGE}.__file__).parent
assert home.parts[-2:-1] == ("site-packages",), home
assert {PACKAGE}.__version__ != "not installed"
assert {PACKAGE}.data.errors.__file__ == str(home / "data" / "errors.py")
assert (files("{PACKAGE}.tools_zoo") / "weights/efficient/manifest.json").is_file()
"""


def run(*command: str | Path, folder: Path, **env: str) -> str:
    """What a command prints; the test fails where it fails."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | env
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the tree, the sdist, and in ``from_sdist`` the wheel of that."""
    folder = tmp_path_factory.mktemp("built")
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, folder, "--wheel", ROOT, folder=folder)
    run(*build, folder / "from_sdist", ROOT, folder=folder)
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tree() -> dict[str, bytes]:
    """What git tracks, or would, of all that is to be installed, by its name in the wheel."""
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = run(*listing, *FOLDERS, f"src/{PACKAGE}", folder=ROOT).split("\0")
    return {
        name.removeprefix("src/") if name.startswith("src/") else f"{PACKAGE}/{name}": content
        for name in names
        if (path := ROOT / name).is_file() and not path.is_symlink()
        for content in [path.read_bytes()]
    }


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git lists the tree")
def test_a_wheel_holds_the_files_of_the_tree_below_one_root(built: Path) -> None:
    wheel = contents(only(built, "*.whl"))
    installed = {name: file for name, file in wheel.items() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in installed} == {PACKAGE}
    assert sorted(installed) == sorted(tree())
    assert installed == tree()
    for kind in (
        "py.typed",
        "toolchain/looking/assets/story.css",
        "tools_zoo/recipes/classic.toml",
    ):
        assert f"{PACKAGE}/{kind}" in installed


def test_the_wheel_of_an_sdist_is_that_of_the_tree(built: Path) -> None:
    assert contents(only(built / "from_sdist", "*.whl")) == contents(only(built, "*.whl"))


def test_an_sdist_has_its_licence_and_documents_and_no_links(built: Path) -> None:
    with tarfile.open(only(built / "from_sdist", "*.tar.gz")) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = {member.name.split("/", 1)[1] for member in members}
    wanted = {"LICENSE", "README.md", "CHANGELOG.md", "constraints.txt", "pyproject.toml"}
    assert wanted <= names


def test_the_metadata_names_the_licence_of_the_code_and_that_of_the_weights(built: Path) -> None:
    wheel = contents(only(built, "*.whl"))
    (about,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
    lines = wheel[about].decode().splitlines()
    assert "License-Expression: Apache-2.0 AND LicenseRef-BSDS500-research" in lines
    files = ("LICENSE", "tools_zoo/weights/WEIGHTS_LICENSE")
    assert [line for line in lines if line.startswith("License-File: ")] == [
        f"License-File: {file}" for file in files
    ]
    for file in files:
        assert wheel[about.replace("METADATA", f"licenses/{file}")] == (ROOT / file).read_bytes()


def neighbour(folder: Path, distribution: str, package: str) -> Path:
    """A wheel of another project that owns ``package``."""
    stem = f"{distribution.replace('-', '_')}-1.0"
    about = f"{stem}.dist-info"
    files = {
        f"{package}/__init__.py": f"OWNER = {distribution!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**files, f"{about}/RECORD": record}.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="session")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with ours and its neighbours, the folder of its executables."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    executables = folder / ("Scripts" if os.name == "nt" else "bin")
    wheels = [neighbour(folder, *owner) for owner in NEIGHBOURS.items()]
    pip(executables, "install", "--no-index", "--no-deps", "--no-compile", *wheels)
    pip(executables, "install", "--no-index", "--no-deps", "--no-compile", only(built, "*.whl"))
    # What ours depends on comes from here; the `.pth` files of that folder are not followed.
    (site_packages(executables) / "needs.pth").write_text(sysconfig.get_path("purelib"))
    return executables


def pip(executables: Path, *arguments: str | Path) -> None:
    python = ("--python", executables / "python")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", *python, *quiet, *arguments, folder=executables)


def site_packages(executables: Path) -> Path:
    where = run(
        executables / "python",
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
        folder=executables,
    )
    return Path(where.strip())


def owners(**others: str) -> str:
    named = {"agents": "openai-agents", "data": "data", "envs": "envs", **others}
    return IMPORTS.format(owners=tuple(named[name] for name in ("agents", "data", "envs")))


@pytest.mark.slow
def test_ours_and_packages_of_its_folders_names_live_side_by_side(
    environment: Path, tmp_path: Path
) -> None:
    python = environment / "python"
    run(python, "-c", owners() + OURS, folder=tmp_path)
    for command in (["toolchain"], ["restoration-toolchain"], ["python", "-m", PACKAGE]):
        assert "restore" in run(environment / command[0], *command[1:], "--help", folder=tmp_path)


@pytest.mark.slow
def test_a_script_imports_the_folders_beside_it_and_ours(environment: Path, tmp_path: Path) -> None:
    for package in ("agents", "data", "envs"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("OWNER = 'user'\n")
    script = tmp_path / "script.py"
    script.write_text(owners(agents="user", data="user", envs="user") + OURS)
    run(environment / "python", script, folder=tmp_path)


@pytest.mark.slow
def test_uninstalling_one_leaves_the_others_whole(
    environment: Path, built: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "environment"
    shutil.copytree(environment.parent, copy, symlinks=True)
    executables, python = copy / environment.name, copy / environment.name / "python"
    installed = site_packages(executables)
    pip(executables, "uninstall", "--yes", *NEIGHBOURS)
    assert not (installed / "agents").exists()
    wheel = contents(only(built, "*.whl"))
    ours = [name for name in wheel if name.startswith(f"{PACKAGE}/")]
    assert all((installed / name).read_bytes() == wheel[name] for name in ours)
    pip(executables, "install", "--no-index", "--no-deps", *copy.glob("*.whl"))
    pip(executables, "uninstall", "--yes", "restoration-toolchain")
    assert not (installed / PACKAGE).exists()
    run(python, "-c", owners(), folder=tmp_path)


def test_a_checkout_without_links_is_imported(tmp_path: Path) -> None:
    source = tmp_path / "src" / PACKAGE
    source.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "py.typed"):
        shutil.copy(ROOT / "src" / PACKAGE / name, source)
    for name in FOLDERS:  # as git leaves links where none can be made
        assert (ROOT / "src" / PACKAGE / name).readlink() == Path("..", "..", name)
        (source / name).write_text(f"../../{name}")
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("weights", "__pycache__")
        )
    check = f"""
import {PACKAGE}.agents, {PACKAGE}.tools_zoo, {PACKAGE}.toolchain.errors, {PACKAGE}.data.errors
print({PACKAGE}.data.errors.__file__)
"""
    found = run(sys.executable, "-c", check, folder=tmp_path, PYTHONPATH=str(tmp_path / "src"))
    assert Path(found.strip()) == tmp_path / "data" / "errors.py"
