"""Use a file that `vit export` made, without PyTorch and without this library.

    python examples/onnx_predict.py MODEL.onnx PICTURE ...

Prints the likeliest class of each picture and its probability, the same as `vit predict` says. For pictures
of 8 bits a channel. Needs: pip install onnxruntime pillow numpy
"""

import json
import math
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main() -> None:
    """Reads the model, and asks it about each picture."""
    if len(sys.argv) < 3:
        sys.exit("usage: python onnx_predict.py MODEL.onnx PICTURE ...")
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    classes, preprocessing = json.loads(metadata["classes"]), json.loads(metadata["preprocessing"])
    if not classes:
        sys.exit(f"{sys.argv[1]} has no classes: it gives features alone")
    for path in sys.argv[2:]:
        pixels = read_pixels(path, preprocessing)
        (probabilities,) = session.run(["probabilities"], {"pixels": pixels[None]})[0]
        likeliest = probabilities.argmax()
        print(f"{path}\t{classes[likeliest]}\t{probabilities[likeliest]:.6f}")


def read_pixels(path: str, preprocessing: dict[str, Any]) -> np.ndarray:
    """The pixels of a picture for the model: 0 to 255, as (channel, row, column)."""
    with Image.open(path) as image:
        if image.mode.startswith(("I", "F")):
            sys.exit(f"{path}: pictures of 8 bits a channel only")
        picture = ImageOps.exif_transpose(image)
    if picture.has_transparency_data:
        level = preprocessing["background"]
        backdrop = Image.new("RGBA", picture.size, (level, level, level, 255))
        picture = Image.alpha_composite(backdrop, picture.convert("RGBA"))
    picture = resize(picture.convert("L" if preprocessing["channels"] == 1 else "RGB"), preprocessing)
    return np.array(picture).reshape(picture.height, picture.width, -1).transpose(2, 0, 1)


def resize(picture: Image.Image, preprocessing: dict[str, Any]) -> Image.Image:
    """The whole picture in the model's size, or its middle."""
    rows, columns = preprocessing["size"]
    interpolation = Image.Resampling[preprocessing["interpolation"].upper()]
    if preprocessing["crop"] == "squash":
        return picture.resize((columns, rows), interpolation)
    height, width = (round(side / preprocessing["crop_fraction"]) for side in (rows, columns))
    if picture.width * height >= picture.height * width:
        width = picture.width * height // picture.height
    else:
        height = picture.height * width // picture.width
    rounded = round if preprocessing["crop_rounding"] == "even" else math.floor
    left, top = rounded((width - columns) / 2), rounded((height - rows) / 2)
    return picture.resize((width, height), interpolation).crop((left, top, left + columns, top + rows))


if __name__ == "__main__":
    main()
