"""The image and the compose file: what is pinned, what is locked, and what a container may do."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from streams.lifecycle import CLOSE_S, STOP_SPARE_S

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINUX = {"sys_platform": "linux", "python_version": "3.13", "python_full_version": "3.13.15"}
DIGEST = re.compile(r"[a-z/]+:[0-9][a-z0-9.-]*@sha256:[0-9a-f]{64}")

KINDS: dict[str, list[str]] = {"worker": [], "trainer": ["learning"], "replay": ["completejourney"]}
"""The images, and their extras."""


def locked(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Version and hashes of each package of a lock file and of those that it names."""
    packages: dict[str, tuple[Version, list[str]]] = {}
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("-r "):
            packages |= locked(line.removeprefix("-r ").removesuffix(".lock"))
        elif line and not line.startswith(("#", "--extra-index-url ")):
            pinned, *hashes = line.split()
            package, _, version = pinned.partition("==")
            packages[canonicalize_name(package)] = (Version(version), hashes)
    return packages


def wanted(extras: list[str]) -> list[Requirement]:
    """What the project requires of an image."""
    texts = PROJECT["dependencies"] + [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    requirements = map(Requirement, texts)
    return [one for one in requirements if one.marker is None or one.marker.evaluate(LINUX)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_fits_the_ranges_of_the_project(kind: str) -> None:
    packages = locked(kind)
    for requirement in wanted(KINDS[kind]):
        version, _ = packages[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("kind", [*KINDS, "build"])
def test_every_locked_package_has_a_version_and_hashes(kind: str) -> None:
    packages = locked(kind)
    assert packages
    for name, (_, hashes) in packages.items():
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), name


def test_the_codecs_are_in_the_images() -> None:
    assert {"cramjam", "lz4", "python-snappy", "zstandard"} <= locked("worker").keys() & locked("trainer").keys()
    assert str(locked("trainer")["torch"][0]).endswith("+cpu")
    assert not any(name.startswith(("nvidia-", "cuda-", "triton")) for name in locked("trainer"))


def test_the_base_image_is_pinned_and_only_locked_packages_are_installed() -> None:
    base = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert [bool(DIGEST.fullmatch(image)) for image in base] == [True]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON}"}
    installs = re.findall(r"pip install .*", DOCKERFILE.replace("\\\n", " ").replace("&&", "\n"))
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps /wheel/" in line for line in installs)
    assert DOCKERFILE.rindex("USER crosscurrent") > DOCKERFILE.rindex("FROM")


def test_images_that_are_pulled_are_pinned_and_the_others_are_built_from_a_lock() -> None:
    for name, service in COMPOSE["services"].items():
        if "build" not in service:
            assert DIGEST.fullmatch(service["image"]), name
        elif service["build"] != ".":
            assert service["build"]["args"]["KIND"] in KINDS


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [("worker-1", "streams.worker.service", "Worker"), ("trainer", "streams.trainer.service", "Trainer")],
)
def test_a_container_is_not_killed_before_it_has_stopped(name: str, module: str, kind: str) -> None:
    if kind == "Trainer":
        pytest.importorskip("torch", reason="install the extra `learning` to run this")
    longest_s = getattr(import_module(module), kind).stop_s + CLOSE_S + STOP_SPARE_S
    assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > longest_s


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_rights_and_bounds(name: str) -> None:
    service: dict[str, Any] = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(service[key] for key in ("mem_limit", "cpus", "pids_limit"))
    assert not service.keys() & {"privileged", "cap_add", "user"}
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))
    mounted = [volume.split(":")[0] for volume in service["volumes"]]
    assert set(mounted) <= COMPOSE["volumes"].keys()


def test_what_has_to_be_written_can_be_in_a_read_only_container() -> None:
    cache = re.findall(r"NUMBA_CACHE_DIR=(\S+)", DOCKERFILE)
    for name in ("worker-1", "worker-2", "trainer"):
        service = COMPOSE["services"][name]
        folders = {volume.split(":")[1] for volume in service["volumes"]}
        assert {*cache, service["environment"]["CROSSCURRENT_SNAPSHOT_STORE"]} <= folders
        assert service["tmpfs"][0].startswith("/tmp:size=")
    assert COMPOSE["services"]["kafka"]["tmpfs"][0] == "/opt/kafka/config"


def test_what_runs_for_long_is_restarted_and_looked_after() -> None:
    for name in ("kafka", "worker-1", "worker-2", "trainer"):
        assert COMPOSE["services"][name]["restart"] == "unless-stopped"
        assert COMPOSE["services"][name]["healthcheck"]["test"]
