"""Which files are images: the formats that are read, their suffixes, and remarks on all others."""

from __future__ import annotations

from importlib.util import find_spec

_AVIF = find_spec("PIL._avif") is not None
_HEIF = find_spec("pillow_heif") is not None

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "ICO", *(["AVIF"] if _AVIF else []))
"""No other reader of Pillow's is ever tried (some start external programs). HEIC's is asked for by its content, see
`inceptions.image.decoding`."""

READ = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "PPM", "JPEG 2000", "ICO", *(["AVIF"] if _AVIF else []))
"""The same as people call them."""

_AVIF_SUFFIXES = frozenset({".avif", ".avifs"})
_HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib"}
    | {".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ico"}
    | (_AVIF_SUFFIXES if _AVIF else frozenset())
    | (_HEIF_SUFFIXES if _HEIF else frozenset())
)
"""File names (in lower case) with these endings are images."""

NEEDS_HEIF = "HEIC, which needs pillow-heif: pip install 'inceptions[heif]'"
NEEDS_AVIF = "AVIF, which needs Pillow 11.3 or later: pip install -U pillow"

_ARCHIVES = ".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst"
_ARRAYS = ".tfrecord .tfrecords .npz .npy .h5 .hdf5 .mat .lmdb .mdb .pkl .pt"
_FILMS = ".mp4 .avi .mov .mkv .webm .m4v .mpg .mpeg .wmv"
_OTHER_IMAGES = """
    .svg .psd .tga .dcm .nii .exr .hdr .pfm .jxl .jxr .wdp .xcf .eps .ai .dds .pcx .sgi .ras .xbm .xpm .qoi .fits .cur
    .icns .wmf .emf .flif .bpg .raw .cr2 .cr3 .nef .arw .dng .orf .rw2 .raf .svs .ndpi .czi
"""
ARCHIVES = frozenset(_ARCHIVES.split())

REMARKS = {
    **dict.fromkeys(() if _HEIF else _HEIF_SUFFIXES, NEEDS_HEIF),
    **dict.fromkeys(() if _AVIF else _AVIF_SUFFIXES, NEEDS_AVIF),
    **dict.fromkeys(ARCHIVES, "archives: unpack them"),
    **dict.fromkeys((".parquet", ".arrow"), "tables of images: give the file, or a folder of nothing else"),
    **dict.fromkeys(_ARRAYS.split(), "arrays: not read"),
    **dict.fromkeys(_FILMS.split(), "films: write their frames as images"),
    **dict.fromkeys(_OTHER_IMAGES.split(), "not read: convert them to PNG or JPEG"),
}
"""Suffix of files that are not images here -> a remark."""

_HEADS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"P5\n", "PPM"),
    (b"P6\n", "PPM"),
    (b"\0\0\x01\0", "ICO"),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"})


def kind_of(head: bytes) -> str | None:
    """The format of an image whose first 32 bytes these are; None: none that is known here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "BMP"
    if head[4:8] == b"ftyp":
        brands = {head[place : place + 4] for place in (8, *range(16, 32, 4))}
        if brands & {b"avif", b"avis"}:  # before HEIC: both call themselves mif1
            return "AVIF"
        return "HEIC" if brands & _HEIC_BRANDS else None
    return next((kind for start, kind in _HEADS if head.startswith(start)), None)
