"""Names of levels of damage for help texts: spelt out, since to ask for them takes seconds.

The tests compare them with `data.damage.levels`.
"""

from typing import Final

LIVES: Final = (
    "weak-camera, night, enlarged, jpeg-enlarged, jpeg-reduced, saved, saved-again, shaken, "
    "unfocused, dim, old-print, edited, messenger, screen-capture"
)
KINDS: Final = (
    "blur, anisotropic-blur, motion-blur, defocus, photon-noise, film-grain, chroma-noise, noise, "
    "jpeg, webp"
)
NAMES: Final = (
    "light, mild, moderate, severe, all, single, double, camera; world, which draws from all "
    f"damage there is; a life of photos: {LIVES}; or one kind alone: {KINDS}"
)
