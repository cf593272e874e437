"""``migrate --source`` where something is in the way: dirty trees, checkouts that do not fit, files that cannot be written, kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.test_fix_source import WEB, Place, delivery, files, kubectl, place, words
from tests.live.test_migrate_source import NAMESPACE, PREFIX, labels_of, reconcile, settle
from tests.support.harden import Harden

__all__ = ["delivery", "kubectl", "place"]

KILLED = """
import os, signal
real, count = os.replace, 0
def replace(source, target):
    global count
    if str(target).startswith(ROOT):
        count += 1
        if count == LAST:
            os.kill(os.getpid(), signal.SIGKILL)
    real(source, target)
os.replace = replace
from kubectl_harden.cli import main
main()
"""


def test_a_dirty_tree_is_written_and_told(place: Place, harden: Harden) -> None:
    place.flux()
    reconcile(place)
    file = place.root / "apps/shop/web.yaml"
    file.write_text(WEB + "# mine\n")
    done = harden("migrate", place.namespace.name, "--source", str(place.root), "--write")
    assert done.code == 1, done
    assert "has changes that are not committed" in words(done)
    assert "runAsNonRoot" in file.read_text() and file.read_text().endswith("# mine\n")


def test_two_checkouts_that_match_are_wrong_usage(place: Place, harden: Harden, tmp_path: Path) -> None:
    place.flux()
    reconcile(place)
    other = Place(tmp_path / "other", place.plane, place.namespace)
    other.git("remote", "set-url", "origin", place.url)
    before = files(place.root), files(other.root)
    both = ("--source", str(place.root), "--source", str(other.root))
    done = harden("migrate", place.namespace.name, *both, "--write")
    assert (done.code, files(place.root), files(other.root)) == (2, *before), done
    assert f"{place.root} and {other.root} are both checkouts of it" in words(done)
    place.write("apps/shop/namespace.yaml", NAMESPACE.format(place.namespace.name))
    reconcile(place)
    done = harden("migrate", place.namespace.name, *both, "--write")
    assert done.code == 2, done


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--write",), "--write is about files: name them by -f"),
        (("--plan", "PLAN", "--write"), "name checkouts by --source, or files by -f"),
        (("--source", ".", "-f", "."), "leave out --source"),
        (("--source", "nowhere"), 'there is no directory "nowhere"'),
    ],
)
def test_wrong_usage(options: tuple[str, ...], told: str, place: Place, harden: Harden, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    assert harden("migrate", place.namespace.name, "--plan-out", plan).code == 1
    options = tuple(plan if word == "PLAN" else word for word in options)
    done = harden("migrate", *(() if "-f" in options else (place.namespace.name,)), *options)
    assert done.code == 2, done
    assert told in words(done)


def test_what_is_changed_in_checkouts_is_not_patched_in_the_cluster(place: Place, harden: Harden) -> None:
    for option in ("--even-if-managed", "--at-admission"):
        done = harden("migrate", place.namespace.name, "--source", str(place.root), option)
        assert (done.code, "use one of them" in words(done)) == (2, True), done


def unwritable(file: Path) -> None:
    """Have a file refused, whoever writes: root may write what is read-only, but not what has another name."""
    if os.geteuid():
        file.chmod(0o444)
    else:
        os.link(file, file.parents[3] / "another-name")


def test_a_file_that_cannot_be_written_keeps_no_other_back(place: Place, harden: Harden) -> None:
    place.flux()
    file = place.root / "apps/shop/web.yaml"
    api = place.write("apps/shop/api.yaml", WEB.replace("web", "api"))
    reconcile(place)
    unwritable(file)
    done = harden("migrate", place.namespace.name, "--source", str(place.root), "--write")
    assert done.code == 3, done
    assert file.read_text() == WEB
    assert "runAsNonRoot" in api.read_text()
    assert "apps/shop/web.yaml" in words(done) and "not written" in words(done)
    assert f"No proved change at its source Deployment {place.namespace.name}/web" in words(done)
    assert "(1 file" not in words(done) and "Commit and push" in words(done)
    assert "apps/shop/api.yaml. Kustomization" in words(done)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_kill_between_two_files_loses_nothing(last: int, place: Place, harden: Harden) -> None:
    """A workload in a file, one in a kustomization: what was not written the next run writes."""
    place.flux("./apps")
    place.write("apps/api/api.yaml", WEB.replace("web", "api"))
    place.write("apps/api/kustomization.yaml", "resources: [api.yaml]\n")
    reconcile(place, "apps/shop")
    reconcile(place, "apps/api")
    command = ["migrate", place.namespace.name, "--source", str(place.root), "--write"]
    code = KILLED.replace("ROOT", repr(str(place.root))).replace("LAST", str(last))
    before = files(place.root)
    killed = subprocess.run(
        [sys.executable, "-c", code, *command], env=harden.environment, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed
    left = {name: data for name, data in files(place.root).items() if not name.endswith(".tmp")}
    changed = {name: data for name, data in left.items() if before.get(name) != data}
    assert len(changed) == last - 1
    done = harden(*command)
    assert done.code == 1, done
    after = files(place.root)
    assert (
        b"runAsNonRoot" in after["apps/shop/web.yaml"]
        and b"runAsNonRoot" in after["apps/api/harden-deployment-api.yaml"]
    )
    assert b"harden-deployment-api.yaml" in after["apps/api/kustomization.yaml"]
    # What was written whole is as it was left.
    assert all(after[name] == data for name, data in changed.items())
    reconcile(place, "apps/shop")
    reconcile(place, "apps/api")
    settle(place, "web", "api")
    assert harden("migrate", place.namespace.name, "--source", str(place.root), "--apply", "--yes").code == 0


def test_labels_that_cannot_be_set_in_the_file_are_not_set_in_the_cluster(place: Place, harden: Harden) -> None:
    place.flux()
    text = NAMESPACE.format(place.namespace.name) + f"  labels:\n    {PREFIX}enforce: highest\n"
    own = place.write("apps/shop/namespace.yaml", text)
    place.write("apps/shop/kept.yaml", NAMESPACE.format(place.namespace.name))
    (place.root / "apps/shop/web.yaml").unlink()
    own.unlink()
    reconcile(place)
    own.write_text(text)
    done = harden("migrate", place.namespace.name, "--source", str(place.root), "--write", "--apply", "--yes")
    assert (done.code, labels_of(place), own.read_text()) == (1, {}, text), done
    assert "2 objects of the files have this name" in words(done)
    (place.root / "apps/shop/kept.yaml").unlink()
    done = harden("migrate", place.namespace.name, "--source", str(place.root), "--write", "--apply", "--yes")
    assert (done.code, labels_of(place), own.read_text()) == (1, {}, text), done
    assert f"No proved change at its source Namespace {place.namespace.name}" in words(done)
