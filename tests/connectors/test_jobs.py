"""The actions that are derived of the one that starts a batch job."""

import pytest

from mlcommons_py import content
from mlcommons_py.remote.provider import BatchJobs

HEADERS = {"Authorization": "Bearer ${credential.key}"}


def jobs_of(url: str) -> BatchJobs:
    """Return the one way that matches a URL."""
    (found,) = [
        provider.batch_jobs
        for provider in content.providers().values()
        if provider.batch_jobs and provider.batch_jobs.matches(url)
    ]
    return found


@pytest.mark.parametrize(
    ("url", "status", "cancel"),
    [
        (
            "https://api.openai.com/v1/batches",
            "https://api.openai.com/v1/batches/${parameters.id}",
            "https://api.openai.com/v1/batches/${parameters.id}/cancel",
        ),
        (
            "https://r.openai.azure.com/openai/batches?api-version=1",
            "https://r.openai.azure.com/openai/batches/${parameters.id}?api-version=1",
            "https://r.openai.azure.com/openai/batches/${parameters.id}/cancel?api-version=1",
        ),
        (
            "https://api.cohere.ai/v1/embed-jobs",
            "https://api.cohere.ai/v1/embed-jobs/${parameters.job_id}",
            "https://api.cohere.ai/v1/embed-jobs/${parameters.job_id}/cancel",
        ),
        (
            "https://bedrock.us-east-1.amazonaws.com/model-invocation-job",
            "https://bedrock.us-east-1.amazonaws.com/model-invocation-job/${parameters.processedJobArn}",
            "https://bedrock.us-east-1.amazonaws.com/model-invocation-job/${parameters.processedJobArn}/stop",
        ),
        (
            "https://api.mistral.ai/v1/batch/jobs",
            "https://api.mistral.ai/v1/batch/jobs/${parameters.id}",
            "https://api.mistral.ai/v1/batch/jobs/${parameters.id}/cancel",
        ),
    ],
)
def test_jobs_with_a_url_each(url: str, status: str, cancel: str) -> None:
    """State and end of a job have URLs below the one that starts jobs, and the same headers."""
    jobs = jobs_of(url)
    start = {"action_type": "batch_predict", "method": "POST", "url": url, "headers": HEADERS, "request_body": "{}"}

    assert jobs.status(start) == {
        "action_type": "batch_predict_status",
        "method": "GET",
        "url": status,
        "headers": HEADERS,
    }
    assert jobs.cancel(start) == {
        "action_type": "cancel_batch_predict",
        "method": "POST",
        "url": cancel,
        "headers": HEADERS,
    }


def test_sagemaker_is_asked_by_name() -> None:
    """SageMaker has a URL for each verb, and the job's name in the body."""
    url = "https://api.sagemaker.us-east-1.amazonaws.com/CreateTransformJob"
    jobs = jobs_of(url)
    body = '{ "TransformJobName" : "${parameters.TransformJobName}"}'

    assert jobs.status({"url": url, "method": "POST"}) == {
        "action_type": "batch_predict_status",
        "method": "POST",
        "url": "https://api.sagemaker.us-east-1.amazonaws.com/DescribeTransformJob",
        "request_body": body,
    }
    assert jobs.cancel({"url": url, "method": "POST"}) == {
        "action_type": "cancel_batch_predict",
        "method": "POST",
        "url": "https://api.sagemaker.us-east-1.amazonaws.com/StopTransformJob",
        "request_body": body,
    }


def test_unknown_services_have_no_derived_actions() -> None:
    """A URL that names none of the services is nobody's."""
    with pytest.raises(ValueError, match="not enough values"):
        jobs_of("https://batches.example.com/v1")
