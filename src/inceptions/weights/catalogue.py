"""The published weights of the family: where they are, how they are checked, and what was measured with them.

A hash is given where the publisher states one: whole, or the beginning that PyTorch's file names carry. Where none is
stated, none is invented: `download` records it when the file first comes. The same holds for sizes and licenses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from inceptions.image import Preprocess
from inceptions.weights.layouts import LAYOUTS
from inceptions.weights.layouts.layout import IMAGENET_MEAN, IMAGENET_STD, published


@dataclass(frozen=True, kw_only=True)
class Record:
    """One published file."""

    name: str
    """`NETWORK.TAG`, as SOURCE."""
    network: str
    """Which member of the family."""
    publisher: str
    """Who trained or released it."""
    urls: tuple[str, ...] = ()
    """The publisher's address, then mirrors; empty for files of the hub."""
    hub: str | None = None
    """`owner/name` on the Hugging Face hub."""
    size: int | None = None
    """Bytes, where stated."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """"sha256", "sha1" or "md5" to the stated digest or its beginning."""
    license: str | None = None
    """As stated; None where no statement was found."""
    top1: float | None = None
    """Percent of ImageNet's validation images, as the publisher states."""
    top5: float | None = None
    measured: str = ""
    """By whom `top1` and `top5` were stated, and on what crop."""
    preprocess: Preprocess
    """What the network is to be shown."""
    classes: int = 1000
    """Outputs in the file."""
    note: str = ""
    """What else one should know."""

    @property
    def file(self) -> str:
        """The name in the cache; that of the address."""
        return self.urls[0].rpartition("/")[2] if self.urls else ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "preprocess"}
        return {**facts, "hashes": dict(self.hashes), "preprocess": self.preprocess.to_dict()}


def _as_in(layout: str, network: str) -> Preprocess:
    """The preprocessing of a publisher's layout."""
    return next(entry.preprocess for entry in LAYOUTS if entry.name == layout and entry.network == network)


# -- TensorFlow

_TF = "http://download.tensorflow.org/models/"
_SLIM_README = "slim's README, central crop"


def _slim() -> Iterator[Record]:
    for name, network, file, top1, top5, note in (
        ("googlenet.slim", "googlenet", "inception_v1_2016_08_28", 69.8, 89.6, ""),
        ("bn_inception.slim", "bn_inception", "inception_v2_2016_08_28", 73.9, 91.8, ""),
        ("inception_v3.slim", "inception_v3", "inception_v3_2016_08_28", 78.0, 93.9, ""),
        ("inception_v3.slim_adv", "inception_v3", "adv_inception_v3_2017_08_18", None, None, "adversarially trained"),
        ("inception_v4.slim", "inception_v4", "inception_v4_2016_09_09", 80.2, 95.2, ""),
        ("inception_resnet_v2.slim", "inception_resnet_v2", "inception_resnet_v2_2016_08_30", 80.4, 95.3, ""),
        (
            "inception_resnet_v2.slim_ens_adv", "inception_resnet_v2", "ens_adv_inception_resnet_v2_2017_08_18",
            None, None, "adversarially trained against an ensemble",
        ),
    ):  # fmt: skip
        yield Record(
            name=name, network=network, publisher="TF-slim", urls=(f"{_TF}{file}.tar.gz",),
            license="Apache-2.0 (the repository's)", top1=top1, top5=top5, measured=_SLIM_README if top1 else "",
            preprocess=_as_in("TF-slim", network), classes=1001, note=note,
        )  # fmt: skip


def _deeplab() -> Iterator[Record]:
    for network, file in (
        ("xception41", "xception_41_2018_05_09"),
        ("xception65", "deeplabv3_xception_2018_01_04"),
        ("xception71", "xception_71_2018_05_09"),
    ):
        yield Record(
            name=f"{network}.deeplab", network=network, publisher="DeepLab", urls=(f"{_TF}{file}.tar.gz",),
            license="Apache-2.0 (the repository's)", preprocess=_as_in("DeepLab", network), classes=1001,
            note="ImageNet pretraining of a segmentation network; accuracy not stated",
        )  # fmt: skip


