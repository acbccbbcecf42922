"""What was fetched travels on a stick and arrives whole, or nothing is written at all."""

import json
import os
import shutil
import stat
import zipfile

import huggingface_hub
import pytest
from small_models import save_model

from mechir_edu import Dot
from mechir_edu.cli import main as cli
from mechir_edu.cli.offline import bundle, caches, switch
from mechir_edu.files import sha256

NAME, COMMIT = "someone/a-model", "a" * 40
FOLDERS = ("hub", "ir_datasets", "statistics")


def use_caches(root, monkeypatch):
    """Make folders below root this machine's caches, without a network."""
    where = {name: root / name for name in FOLDERS}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(where["hub"]))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("IR_DATASETS_HOME", str(where["ir_datasets"]))
    monkeypatch.setenv("MECHIR_EDU_CACHE", str(where["statistics"]))
    return where


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_model("roberta", "Model", tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def there(encoder, tmp_path, monkeypatch):
    """Caches with one model, kept as the hub's client keeps it: links to blobs."""
    where = use_caches(tmp_path / "there", monkeypatch)
    model = where["hub"] / "models--someone--a-model"
    (snapshot := model / "snapshots" / COMMIT).mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, file in enumerate(sorted(encoder.iterdir())):
        (model / "blobs" / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(model / "blobs" / str(number))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return where


@pytest.fixture
def stick(there, tmp_path):
    """A bundle of the model."""
    path = tmp_path / "stick.zip"
    assert cli.main(["prefetch", "--models", NAME, "--bundle", str(path)]) == 0
    return path


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def pack(path, contents, *, change=lambda info: None, state=None, compression=0):
    """Write a zip as an attacker would: any names, any manifest."""
    entries = {name: {"size": len(data), "sha256": "0" * 64} for name, data in contents.items()} | (
        state or {}
    )
    manifest = {"format": bundle.FORMAT, "contents": [], "files": entries}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, compression
            change(info)
            archive.writestr(info, data)
        archive.writestr(bundle.MANIFEST, json.dumps(manifest))
    return path


def refused(path, tmp_path, match):
    """Try to install; nothing may be there afterwards."""
    where = {name: tmp_path / "caches" / name for name in FOLDERS}
    with pytest.raises(ValueError, match=match):
        bundle.install(path, where)
    assert files_below(tmp_path / "caches") == []


# Fetching


def test_each_commit_of_a_model_is_found_with_its_names_and_files(there, encoder):
    (model,) = caches.cached_models(there["hub"])
    assert model.name == f"{NAME}@{COMMIT}"
    names = {name.rpartition("/")[2] for name in model.files}
    assert names == {file.name for file in encoder.iterdir()} | {"main"}
    assert model.size() == sum(file.stat().st_size for file in encoder.iterdir()) + len(COMMIT)


def test_an_absent_cache_holds_no_model(tmp_path):
    assert list(caches.cached_models(tmp_path / "none")) == []


def test_what_is_embedded_is_said_with_its_checksum_and_needs_no_network(
    tmp_path, monkeypatch, capsys
):
    use_caches(tmp_path, monkeypatch)
    assert cli.main(["prefetch"]) == 0
    said = capsys.readouterr().out
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in said
    assert "36 queries" in said


def test_a_model_is_said_with_its_commit_so_that_it_can_be_pinned(there, encoder, capsys):
    assert cli.main(["prefetch", "--models", NAME]) == 0
    said = capsys.readouterr().out
    assert f"this is {NAME}@{COMMIT}" in said
    assert sha256(encoder / "model.safetensors") in said


def test_a_pinned_commit_is_the_one_that_loads(there):
    assert Dot(f"{NAME}@{COMMIT}").n_layers == Dot(NAME).n_layers
    with pytest.raises(FileNotFoundError, match="no model"):
        Dot(f"{NAME}@{'b' * 40}")


def test_what_cannot_be_downloaded_is_said_and_the_rest_is_fetched_all_the_same(
    there, tmp_path, capsys
):
    path = tmp_path / "half.zip"
    asked = ["--models", "no/such", NAME, "--collections", "msmarco-passage/trec-dl-2019/judged"]
    assert cli.main(["prefetch", *asked, "--bundle", str(path)]) == 1
    said = capsys.readouterr()
    assert f"{NAME}@{COMMIT}" in said.out
    assert "no model 'no/such'" in said.err
    assert "HF_HUB_OFFLINE is set and" in said.err
    assert not path.exists()


def test_a_bundle_of_what_is_embedded_is_refused_for_it_travels_with_the_package(
    there, tmp_path, capsys
):
    assert cli.main(["prefetch", "--bundle", str(tmp_path / "empty.zip")]) == 2
    assert "there is nothing to bundle" in capsys.readouterr().err
    assert not (tmp_path / "empty.zip").exists()


# There and back


def test_a_model_arrives_on_another_machine_and_loads_there(stick, encoder, tmp_path, monkeypatch):
    use_caches(tmp_path / "elsewhere", monkeypatch)
    with pytest.raises(FileNotFoundError):
        Dot(NAME)
    assert cli.main(["prefetch", "--from", str(stick)]) == 0
    assert Dot(NAME).checksum == sha256(encoder / "model.safetensors")
    assert not [path for path in files_below(tmp_path / "elsewhere") if path.is_symlink()]


def test_installing_a_second_time_changes_nothing(stick, there):
    before = {path: path.read_bytes() for path in files_below(there["hub"])}
    assert cli.main(["prefetch", "--from", str(stick)]) == 0
    assert {path: path.read_bytes() for path in files_below(there["hub"])} == before


def test_collections_and_counted_terms_travel_too(tmp_path):
    for name in ("ir_datasets/family/docs.pklz4/idx", "statistics/df-1.json.gz"):
        (tmp_path / "there" / name).parent.mkdir(parents=True)
        (tmp_path / "there" / name).write_bytes(name.encode())
    (cached,) = caches.cached_collections(tmp_path / "there" / "ir_datasets")
    files = cached.files | caches.cached_statistics(tmp_path / "there" / "statistics")
    bundle.write_bundle(tmp_path / "b.zip", files, [cached.name])
    bundle.install(tmp_path / "b.zip", {name: tmp_path / "here" / name for name in FOLDERS})
    assert {str(p.relative_to(tmp_path / "here")) for p in files_below(tmp_path / "here")} == set(
        files
    )


def test_the_same_files_make_the_same_bundle(stick, tmp_path):
    assert cli.main(["prefetch", "--models", NAME, "--bundle", str(tmp_path / "again.zip")]) == 0
    assert sha256(stick) == sha256(tmp_path / "again.zip")


# What is refused


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../out",
        "hub/../../out",
        "hub/./x",
        "hub//x",
        "hub",
        "hub/",
        "elsewhere/x",
        "C:/x",
        "hub/C:/x",
        "hub\\..\\x",
        "hub/a\\..\\..\\x",
        "hub/x:stream",
        "hub/nul.txt",
        "hub/x ",
        "hub/x.",
        "hub/.. /x",
        "hub/a\nb",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="could be written outside"):
        bundle.check_name(name)
    said = "outside of the caches|links?|holds only files|not what its manifest"
    refused(pack(tmp_path / "bad.zip", {name: b"x"}), tmp_path, said)


def test_links_are_refused(tmp_path):
    def as_link(info):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16

    path = pack(tmp_path / "bad.zip", {"hub/link": b"/etc/passwd"}, change=as_link)
    refused(path, tmp_path, "'hub/link' is a link")


def test_a_link_that_lies_in_the_cache_leads_nothing_out_of_it(stick, tmp_path):
    (tmp_path / "caches" / "hub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "caches/hub/models--someone--a-model").symlink_to(tmp_path / "outside")
    where = {name: tmp_path / "caches" / name for name in FOLDERS}
    with pytest.raises(ValueError, match="would be written outside of"):
        bundle.install(stick, where)
    assert files_below(tmp_path / "outside") == []


def test_a_zip_bomb_is_refused(tmp_path):
    zeros = {"hub/x": bytes(50_000_000)}
    path = pack(tmp_path / "bomb.zip", zeros, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, tmp_path, "would unpack to more than its own")


def test_compressed_files_are_refused(tmp_path):
    path = pack(tmp_path / "b.zip", {"hub/x": os.urandom(99)}, compression=zipfile.ZIP_DEFLATED)
    refused(path, tmp_path, "is compressed or encrypted")


def test_options_that_are_repeated_name_several_models(there, capsys):
    asked = ["--models", NAME, "--models", f"{NAME}@{COMMIT}"]
    assert cli.main(["prefetch", *asked]) == 0
    assert capsys.readouterr().out.count(f"this is {NAME}@{COMMIT}") == 2


@pytest.mark.parametrize("size", [0, 1, 10**12])
def test_sizes_that_are_not_the_manifests_are_refused(size, tmp_path):
    state = {"hub/x": {"size": size, "sha256": "0" * 64}}
    path = pack(tmp_path / "bad.zip", {"hub/x": b"abc"}, state=state)
    refused(path, tmp_path, "is not what its manifest says")


def test_files_that_the_manifest_does_not_list_are_refused(tmp_path):
    path = pack(tmp_path / "bad.zip", {"hub/x": b"abc"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("hub/stowaway", "y")
    refused(path, tmp_path, "is not what its manifest says")


def test_names_that_are_one_where_capitals_do_not_count_are_refused(tmp_path):
    path = pack(tmp_path / "bad.zip", {"hub/x": b"1", "hub/X": b"2"})
    refused(path, tmp_path, "to one place")
    path = pack(tmp_path / "bad.zip", {"hub/x": b"1", "hub/x/y": b"2"})
    refused(path, tmp_path, "to one place")


def test_a_wrong_checksum_is_refused_and_nothing_is_written(tmp_path):
    path = pack(tmp_path / "bad.zip", {"hub/a": b"good", "hub/b": b"bad"})
    refused(path, tmp_path, "is damaged: its size or SHA-256")


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": {"hub/x": 1}}', '{"format": "other"}'])
def test_a_manifest_that_is_none_is_refused(manifest, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(bundle.MANIFEST, manifest)
    refused(tmp_path / "bad.zip", tmp_path, "manifest cannot be read")


def test_a_damaged_bundle_changes_nothing_and_says_what_to_do(stick, tmp_path, capsys):
    content = bytearray(stick.read_bytes())
    content[len(content) // 2] ^= 1
    stick.write_bytes(content)
    refused(stick, tmp_path, "damaged")
    stick.write_bytes(content[: len(content) // 2])
    refused(stick, tmp_path, "damaged.*copy it again")


@pytest.fixture
def old_and_new(tmp_path):
    """Caches with old files, and a bundle of new ones: two entries of one place, one of another."""
    names = ("hub/a/deep/1", "hub/a/2", "hub/b/3", "statistics/df-1.json.gz")
    for name in (*names, "hub/a/kept"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("old")
    (tmp_path / "new").write_text("new")
    bundle.write_bundle(tmp_path / "b.zip", dict.fromkeys(names, tmp_path / "new"), [])
    return tmp_path / "b.zip", {name: tmp_path / "here" / name for name in FOLDERS}, names


def read(where, names):
    return {name: (where["hub"].parent / name).read_text() for name in names}


def test_a_file_that_cannot_be_moved_leaves_everything_as_it_was(old_and_new, monkeypatch):
    path, where, names = old_and_new
    replace = os.replace

    def until_b(source, target):
        if target == where["hub"].resolve() / "b":
            monkeypatch.undo()
            raise OSError("the disk is gone")
        replace(source, target)

    before = files_below(where["hub"].parent)
    monkeypatch.setattr(switch.os, "replace", until_b)
    with pytest.raises(OSError, match="the disk is gone"):
        bundle.install(path, where)
    assert set(read(where, names).values()) == {"old"}
    assert files_below(where["hub"].parent) == before


@pytest.mark.parametrize("n_moves", range(11))
def test_a_program_killed_at_any_move_leaves_all_old_or_all_new(old_and_new, n_moves):
    path, where, names = old_and_new
    if (pid := os.fork()) == 0:
        replace, left = os.replace, iter(range(n_moves))
        switch.os.replace = lambda *a: os._exit(0) if next(left, None) is None else replace(*a)
        try:
            bundle.install(path, where)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    switch.finish(where.values())
    assert len(set(read(where, names).values())) == 1
    assert (where["hub"] / "a" / "kept").read_text() == "old"
    assert not list(where["hub"].parent.rglob(".unfinished*"))
    bundle.install(path, where)
    assert set(read(where, names).values()) == {"new"}


def test_an_install_sweeps_what_a_killed_one_left_but_not_what_a_living_one_holds(old_and_new):
    path, where, names = old_and_new
    (where["hub"] / ".unfinished-dead").mkdir()
    with switch.beside([where["statistics"]]):
        with pytest.raises(BlockingIOError, match="another program is installing"):
            bundle.install(path, where)
    assert set(read(where, names).values()) == {"old"}
    bundle.install(path, where)
    assert not list(where["hub"].glob(".unfinished*"))


def test_a_disk_without_room_is_told_so_before_anything_is_written(stick, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    target = {part: tmp_path / "other" / part for part in ("hub", "ir_datasets", "statistics")}
    with pytest.raises(OSError, match="10 are free"):
        bundle.install(stick, target)
    assert files_below(tmp_path / "other") == []
