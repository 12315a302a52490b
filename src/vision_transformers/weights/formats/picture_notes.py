"""What the report says where another library sees other pixels than the model has learned from."""

from math import floor

from vision_transformers.data.preprocessing import CropRounding, Preprocessing

_ROUND_SO = {"even": "timm and torchvision", "down": "transformers"}


def crop_shift(library: str, rounding: CropRounding, preprocessing: Preprocessing) -> tuple[str, ...]:
    """A note where a library rounds half of an odd margin beside the crop to another side than the model.

    The margin of the shorter side is the same for all pictures; that of the longer side is any number, of
    which every fourth has a half that comes to another pixel.
    """
    if preprocessing.crop != "center" or preprocessing.crop_rounding == rounding:
        return ()
    margins = [round(side / preprocessing.crop_fraction) - side for side in preprocessing.size]
    shifted = [margin for margin in margins if round(margin / 2) != floor(margin / 2)]
    up, left = ("up", "left") if rounding == "down" else ("down", "right")
    if shifted:
        where = f"one pixel further {up} or {left}, because the margin of {shifted[0]} pixels is odd"
    else:
        where = (
            f"one pixel further {up} or {left} where a picture's longer side has an odd margin, "
            "in one of four pictures that are not square"
        )
    return (
        f"{library} cuts the crop out of pictures {where}: pixels and logits differ from this model's by "
        f"that shift. {_ROUND_SO[preprocessing.crop_rounding]} round as this model does",
    )
