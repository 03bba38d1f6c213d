"""What draw.py and draw_asyncio.py share: the command line, the connection, and errors in words."""

import argparse
import json
import pathlib
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from denoised.v1 import digit_service_pb2 as pb

TIMEOUT_SECONDS = 300  # of a call, retries and their waiting counted
PREVIEW_EVERY = 10  # steps from one frame to the next

# Where a name has several addresses, as of a headless Service, calls go to all servers in turn that say they are
# healthy. A full queue answers with RESOURCE_EXHAUSTED and says when to come back, which gRPC then does by itself.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "denoised.v1.DigitService"},
    "methodConfig": [
        {
            "name": [{"service": "denoised.v1.DigitService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "10s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
            },
        }
    ],
}

SAMPLERS = {"ddpm": pb.SAMPLER_DDPM, "ddim": pb.SAMPLER_DDIM, "dpm_solver_pp_2m": pb.SAMPLER_DPM_SOLVER_PP_2M}


def parse_arguments():
    parser = argparse.ArgumentParser(description="Draws a handwritten digit.")
    parser.add_argument("digit", type=int, help="0 to 9")
    parser.add_argument("--server", default="localhost:50051", type=_host_port, help="host:port (default: %(default)s)")
    parser.add_argument("--seed", type=_uint64, help="0 to 2^64-1 (default: the server draws one)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: the server's")
    parser.add_argument("--steps", type=_uint32, default=0, help="denoising steps (default: the sampler's own number)")
    parser.add_argument("--out", type=pathlib.Path, help="PNG file (default: digit-N.png)")
    parser.add_argument("--previews", type=pathlib.Path, metavar="DIR", help="folder for frames on the way")
    parser.add_argument("--ca", type=pathlib.Path, metavar="FILE", help="speak TLS and trust these certificates, PEM")
    parser.add_argument("--token-file", type=pathlib.Path, metavar="FILE", help="show this token; takes --ca")
    parser.add_argument("--no-retry", action="store_true", help="do not wait for a place in a full queue")
    arguments = parser.parse_args()
    if arguments.token_file and not arguments.ca:
        parser.error("--token-file takes --ca: without TLS everybody on the way could read the token")
    arguments.out = arguments.out or pathlib.Path(f"digit-{arguments.digit}.png")
    return arguments


def _uint64(text, end=2**64):
    if not (text.isascii() and text.isdigit() and int(text) < end):
        raise argparse.ArgumentTypeError(f"must be 0 to {end - 1}, got {text!r}")
    return int(text)


def _uint32(text):
    return _uint64(text, 2**32)


def _host_port(text):
    """NOTE: gRPC takes a port modulo 2^16, and none for 443."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 1 <= int(port) < 2**16):
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, with a port of 1 to 65535, got {text!r}")
    return text


def make_request(arguments):
    request = pb.GenerateDigitRequest(
        digit=arguments.digit,
        seed=arguments.seed,
        sampler=SAMPLERS.get(arguments.sampler, pb.SAMPLER_UNSPECIFIED),
        steps=arguments.steps,
    )
    if arguments.previews:
        request.preview.every_steps = PREVIEW_EVERY
        request.preview.kind = pb.PREVIEW_KIND_PREDICTED_CLEAN
    return request


def make_channel(arguments, api=grpc):
    """A channel of `api`: grpc, or grpc.aio."""
    options = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.enable_retries", 0 if arguments.no_retry else 1),
    ]
    if not arguments.ca:
        return api.insecure_channel(arguments.server, options)
    certificates = arguments.ca.read_bytes()
    if b"-----BEGIN CERTIFICATE-----" not in certificates:
        raise ValueError(f"--ca: {arguments.ca} holds no certificate, PEM")
    credentials = grpc.ssl_channel_credentials(certificates)
    if arguments.token_file:
        token = arguments.token_file.read_text().strip()
        credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(token))
    return api.secure_channel(arguments.server, credentials, options)


class Drawing:
    """Takes the events of an answer, and keeps its pictures."""

    def __init__(self, arguments):
        self._out = arguments.out
        self._previews = arguments.previews
        self._accepted = None
        if self._previews:
            self._previews.mkdir(parents=True, exist_ok=True)

    def take(self, response):
        event = response.WhichOneof("event")
        if event == "accepted":
            self._accepted = response.accepted
        elif event == "preview":
            frame = self._previews / f"step-{response.preview.step:04}.png"
            frame.write_bytes(response.preview.png)
            print(f"step {response.preview.step} of {response.preview.total_steps}: {frame}", flush=True)
        elif event == "image":
            image = response.image
            self._out.write_bytes(image.png)
            print(
                f"{self._out}  {image.width}x{image.height}, seed {image.seed}, {self._accepted.steps} steps, "
                f"model {self._accepted.model_version}"
            )


def error_text(error):
    """What a grpc.RpcError says, with the details that the server has added."""
    lines = [f"{error.code().name}: {error.details()}"]
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        bad_request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad_request):
            lines += [f"  {violation.field}: {violation.description}" for violation in bad_request.field_violations]
        elif detail.Unpack(retry):
            lines.append(f"  try again in {retry.retry_delay.ToTimedelta().total_seconds():.1f} s")
    return "\n".join(lines)


def fail(text, status=1):
    print(f"error: {text}", file=sys.stderr)
    sys.exit(status)