def _fid() -> Iterator[Record]:
    yield Record(
        name="inception_v3.fid", network="inception_v3", publisher="Google, 2015-12-05",
        urls=(f"{_TF}image/imagenet/inception-2015-12-05.tgz",), preprocess=_as_in("2015-12-05", "inception_v3"),
        classes=1008, note="the graph that the Frechet Inception distance is defined by",
    )  # fmt: skip
    yield Record(
        name="inception_v3.pytorch_fid", network="inception_v3", publisher="pytorch-fid",
        urls=(
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        ),
        hashes={"sha256": "6726825d"}, license="Apache-2.0 (the repository's)",
        preprocess=_as_in("pytorch-fid", "inception_v3"), classes=1008, note="the same weights as inception_v3.fid",
    )  # fmt: skip


# -- PyTorch

_TORCH = "https://download.pytorch.org/models/"
_CADENE = "http://data.lip6.fr/cadene/pretrainedmodels/"


def _torchvision() -> Iterator[Record]:
    for name, network, digest, file, top1, top5, note in (
        ("googlenet.tv", "googlenet", "1378be20", "googlenet", 69.778, 89.530, "the auxiliary heads are not trained"),
        ("inception_v3.tv", "inception_v3", "0cc3c7bd", "inception_v3_google", 77.294, 93.450, ""),
        (
            "inception_v3.tv_2017",
            "inception_v3",
            "1a9a5a14",
            "inception_v3_google",
            None,
            None,
            "before inception_v3.tv",
        ),
    ):
        yield Record(
            name=name, network=network, publisher="torchvision", urls=(f"{_TORCH}{file}-{digest}.pth",),
            hashes={"sha256": digest}, license="BSD-3-Clause (the code's)", top1=top1, top5=top5,
            measured="torchvision, center crop" if top1 else "", preprocess=_as_in("torchvision", network), note=note,
        )  # fmt: skip


def _cadene() -> Iterator[Record]:
    for network, file, digest, top1, top5, classes, preprocess in (
        ("bn_inception", "bn_inception", "52deb4733", 73.524, 91.562, 1000, _as_in("Cadene", "bn_inception")),
        ("inception_v4", "inceptionv4", "8e4777a0", 80.062, 94.926, 1001, published(299, 0.875, "bilinear")),
        (
            "inception_resnet_v2",
            "inceptionresnetv2",
            "520b38e4",
            80.170,
            95.234,
            1001,
            published(299, 0.875, "bilinear"),
        ),
        ("xception", "xception", "43020ad28", 78.888, 94.292, 1000, published(299, 0.8975, "bilinear")),
    ):
        timm = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/"
        mirrors = (f"{timm}{file}-{digest}.pth",) if network == "xception" else ()
        yield Record(
            name=f"{network}.cadene", network=network, publisher="Cadene",
            urls=(f"{_CADENE}{file}-{digest}.pth", *mirrors), hashes={"sha256": digest}, top1=top1, top5=top5,
            measured="Cadene, center crop", preprocess=preprocess, classes=classes,
        )  # fmt: skip
    yield Record(
        name="bn_inception.yjxiong", network="bn_inception", publisher="yjxiong",
        urls=("https://yjxiong.blob.core.windows.net/models/bn_inception-9f5701afb96c8044.pth",),
        hashes={"sha256": "9f5701afb96c8044"}, preprocess=_as_in("Cadene", "bn_inception"),
        note="what bn_inception.cadene was made from",
    )  # fmt: skip


