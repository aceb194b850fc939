"""Amazon Textract, which reads the text of an image."""

from mlcommons_py.remote.provider import Preset, Provider
from mlcommons_py.remote.schemas import array, number, output, record, string, with_parameters

_BLOCK = record(
    BlockType=string,
    Geometry=record(
        BoundingBox=record(Height=number, Left=number, Top=number, Width=number),
        Polygon=array(record(X=number, Y=number)),
    ),
    Id=string,
    Relationships=array(record(Ids=array(string), Type=string)),
)

PROVIDER = Provider(
    name="textract",
    interfaces={
        ("textract", ""): Preset(
            with_parameters(("bytes",), bytes=string),
            output(
                record(
                    Blocks=array(_BLOCK),
                    DetectDocumentTextModelVersion=string,
                    DocumentMetadata=record(Pages=number),
                ),
                strict=False,
            ),
        )
    },
)
