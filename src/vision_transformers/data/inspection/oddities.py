"""Pictures that are read, but are unlike most."""

from collections.abc import Iterator

from vision_transformers.data.inspection.finding import Finding, items_of, pictures
from vision_transformers.data.inspection.inspected import Inspection
from vision_transformers.data.inspection.looking import SMALL, THIN, Oddity

ODDITIES: dict[Oddity, tuple[str, str]] = {
    "turned": (
        "stored sideways or upside down, as EXIF says",
        "They are read upright, as people see them: nothing to do",
    ),
    "16-bit": (
        "with 16 bits a pixel",
        "65,535 is read as white. Pictures whose brightest value is much less look dark in plots/ of a run: "
        "save them with 8 bits",
    ),
    "palette": ("with a palette", "They are read in their colours: nothing to do"),
    "transparent": (
        "with transparency",
        "They are laid over white; --preprocessing.background of `vit train` takes another grey level",
    ),
    "cmyk": (
        "in the four colours of print (CMYK)",
        "They are turned into red, green and blue, without a colour profile. If they look odd in plots/ of a "
        "run, save them as RGB",
    ),
    "several-frames": (
        "with several frames or pages",
        "The first one alone is read: save others that you need as files of their own",
    ),
    "misnamed": (
        "of another format than their names say",
        "They are read by their content: nothing to do, though other programs may fail on them",
    ),
    "small": (
        f"with a side of fewer than {SMALL} pixels",
        "See whether they show anything: icons are easily among downloads",
    ),
    "thin": (
        f"more than {THIN} times as wide as high, or as high as wide",
        "`vit train folder` takes the middle alone; with --preprocessing.crop squash all, out of shape",
    ),
}
"""What they are, and what to do."""
ONE_CHANNEL = (
    "vit train folder --preprocessing.channels 1 --model.number-of-channels 1 "
    "--preprocessing.mean 0.5 --preprocessing.std 0.5"
)


def about_oddities(inspection: Inspection) -> Iterator[Finding]:
    """None of them stops a training."""
    if inspection.seen and all(one.picture.is_grey for one in inspection.seen):
        remedy = f"Three channels will do. A model from scratch can do with one: `{ONE_CHANNEL}`"
        yield Finding("all-grey", False, "all pictures are grey", remedy)
    for kind, (summary, remedy) in ODDITIES.items():
        paths = [one.picture.path for one in inspection.seen if kind in one.picture.oddities]
        if paths:
            yield Finding(kind, False, f"{summary}: {pictures(len(paths))}", remedy, items_of(paths))