def _facenet() -> Iterator[Record]:
    release = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
    for tag, file, classes, lfw in (
        ("vggface2", "20180402-114759-vggface2.pt", 8631, 0.9965),
        ("casia", "20180408-102900-casia-webface.pt", 10575, 0.9905),
    ):
        yield Record(
            name=f"inception_resnet_v1.{tag}", network="inception_resnet_v1", publisher="facenet-pytorch",
            urls=(release + file,), license="MIT (the code's; the data sets have their own terms)",
            preprocess=_as_in("facenet-pytorch", "inception_resnet_v1"), classes=classes,
            note=f"face embeddings; {lfw} on Labeled Faces in the Wild",
        )  # fmt: skip


def _timm() -> Iterator[Record]:
    bicubic = {crop: published(299, crop, "bicubic") for crop in (0.875, 0.8975, 0.903, 0.94)}
    gluon = published(299, 0.875, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    for name, preprocess, top1, top5 in (
        ("inception_v3.tv_in1k", bicubic[0.875], 77.472, 93.468),
        ("inception_v3.tf_in1k", bicubic[0.875], 77.866, 93.644),
        ("inception_v3.tf_adv_in1k", bicubic[0.875], 77.598, 93.726),
        ("inception_v3.gluon_in1k", gluon, 78.806, 94.372),
        ("inception_v4.tf_in1k", bicubic[0.875], 80.144, 94.982),
        ("inception_resnet_v2.tf_in1k", bicubic[0.8975], 80.434, 95.312),
        ("inception_resnet_v2.tf_ens_adv_in1k", bicubic[0.8975], 79.998, 94.940),
        ("xception41.tf_in1k", bicubic[0.903], 78.550, 94.282),
        ("xception65.tf_in1k", bicubic[0.903], 79.558, 94.656),
        ("xception65.ra3_in1k", bicubic[0.94], 83.186, 96.596),
        ("xception71.tf_in1k", bicubic[0.903], 79.920, 94.908),
    ):
        yield Record(
            name=name, network=name.partition(".")[0], publisher="timm", hub=f"timm/{name}", license="Apache-2.0",
            top1=top1, top5=top5, measured="timm's results-imagenet.csv, center crop", preprocess=preprocess,
        )  # fmt: skip


# -- Keras, Caffe


def _keras() -> Iterator[Record]:
    base = "https://storage.googleapis.com/tensorflow/keras-applications/"
    for network, md5, md5_base in (
        ("inception_v3", "9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63"),
        ("inception_resnet_v2", "e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4"),
        ("xception", "0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97"),
    ):
        accuracy = (79.0, 94.5) if network == "xception" else (None, None)
        for tag, ending, digest in (("keras", "", md5), ("keras_notop", "_notop", md5_base)):
            file = f"{network}/{network}_weights_tf_dim_ordering_tf_kernels{ending}.h5"
            yield Record(
                name=f"{network}.{tag}", network=network, publisher="Keras", urls=(base + file,),
                hashes={"md5": digest}, license="Apache-2.0 (the code's)",
                top1=None if ending else accuracy[0], top5=None if ending else accuracy[1],
                measured="Keras, single crop" if accuracy[0] and not ending else "",
                preprocess=_as_in("Keras", network), classes=0 if ending else 1000,
                note="without a classifier" if ending else "",
            )  # fmt: skip


def _caffe() -> Iterator[Record]:
    yield Record(
        name="googlenet.bvlc", network="googlenet", publisher="BVLC",
        urls=("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",),
        hashes={"sha1": "405fc5acd08a3bb12de8ee5e23a96bec22f08204"}, license="unrestricted", top1=68.7, top5=88.9,
        measured="BVLC, center crop", preprocess=_as_in("Caffe", "googlenet"),
    )  # fmt: skip


_SOURCES = (_slim, _deeplab, _fid, _torchvision, _cadene, _facenet, _timm, _keras, _caffe)

RECORDS: Mapping[str, Record] = {
    record.name: record for record in sorted((r for make in _SOURCES for r in make()), key=lambda r: r.name)
}
"""Every record by its name."""
