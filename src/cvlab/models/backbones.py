"""The networks of keras.applications without their top: what they expect, and the files of their ImageNet weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvlab.config_values import Preprocessing

STORAGE = "https://storage.googleapis.com/"
SIZES_OF_MOBILENET = (128, 160, 192, 224)


@dataclass(frozen=True)
class WeightsFile:
    """A file of ImageNet weights, as Keras publishes it.

    Attributes:
        name: Its name in Keras' cache.
        url: Where it is published.
        digest: Its MD5 or SHA-256, by which Keras verifies it; None where Keras has none (the MobileNets of 2017
            and 2018).
    """

    name: str
    url: str
    digest: str | None


@dataclass(frozen=True)
class Backbone:
    """A network of keras.applications.

    Attributes:
        preprocessing: What its ImageNet weights expect; `none` where the network itself rescales 0..255.
        file: The name of its weights in Keras' cache; `{size}` stands for the side of the images trained on.
        digest: See `WeightsFile`.
        folder: The folder below `STORAGE` that the file is published in.
        remote: The published name of the file, where it is another one.
        sizes: The sides of square images for which there are weights of their own; others take the largest.
        smallest: The smallest side of an image, in pixels.
        batchnorm: Whether it has BatchNorm.
    """

    preprocessing: Preprocessing
    file: str
    digest: str | None
    folder: str
    remote: str | None = None
    sizes: tuple[int, ...] = ()
    smallest: int = 32
    batchnorm: bool = True

    @property
    def rescales(self) -> bool:
        """Whether the network itself rescales 0..255."""
        return self.preprocessing == "none"

    def imagenet(self, image_size: tuple[int, int]) -> WeightsFile:
        """Returns the file of ImageNet weights (without the top) that Keras takes for images of this size."""
        height, width = image_size
        size = height if height == width and height in self.sizes else max(self.sizes, default=0)
        name = self.file.format(size=size)
        return WeightsFile(name, f"{STORAGE}{self.folder}/{self.remote or name}", self.digest)


Files = Mapping[str, tuple[str, str | None]]


def _family(
    preprocessing: Preprocessing, folder: str, pattern: str, files: Files, *, smallest: int = 32, batchnorm: bool = True
) -> dict[str, Backbone]:
    """Networks whose files are named alike: `pattern` with the first of each pair in it; the second is the digest."""
    return {
        name: Backbone(preprocessing, pattern.format(stem), digest, folder, smallest=smallest, batchnorm=batchnorm)
        for name, (stem, digest) in files.items()
    }


_OF_TENSORFLOW = "tensorflow/keras-applications"
_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_CONVNEXT: Files = {
    "ConvNeXtTiny": ("tiny", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1"),
    "ConvNeXtSmall": ("small", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab"),
    "ConvNeXtBase": ("base", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45"),
    "ConvNeXtLarge": ("large", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd"),
    "ConvNeXtXLarge": ("xlarge", "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"),
}
_DENSENET: Files = {
    "DenseNet121": ("densenet121", "30ee3e1110167f948a6b9946edeeb738"),
    "DenseNet169": ("densenet169", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "DenseNet201": ("densenet201", "c13680b51ded0fb44dff2d8f86ac8bb1"),
}
_EFFICIENTNET: Files = {
    "EfficientNetB0": ("b0", "50bc09e76180e00e4465e1a485ddc09d"),
    "EfficientNetB1": ("b1", "74c4e6b3e1f6a1eea24c589628592432"),
    "EfficientNetB2": ("b2", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "EfficientNetB3": ("b3", "af6d107764bb5b1abb91932881670226"),
    "EfficientNetB4": ("b4", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "EfficientNetB5": ("b5", "38879255a25d3c92d5e44e04ae6cec6f"),
    "EfficientNetB6": ("b6", "9ecce42647a20130c1f39a5d4cb75743"),
    "EfficientNetB7": ("b7", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
}
_EFFICIENTNET_V2: Files = {
    "EfficientNetV2B0": ("b0", "893217f2bb855e2983157299931e43ff"),
    "EfficientNetV2B1": ("b1", "0e80663031ca32d657f9caa404b6ec37"),
    "EfficientNetV2B2": ("b2", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "EfficientNetV2B3": ("b3", "f6abf7b5849ac99a89b50dd3fd532856"),
    "EfficientNetV2S": ("s", "af0682fb74e8c54910f2d4393339c070"),
    "EfficientNetV2M": ("m", "1b8dc055df72dde80d614482840fe342"),
    "EfficientNetV2L": ("l", "b0b66b5c863aef5b46e8608fe1711615"),
}
_MOBILENET_V3: Files = {
    "MobileNetV3Small": ("small", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    "MobileNetV3Large": ("large", "07fb09a5933dd0c8eaafa16978110389"),
}
_RESNET: Files = {
    "ResNet50": ("resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    "ResNet101": ("resnet101", "88cf7a10940856eca736dc7b7e228a21"),
    "ResNet152": ("resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
}
_RESNET_V2: Files = {
    "ResNet50V2": ("resnet50v2", "fac2f116257151a9d068a22e544a4917"),
    "ResNet101V2": ("resnet101v2", "c0ed64b8031c3730f411d2eb4eea35b5"),
    "ResNet152V2": ("resnet152v2", "ed17cf2e0169df9d443503ef94b23b33"),
}
_INCEPTION_RESNET: Files = {"InceptionResNetV2": ("inception_resnet_v2", "d19885ff4a710c122648d3b5c3b684e4")}
_INCEPTION: Files = {"InceptionV3": ("inception_v3", "bcbd6486424b2319ff4ef7d526e38f63")}
_VGG16: Files = {"VGG16": ("vgg16", "6d6bbae143d832006294945121d1f1fc")}
_VGG19: Files = {"VGG19": ("vgg19", "253f8cb515780f3b799900260a226db6")}
_XCEPTION: Files = {"Xception": ("xception", "b0042744bf5b25fce3cb969f33bebb97")}

NETWORKS: dict[str, Backbone] = {
    **_family("none", f"{_OF_TENSORFLOW}/convnext", "convnext_{}_notop.h5", _CONVNEXT, batchnorm=False),
    **_family("torch", f"{_OF_TENSORFLOW}/densenet", _KERNELS, _DENSENET),
    **_family("none", "keras-applications", "efficientnet{}_notop.h5", _EFFICIENTNET),
    **_family("none", f"{_OF_TENSORFLOW}/efficientnet_v2", "efficientnetv2-{}_notop.h5", _EFFICIENTNET_V2),
    **_family("tf", f"{_OF_TENSORFLOW}/inception_resnet_v2", _KERNELS, _INCEPTION_RESNET, smallest=75),
    **_family("tf", f"{_OF_TENSORFLOW}/inception_v3", _KERNELS, _INCEPTION, smallest=75),
    "MobileNet": Backbone(
        "tf", "mobilenet_1_0_{size}_tf_no_top.h5", None, f"{_OF_TENSORFLOW}/mobilenet", sizes=SIZES_OF_MOBILENET
    ),
    "MobileNetV2": Backbone(
        "tf",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5",
        None,
        f"{_OF_TENSORFLOW}/mobilenet_v2",
        sizes=(96, *SIZES_OF_MOBILENET),
    ),
    **_family(
        "none",
        f"{_OF_TENSORFLOW}/mobilenet_v3",
        "weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5",
        _MOBILENET_V3,
    ),
    "NASNetMobile": Backbone(
        "tf",
        "nasnet_mobile_no_top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
        f"{_OF_TENSORFLOW}/nasnet",
        remote="NASNet-mobile-no-top.h5",
    ),
    "NASNetLarge": Backbone(
        "tf",
        "nasnet_large_no_top.h5",
        "d81d89dc07e6e56530c4e77faddd61b5",
        f"{_OF_TENSORFLOW}/nasnet",
        remote="NASNet-large-no-top.h5",
    ),
    **_family("caffe", f"{_OF_TENSORFLOW}/resnet", _KERNELS, _RESNET),
    **_family("tf", f"{_OF_TENSORFLOW}/resnet", _KERNELS, _RESNET_V2),
    **_family("caffe", f"{_OF_TENSORFLOW}/vgg16", _KERNELS, _VGG16, batchnorm=False),
    **_family("caffe", f"{_OF_TENSORFLOW}/vgg19", _KERNELS, _VGG19, batchnorm=False),
    **_family("tf", f"{_OF_TENSORFLOW}/xception", _KERNELS, _XCEPTION, smallest=71),
}
