"""What other projects call the models of `model/presets.py`.

transformers has no names for architectures, only for weights.
"""

TIMM = {
    "ViT-Ti/16": "vit_tiny_patch16_224",
    "ViT-S/16": "vit_small_patch16_224",
    "ViT-S/32": "vit_small_patch32_224",
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-B/32": "vit_base_patch32_224",
    "ViT-L/16": "vit_large_patch16_224",
    "ViT-L/32": "vit_large_patch32_224",
    "ViT-H/14": "vit_huge_patch14_224",
    "DINOv2-S/14": "vit_small_patch14_dinov2",
    "DINOv2-B/14": "vit_base_patch14_dinov2",
    "DINOv2-L/14": "vit_large_patch14_dinov2",
    "DINOv2-g/14": "vit_giant_patch14_dinov2",
}
TORCHVISION = {
    "ViT-B/16": "vit_b_16",
    "ViT-B/32": "vit_b_32",
    "ViT-L/16": "vit_l_16",
    "ViT-L/32": "vit_l_32",
    "ViT-H/14": "vit_h_14",
}
