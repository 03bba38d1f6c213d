"""Draws a handwritten digit: python draw.py 7 --seed 42"""

import grpc

import digits
from denoised.v1 import digit_service_pb2_grpc


def draw(arguments):
    drawing = digits.Drawing(arguments)
    with digits.make_channel(arguments) as channel:
        stub = digit_service_pb2_grpc.DigitServiceStub(channel)
        # Whatever ends this early, Ctrl-C or a full disk, closes the channel, and the server stops drawing.
        for response in stub.GenerateDigit(digits.make_request(arguments), timeout=digits.TIMEOUT_SECONDS):
            drawing.take(response)


def main():
    arguments = digits.parse_arguments()
    try:
        draw(arguments)
    except grpc.RpcError as error:
        digits.fail(digits.error_text(error))
    except (OSError, ValueError) as error:
        digits.fail(error)
    except KeyboardInterrupt:
        digits.fail("cancelled", 130)


if __name__ == "__main__":
    main()
