"""Photos in files: what one is, reading, writing, and finding them in folders."""

from toolchain.errors import PhotoError
from toolchain.photo_paths import PhotoJob, find_photos, list_photos, output_path
from toolchain.photo_read import DEFAULT_MAX_PIXELS, Photo, PhotoHeader, read_header, read_photo
from toolchain.photo_write import check_free, check_target, pixels_sha256, write_photo

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Photo",
    "PhotoError",
    "PhotoHeader",
    "PhotoJob",
    "check_free",
    "check_target",
    "find_photos",
    "list_photos",
    "output_path",
    "pixels_sha256",
    "read_header",
    "read_photo",
    "write_photo",
]
