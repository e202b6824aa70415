"""Every listed network, so small that a test of it is fast."""

#: What keeps each architecture itself, but small: its options and the side of its input.
SMALL = {
    "custom_cnn": ({"channels": [8, 16]}, 32),
    "custom_cnn_cbam": ({"channels": [32, 64]}, 32),
    "tf_efficientnet_lite0": ({}, 64),
    "tf_efficientnet_lite1": ({}, 64),
    "tf_efficientnet_lite2": ({}, 64),
    "tf_efficientnetv2_b0": ({}, 64),
    "mobilenetv2_100": ({}, 64),
    "resnet18": ({"layers": [1, 1, 1, 1]}, 32),
    "resnet50": ({"layers": [1, 1, 1, 1]}, 32),
    "densenet121": ({"growth_rate": 8, "block_config": [2, 2, 2, 2]}, 64),
    "densenet201": ({"growth_rate": 8, "block_config": [2, 3, 4, 3]}, 64),
    "vgg19": ({"mlp_ratio": 0.01}, 32),
    "inception_v3": ({}, 80),
    "legacy_xception": ({}, 64),
    "convnext_tiny": ({"depths": [1, 1, 2, 1], "dims": [16, 24, 32, 48]}, 64),
    "vit_tiny_patch16_224": ({"depth": 2}, 64),
    "vit_base_patch16_224": ({"depth": 2, "embed_dim": 96, "num_heads": 4}, 64),
}
