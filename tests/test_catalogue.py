"""The catalogue names files that our readers know, with hashes that can be hashes; its commands say what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from inceptions.cli import main
from inceptions.weights.catalogue import RECORDS
from inceptions.weights.download import cache_folder
from inceptions.weights.layouts import LAYOUTS
from inceptions.weights.locate import catalogue_facts, locate
from inceptions.zoo import MEMBERS

DIGITS = {"sha256": 64, "sha1": 40, "md5": 32}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_is_a_file_that_can_be_asked_for_and_checked(name: str) -> None:
    record = RECORDS[name]
    assert name == record.name
    assert name.partition(".")[0] == record.network in MEMBERS
    assert bool(record.urls) != (record.hub is not None)
    for url in record.urls:
        parts = urlsplit(url)
        assert parts.scheme in ("http", "https")
        assert url.endswith(record.file), "a mirror has the file under the same name"
    for algorithm, digest in record.hashes.items():
        assert re.fullmatch(r"[0-9a-f]{8,}", digest)
        assert len(digest) <= DIGITS[algorithm]
        if algorithm != "sha256":
            assert len(digest) == DIGITS[algorithm]
    if record.top1 is not None and record.top5 is not None:
        assert 60 < record.top1 < record.top5 < 100
        assert record.measured


def test_a_hash_in_a_files_name_is_the_one_that_is_checked() -> None:
    for record in RECORDS.values():
        named = re.search(r"-([0-9a-f]{8,16})\.pth$", record.file)
        assert (named[1] if named else "") == (record.hashes.get("sha256", "") if record.file.endswith(".pth") else "")


def test_no_two_records_share_a_file() -> None:
    places = [record.hub or record.file for record in RECORDS.values()]
    assert len(set(places)) == len(places)


def test_every_network_of_the_catalogue_has_a_layout_that_its_classes_fit() -> None:
    for record in RECORDS.values():
        layouts = [layout for layout in LAYOUTS if layout.network == record.network]
        fitting = {count for layout in layouts for count in (0, layout.classes, layout.classes + 1)}
        assert record.classes in fitting | {10575}, record.name  # CASIA's faces: a head of another size than VGG's


@pytest.mark.parametrize(("name", "sha256"), [("googlenet.tv", "1378be20"), ("xception.cadene", "43020ad28")])
def test_stated_beginnings_of_hashes_are_kept(name: str, sha256: str) -> None:
    assert RECORDS[name].hashes == {"sha256": sha256}


def test_what_a_publisher_does_not_state_is_not_invented() -> None:
    assert RECORDS["inception_v3.slim"].hashes == {}
    assert RECORDS["inception_v3.slim"].size is None
    assert RECORDS["bn_inception.cadene"].license is None


def test_a_name_brings_its_own_preprocessing() -> None:
    gluon, tensorflow = catalogue_facts("inception_v3.gluon_in1k"), catalogue_facts("inception_v3.tf_in1k")
    assert gluon.preprocess is not None
    assert tensorflow.preprocess is not None
    assert gluon.preprocess.mean == (0.485, 0.456, 0.406)
    assert tensorflow.preprocess.mean == (0.5, 0.5, 0.5)
    assert catalogue_facts("no.such").preprocess is None


def test_a_name_in_the_cache_is_located_without_a_request() -> None:
    cache_folder().mkdir(parents=True)
    path = cache_folder() / RECORDS["inception_v3.slim"].file
    path.write_bytes(b"weights")
    assert locate("inception_v3.slim") == path  # offline, as all tests are


def test_a_name_that_is_not_here_says_how_to_get_it_by_hand() -> None:
    with pytest.raises(OSError, match="HF_HUB_OFFLINE") as failure:
        locate("googlenet.bvlc")
    for part in (
        "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
        "405fc5acd08a3bb12de8",
        "--weights FILE",
    ):
        assert part in str(failure.value)


def test_a_cached_file_that_is_not_the_stated_one_is_refused() -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / RECORDS["googlenet.bvlc"].file).write_bytes(b"not GoogLeNet")
    with pytest.raises(ValueError, match="sha1"):
        locate("googlenet.bvlc")


def test_a_name_of_the_hub_comes_from_its_cache_under_hf_home_without_a_request(tmp_path: Path) -> None:
    cached = tmp_path / "hf" / "hub" / "models--timm--inception_v3.tf_in1k"
    commit = "0" * 40
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    folder = cached / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    nowhere = "http://127.0.0.1:9"  # a request would fail there
    environment |= {"HF_HOME": str(tmp_path / "hf"), "https_proxy": nowhere, "http_proxy": nowhere}
    script = "from inceptions.weights.locate import locate; print(locate('inception_v3.tf_in1k'))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(folder)


# -- the commands


def test_list_shows_every_record_and_only_those_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [record["name"] for record in listed] == list(RECORDS)
    assert listed[0]["preprocess"]["size"]
    assert main(["weights", "list", "--model", "inception_v2"]) == 0
    out = capsys.readouterr().out
    assert "bn_inception.slim" in out
    assert "xception" not in out


def test_info_shows_address_hash_accuracy_and_preprocessing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "info", "xception.cadene"]) == 0
    out = capsys.readouterr().out
    for part in (*RECORDS["xception.cadene"].urls, "43020ad28", "78.888", "0.8975", "not stated"):
        assert part in out


def test_an_unknown_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "info", "inception_v3.slin"]) == 2
    assert "did you mean inception_v3.slim" in capsys.readouterr().err


def test_pull_prints_the_path_of_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    cache_folder().mkdir(parents=True)
    path = cache_folder() / RECORDS["inception_v3.slim"].file
    path.write_bytes(b"weights")
    assert main(["weights", "pull", "inception_v3.slim"]) == 0
    assert capsys.readouterr().out.strip() == str(path)


def test_pull_fails_where_nothing_can_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "pull", "inception_v3.slim"]) == 1
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err


def test_verify_compares_with_what_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / RECORDS["inception_v3.slim"].file
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / f"{file.name}.sha256").write_text(f"{digest}  {file.name}\n")
    assert main(["weights", "verify", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(file), "sha256": digest, "record": "inception_v3.slim"}
    file.write_bytes(b"changed")
    assert main(["weights", "verify", str(file)]) == 1
    assert "when the file came" in capsys.readouterr().err


def test_verify_says_when_there_is_nothing_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    assert main(["weights", "verify", str(tmp_path / "mine.pth")]) == 1
    assert "mine.pth.sha256" in capsys.readouterr().err
    assert main(["weights", "verify", "googlenet.bvlc"]) == 1
    assert "weights pull googlenet.bvlc" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.pth"]
