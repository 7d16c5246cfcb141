"""Images as stacks of layers, and which layers may go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.machines import base_image, database_image
from sandbox.machines.images import ImageStore, lowerdir
from sandbox.machines.machine_files import MachineFiles
from sandbox.machines.port import MachineError

SLUG = "debian-13-x64"


def built(cache: Path, digest: str, built_at: float) -> Path:
    """A finished base image, as far as the store looks."""
    root = cache / "images" / SLUG / digest / "root"
    root.mkdir(parents=True)
    facts = {"slug": SLUG, "digest": digest, "size_bytes": 1000, "built_at": built_at}
    (root.parent / "image.json").write_text(json.dumps(facts))
    return root


def snapshot(store: ImageStore, key: str, below: str = SLUG) -> None:
    layer = store.new_layer(key)
    layer.mkdir()
    (layer / "file").write_text(key)
    store.add(key, store.get(below), layer)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    built(tmp_path / "cache", "aaaa", 1.0)
    return ImageStore(tmp_path / "home", tmp_path / "cache")


def layers(home: Path) -> set[str]:
    return {path.name.split("-")[0] for path in (home / "layers").iterdir()}


def test_the_newest_build_is_the_image(tmp_path: Path, store: ImageStore) -> None:
    newest = built(tmp_path / "cache", "bbbb", 2.0)
    assert store.get(SLUG).layers == (newest,)
    assert store.available() == {SLUG}


def test_an_image_that_can_be_built_says_how(tmp_path: Path) -> None:
    empty = ImageStore(tmp_path / "home", tmp_path / "cache")
    assert empty.available() == frozenset()
    with pytest.raises(MachineError, match=r"python -m sandbox\.machines build-image debian-13-x64"):
        empty.get(SLUG)


def test_a_snapshot_stands_on_the_layers_of_its_machine(store: ImageStore) -> None:
    snapshot(store, "11")
    snapshot(store, "22", below="11")
    image = store.get("22")
    assert [layer.name.split("-")[0] for layer in image.layers] == ["root", "11", "22"]
    assert image.size_bytes > store.get("11").size_bytes > 1000


def test_layers_stay_while_an_image_or_a_machine_stands_on_them(tmp_path: Path, store: ImageStore) -> None:
    snapshot(store, "11")
    snapshot(store, "22", below="11")
    lowest = store.get("11").layers[1]
    store.delete("11")
    store.collect([])
    assert layers(tmp_path / "home") == {"11", "22"}
    store.delete("22")
    store.collect([lowest])
    assert layers(tmp_path / "home") == {"11"}
    store.collect([])
    assert layers(tmp_path / "home") == set()


def test_a_copy_under_way_is_not_collected(tmp_path: Path, store: ImageStore) -> None:
    draft = store.new_layer("11")
    draft.mkdir()
    store.collect([draft])
    assert draft.exists()
    store.collect([])
    assert not draft.exists()


def test_a_key_cannot_lead_out_of_the_store(store: ImageStore) -> None:
    with pytest.raises(MachineError, match=r"image key '\.\./x'"):
        store.delete("../x")


def test_layers_are_mounted_topmost_first() -> None:
    assert lowerdir((Path("/base"), Path("/one"), Path("/two"))) == "/two:/one:/base"


@pytest.mark.parametrize("path", ["/a:b", "/a,b", "/a b", "/a\\b"])
def test_paths_that_mount_options_cannot_hold_are_refused(path: str) -> None:
    with pytest.raises(MachineError, match="cannot be mounted"):
        lowerdir((Path(path),))


def test_a_stack_too_deep_to_mount_is_refused() -> None:
    with pytest.raises(MachineError, match="60 deep"):
        lowerdir(tuple(Path(f"/layers/{'x' * 60}{number}") for number in range(60)))


def test_a_new_disk_is_empty_and_the_next_incarnation(tmp_path: Path, store: ImageStore) -> None:
    files = MachineFiles(tmp_path / "1")
    files.lay_disk(store.get(SLUG))
    (files.upper / "file").touch()
    files.lay_disk(store.get(SLUG))
    disk = files.require_disk()
    assert disk.incarnation == 2
    assert disk.image == store.get(SLUG)
    assert list(files.upper.iterdir()) == []


def test_old_builds_go_unless_a_sandbox_has_disks_on_them(tmp_path: Path) -> None:
    cache, home = tmp_path / "cache", tmp_path / "home"
    used, unused, newest = (
        built(cache, name, float(at)) for at, name in enumerate(("used", "unused", "newest"))
    )
    base_image.claim(used, home)
    base_image.claim(unused, tmp_path / "gone")
    disk = home / "machines/1/disk.json"
    disk.parent.mkdir(parents=True)
    disk.write_text(json.dumps({"layers": [str(used)]}))
    base_image.prune(cache / "images" / SLUG, newest.parent)
    assert {path.name for path in (cache / "images" / SLUG).iterdir()} == {"used", "newest"}


def test_nodes_of_databases_get_the_image_of_their_own_recipe_only(tmp_path: Path, store: ImageStore) -> None:
    """Another checkout's build may be newer; its files are not what this one's driver knows."""
    below = base_image.find(tmp_path / "cache", SLUG)
    assert below is not None
    own, other = database_image._digest(below), "0" * 16
    for digest, built_at in ((own, 1.0), (other, 2.0)):
        place = tmp_path / "cache" / "images" / database_image.KEY / digest
        (place / "root").mkdir(parents=True)
        facts = {"below": str(below.root), "size_bytes": 2000, "built_at": built_at}
        (place / "image.json").write_text(json.dumps(facts))
    image = store.get(database_image.KEY)
    assert image.layers == (below.root, tmp_path / "cache" / "images" / database_image.KEY / own / "root")
    store.claim(image)
    assert [len(list((layer.parent / "claims").iterdir())) for layer in image.layers] == [1, 1]
