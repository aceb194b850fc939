"""The enumerations of ML Commons, as they are spelled in requests, documents and answers."""

from enum import StrEnum

from mlcommons_py.errors import IllegalArgument


class ModelState(StrEnum):
    """Where a model is on its way; the deprecated names of old documents are there to be read."""

    TRAINED = "TRAINED"
    REGISTERING = "REGISTERING"
    REGISTERED = "REGISTERED"
    DEPLOYING = "DEPLOYING"
    DEPLOYED = "DEPLOYED"
    PARTIALLY_DEPLOYED = "PARTIALLY_DEPLOYED"
    UNDEPLOYED = "UNDEPLOYED"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    UPLOADING = "UPLOADING"
    UPLOADED = "UPLOADED"
    LOADING = "LOADING"
    LOADED = "LOADED"
    PARTIALLY_LOADED = "PARTIALLY_LOADED"
    UNLOADED = "UNLOADED"
    LOAD_FAILED = "LOAD_FAILED"

    @property
    def is_deployed(self) -> bool:
        """Whether some node has the model, or is about to."""
        return self in _DEPLOYED

    @property
    def is_incomplete(self) -> bool:
        """Whether chunks of the model may be missing."""
        return self in (ModelState.REGISTERING, ModelState.UPLOADING)


_DEPLOYED = {
    ModelState.DEPLOYING,
    ModelState.DEPLOYED,
    ModelState.PARTIALLY_DEPLOYED,
    ModelState.LOADING,
    ModelState.LOADED,
    ModelState.PARTIALLY_LOADED,
}


class FunctionName(StrEnum):
    """What a model does."""

    LINEAR_REGRESSION = "LINEAR_REGRESSION"
    KMEANS = "KMEANS"
    AD_LIBSVM = "AD_LIBSVM"
    SAMPLE_ALGO = "SAMPLE_ALGO"
    LOCAL_SAMPLE_CALCULATOR = "LOCAL_SAMPLE_CALCULATOR"
    FIT_RCF = "FIT_RCF"
    BATCH_RCF = "BATCH_RCF"
    ANOMALY_LOCALIZATION = "ANOMALY_LOCALIZATION"
    RCF_SUMMARIZE = "RCF_SUMMARIZE"
    LOGISTIC_REGRESSION = "LOGISTIC_REGRESSION"
    TEXT_EMBEDDING = "TEXT_EMBEDDING"
    METRICS_CORRELATION = "METRICS_CORRELATION"
    REMOTE = "REMOTE"
    SPARSE_ENCODING = "SPARSE_ENCODING"
    SPARSE_TOKENIZE = "SPARSE_TOKENIZE"
    TEXT_SIMILARITY = "TEXT_SIMILARITY"
    QUESTION_ANSWERING = "QUESTION_ANSWERING"
    AGENT = "AGENT"
    CONNECTOR = "CONNECTOR"
    TOOL = "TOOL"

    @classmethod
    def named(cls, text: str) -> "FunctionName":
        """Return the function of a name, however it is cased.

        Raises:
            IllegalArgument: there is none of that name.
        """
        try:
            return cls(text.upper())
        except ValueError as fault:
            raise IllegalArgument("Wrong function name") from fault


_PREDICTING = (
    FunctionName.TEXT_EMBEDDING,
    FunctionName.SPARSE_ENCODING,
    FunctionName.SPARSE_TOKENIZE,
    FunctionName.TEXT_SIMILARITY,
    FunctionName.QUESTION_ANSWERING,
    FunctionName.REMOTE,
)


def predicting(algorithm: str | None) -> FunctionName | None:
    """Return the function that the path of a predict names, or None where it names none.

    Raises:
        IllegalArgument: no model of this version has it.
    """
    function = None if algorithm is None else FunctionName.named(algorithm)
    if function is not None and function not in _PREDICTING:
        raise IllegalArgument(f"[{algorithm}] is not supported by this version; text_embedding and remote are")
    return function


class ModelFormat(StrEnum):
    """What kind of file a model comes as; ``SAFETENSORS`` is this service's own."""

    TORCH_SCRIPT = "TORCH_SCRIPT"
    ONNX = "ONNX"
    SAFETENSORS = "SAFETENSORS"

    @classmethod
    def named(cls, text: str) -> "ModelFormat":
        """Return the format of a name.

        Raises:
            IllegalArgument: there is none of that name.
        """
        try:
            return cls(text)
        except ValueError as fault:
            raise IllegalArgument("Wrong model format") from fault
